"""Decide what to run, where, and what it meant.

Read `sweep.py` first: the life of a sweep from plan to leaderboard. The values it passes on
are made in `compose.py`, `template.py`, `space.py`, `plan.py` and `cohort.py`; `executors/`
run them through `trainer.fit`; `referee.py` writes the `ledger.py`; `leaderboard/` reads it.
"""

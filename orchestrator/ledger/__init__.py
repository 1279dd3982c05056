"""The record of a sweep: the only truth, in one SQLite file.

One process writes (`Ledger.open`), any number read (`Ledger.read`) without
taking a lock. What a method has returned from survives a loss of power: write-ahead log,
`synchronous=FULL`. Each (trial, step) is kept once; a row that comes again after a resume is
the same row, so the first stays.

`records.py` has the values, `ledger.py` what is written, `reading.py` what is asked,
`database.py` the file.
"""

from __future__ import annotations

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import Event, Standing, State, TrialRecord

__all__ = ["Event", "Ledger", "Standing", "State", "TrialRecord"]

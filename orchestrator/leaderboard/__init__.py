"""Say what a sweep found: which point is best, and how sure that is.

Read `ranking.py` first: `rank` turns trials into entries and decides nothing else.
`export.py` makes one table of cells out of the entries and writes it as Markdown, CSV, JSON,
HTML or for a terminal; `report.py` is the HTML page. `paired.py` compares the points of a sweep
with its baseline, where it has one.

    from orchestrator.leaderboard import build, write_leaderboard
    board = build(ledger.trials(), Objective(), title="depth", run_directory="runs/depth-…")
    write_leaderboard(directory, board)
"""

from __future__ import annotations

from orchestrator.leaderboard.export import FORMATS, render, render_top, write_leaderboard
from orchestrator.leaderboard.paired import Comparison
from orchestrator.leaderboard.ranking import Entry, rank
from orchestrator.leaderboard.table import Leaderboard, build, command_of

__all__ = [
    "FORMATS",
    "Comparison",
    "Entry",
    "Leaderboard",
    "build",
    "command_of",
    "rank",
    "render",
    "render_top",
    "write_leaderboard",
]

"""How the report writes a value."""

from __future__ import annotations

import time

from orchestrator.leaderboard.text import number, one_line
from orchestrator.pipeline.document import Cell, Table


def is_number(value: object) -> bool:
    """Return whether a value is set as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def numeric_columns(table: Table) -> list[bool]:
    """Return which columns are set to the right: those of numbers alone."""
    columns = [[row[n] for row in table.rows] for n in range(len(table.columns))]
    filled = [[cell for cell in column if cell is not None] for column in columns]
    return [bool(column) and all(map(is_number, column)) for column in filled]


def shown(cell: Cell) -> str:
    """Return a cell for people: whole numbers with separators, others with four decimals."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    return number(cell) if isinstance(cell, float) else one_line(cell)


def moment(seconds: float | None) -> str:
    """Return a time in seconds since 1970 as `2026-03-01 12:00:00 UTC`; empty where none is."""
    if seconds is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))

"""The baseline, and each part that is on in it switched off alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from orchestrator.space import Point, Space

NAMES = ("none", "off")
"""Options that switch a part off."""


def is_off(value: Any) -> bool:
    """Return whether a value switches its part off: 0, false, none, or an option that says so."""
    return value is None or value in NAMES or (isinstance(value, int | float) and value == 0)


class LeaveOneOutStrategy:
    """Implements `orchestrator.strategy.Strategy`; the seed has nothing to decide.

    Of an axis only the value that is off is tried; one without such a value, or that is off in the
    baseline, is never varied. Axes that move together are off together. The baseline is the
    space's; the first value that is on of each axis where it names none.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._points = _points(space)

    @staticmethod
    def count(space: Space) -> int:
        """Return how many points are asked of a finite space."""
        return sum(1 for _ in _points(space))

    def ask(self, n: int) -> list[Point]:
        """Return the next `n` points."""
        return list(islice(self._points, n))

    def tell(self, point: Point, value: float | None) -> None:
        """A list does not learn."""


def _points(space: Space) -> Iterator[Point]:
    base = dict(space.baseline) if space.baseline is not None else _all_on(space)
    yield base
    for group in space.dimensions:
        rows = space.rows(group)
        off = next((row for row in rows if all(map(is_off, row.values()))), None)
        if off is not None and not all(is_off(base.get(key, "on")) for key in off):
            yield space.ordered(base | off)


def _all_on(space: Space) -> dict[str, Any]:
    """Return the first row of values of each dimension that is not off."""
    point: dict[str, Any] = {}
    for group in space.dimensions:
        rows = space.rows(group)
        point |= next((row for row in rows if not all(map(is_off, row.values()))), rows[0])
    return space.ordered(point)

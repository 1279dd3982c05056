"""The baseline, and each axis' other values alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from orchestrator.space import Point, Space


class OneAtATimeStrategy:
    """Implements `orchestrator.strategy.Strategy`; the seed has nothing to decide.

    Axes that move together count as one. The baseline is the space's; the first value of each axis
    where it names none.
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
    first = {axis.key: axis.values[0] for axis in space.axes}
    base = first if space.baseline is None else dict(space.baseline)
    yield base
    for group in space.dimensions:
        for varied in space.rows(group):
            if any(key not in base or base[key] != value for key, value in varied.items()):
                yield space.ordered(base | varied)

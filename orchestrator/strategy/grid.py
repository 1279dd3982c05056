"""Every point of the space, in an order of which any beginning is a fair sample."""

from __future__ import annotations

import math

from orchestrator.space import Point, Space

GOLDEN = 618_033_988_749_894_848
"""The golden ratio's fraction, in units of 1e-18."""


class GridStrategy:
    """Implements `orchestrator.strategy.Strategy`; the seed has nothing to decide.

    After any number of points, the values of one axis have been tried equally often, up to one.
    (Zipped axes count as one, by their position.)

    The points are walked along diagonals of the torus: each step moves every axis to its next
    value, and wraps around. A diagonal is closed after the least common multiple of the sizes, so
    it shows each value of each axis equally often; then the walk goes on with the next diagonal.
    With L the least common multiple of the sizes before axis j, n its size, shifting it by
    0 … gcd(L, n) - 1 against them reaches each diagonal once (by the Chinese remainder theorem).
    The diagonals are taken in steps of about the golden ratio of their number, so that axes of
    the same size do not stay in step for long.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.asked = space, 0
        self.shifts: list[int] = []
        length = 1
        for size in space.sizes:
            self.shifts.append(math.gcd(length, size))
            length = math.lcm(length, size)
        self.length = length
        self.diagonals = space.size // length
        stride = max(1, self.diagonals * GOLDEN // 10**18)
        while math.gcd(stride, self.diagonals) != 1:
            stride += 1
        self.stride = stride

    def ask(self, n: int) -> list[Point]:
        """Return the next `n` points in order."""
        first, self.asked = self.asked, min(self.asked + n, self.space.size)
        return [self._point(index) for index in range(first, self.asked)]

    def tell(self, point: Point, value: float | None) -> None:
        """A grid does not learn."""

    def _point(self, index: int) -> Point:
        diagonal, step = divmod(index, self.length)
        diagonal = diagonal * self.stride % self.diagonals
        places: list[int] = []
        for size, shifts in zip(self.space.sizes, self.shifts, strict=True):
            diagonal, shift = divmod(diagonal, shifts)
            places.append((step + shift) % size)
        return self.space.at(places)

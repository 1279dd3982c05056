"""Every point of the space, the last axis varying fastest."""

from __future__ import annotations

from orchestrator.space import Point, Space


class GridStrategy:
    """Implements `orchestrator.strategy.Strategy`; the seed has nothing to decide."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.asked = space, 0

    def ask(self, n: int) -> list[Point]:
        """Return the next `n` points in order."""
        first, self.asked = self.asked, min(self.asked + n, self.space.size)
        return [self.space.point(index) for index in range(first, self.asked)]

    def tell(self, point: Point, value: float | None) -> None:
        """A grid does not learn."""

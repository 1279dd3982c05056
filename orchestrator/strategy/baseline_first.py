"""Any strategy, with the baseline of the space before everything else."""

from __future__ import annotations

from orchestrator.space import Point
from orchestrator.strategy import Strategy


class BaselineFirst:
    """Implements `orchestrator.strategy.Strategy`.

    However few points are asked for, what they are compared with is among them.

    Args:
        inner: Proposes the others; where it proposes the baseline too, that is left out.
        baseline: The point that the others are compared with.
    """

    def __init__(self, inner: Strategy, baseline: Point) -> None:
        self.inner, self.baseline = inner, dict(baseline)
        self.begun = False

    def ask(self, n: int) -> list[Point]:
        """Return the next `n` points."""
        points: list[Point] = []
        if n and not self.begun:
            self.begun = True
            points.append(self.baseline)
        while len(points) < n and (asked := self.inner.ask(n - len(points))):
            points += [point for point in asked if dict(point) != self.baseline]
        return points

    def tell(self, point: Point, value: float | None) -> None:
        """Pass on what became of a point."""
        self.inner.tell(point, value)

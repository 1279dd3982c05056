"""Points drawn at random, without replacement."""

from __future__ import annotations

import random

from orchestrator.space import Point, Space


class RandomStrategy:
    """Implements `orchestrator.strategy.Strategy`.

    The order is a pseudo-random permutation of the grid that is never built: a Fisher-Yates
    shuffle that keeps only the places it has touched.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.asked = space, 0
        self.draw = random.Random(seed)
        self.moved: dict[int, int] = {}

    def ask(self, n: int) -> list[Point]:
        """Return `n` points not returned before."""
        points: list[Point] = []
        while len(points) < n and self.asked < self.space.size:
            place = self.draw.randrange(self.asked, self.space.size)
            index = self.moved.get(place, place)
            self.moved[place] = self.moved.pop(self.asked, self.asked)
            self.asked += 1
            points.append(self.space.point(index))
        return points

    def tell(self, point: Point, value: float | None) -> None:
        """A random search does not learn."""

"""Points drawn at random, without replacement."""

from __future__ import annotations

import random

from orchestrator.space import Point, Space
from orchestrator.strategy.unseen import Shuffle, Unseen


class RandomStrategy:
    """Implements `orchestrator.strategy.Strategy`.

    Where all values are equally likely the order is a permutation of the grid; else each axis is
    drawn from its distribution, and what was drawn before is drawn again.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        draw = random.Random(seed)
        self.shuffle = self.unseen = None
        if all(axis.even for axis in space.axes):
            self.shuffle = Shuffle(space.size, draw)
        else:
            count = len(space.dimensions)
            self.unseen = Unseen(space, seed, lambda: [draw.random() for _ in range(count)])

    def ask(self, n: int) -> list[Point]:
        """Return `n` points not returned before."""
        if self.unseen is not None:
            return self.unseen.ask(n)
        assert self.shuffle is not None
        points: list[Point] = []
        while len(points) < n and (index := self.shuffle.next()) is not None:
            points.append(self.space.point(index))
        return points

    def tell(self, point: Point, value: float | None) -> None:
        """A random search does not learn."""

"""From random numbers to points, none of them twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from orchestrator.space import Point, Space

MOST_MISSES = 200
"""Draws in a row that were seen before, after which a finite space is gone through instead."""


class Shuffle:
    """The numbers below `size` in random order.

    A Fisher-Yates shuffle that keeps only the places it has touched.
    """

    def __init__(self, size: int, draw: random.Random) -> None:
        self.size, self.draw, self.given = size, draw, 0
        self.moved: dict[int, int] = {}

    def next(self) -> int | None:
        """Return a number not returned before, or None."""
        if self.given == self.size:
            return None
        place = self.draw.randrange(self.given, self.size)
        index = self.moved.get(place, place)
        self.moved[place] = self.moved.pop(self.given, self.given)
        self.given += 1
        return index


class Unseen:
    """Points at random places of a space, each place once.

    Args:
        space: Of any kinds of axes.
        seed: For the order of what the draws have missed.
        shares: Gives the next draw: a number from 0 up to but not 1 for each dimension.
    """

    def __init__(self, space: Space, seed: int, shares: Callable[[], Sequence[float]]) -> None:
        self.space, self.shares = space, shares
        self.seen: set[tuple[float, ...]] = set()
        self.rest = Shuffle(space.size, random.Random(seed)) if space.finite else None
        self.drawing = True

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` points not returned before."""
        points: list[Point] = []
        while len(points) < n and (places := self._next()) is not None:
            self.seen.add(places)
            points.append(self.space.at(places))
        return points

    def _next(self) -> tuple[float, ...] | None:
        if self.drawing:
            for _ in range(MOST_MISSES):
                places = self.space.places(self.shares())
                if places not in self.seen:
                    return places
            self.drawing = False
        while self.rest is not None and (index := self.rest.next()) is not None:
            digits = self.space.digits(index)
            if digits not in self.seen:
                return digits
        return None

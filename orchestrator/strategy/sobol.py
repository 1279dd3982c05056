"""Points of a scrambled Sobol sequence: spread more evenly than random ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from orchestrator.space import Point, Space
from orchestrator.strategy.unseen import Unseen

BATCH = 64
"""Of the sequence at once; a power of two, as its balance wants."""


class SobolStrategy:
    """Implements `orchestrator.strategy.Strategy`.

    The sequence covers the unit cube (Sobol' 1967, scrambled as in Owen 1998); axes with countable
    values are cut into equal parts. A point that falls where one fell before is passed over.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.unseen = Unseen(space, seed, self._next)
        self.count = len(space.dimensions)
        self.seed = seed
        self.engine: Any = None
        self.ready: deque[Sequence[float]] = deque()

    def ask(self, n: int) -> list[Point]:
        """Return `n` points not returned before."""
        return self.unseen.ask(n)

    def tell(self, point: Point, value: float | None) -> None:
        """A sequence does not learn."""

    def _next(self) -> Sequence[float]:
        if self.count == 0:
            return ()
        if self.engine is None:
            from scipy.stats import qmc

            self.engine = qmc.Sobol(self.count, scramble=True, rng=self.seed)
        if not self.ready:
            self.ready.extend(self.engine.random(BATCH).tolist())
        return self.ready.popleft()

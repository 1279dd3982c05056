"""Who proposes the next points. The contract; its neighbours implement it.

A strategy is one file, one line in `STRATEGIES` and one fixture in
`tests/contracts/strategies.py`, from which it inherits the suite.
"""

from __future__ import annotations

import importlib
from typing import Protocol

from orchestrator.errors import Problem, UsageError, nearest
from orchestrator.space import Point, Space

STRATEGIES = {
    "grid": "orchestrator.strategy.grid.GridStrategy",
    "random": "orchestrator.strategy.random.RandomStrategy",
    "sobol": "orchestrator.strategy.sobol.SobolStrategy",
}


class Strategy(Protocol):
    """Proposes points and hears what became of them.

    The same space, seed and sequence of `tell` give the same points. No point is proposed
    twice; a strategy whose space is exhausted proposes none.
    """

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` new points; fewer, or none, where no more are left."""

    def tell(self, point: Point, value: float | None) -> None:
        """Hear the objective of a point, or None where it has none."""


def make_strategy(method: str, space: Space, seed: int, source: str) -> Strategy:
    """Return the strategy of a name.

    Args:
        method: A name in `STRATEGIES`.
        space: What to search.
        seed: Of the strategy's own random numbers.
        source: Where the name was given.

    Raises:
        UsageError: There is none of that name.
    """
    if method not in STRATEGIES:
        raise UsageError(
            Problem(
                f"no search method {method!r}{nearest(method, STRATEGIES)}",
                source,
                f"one of {', '.join(STRATEGIES)}",
            )
        )
    module, _, attribute = STRATEGIES[method].rpartition(".")
    strategy: Strategy = getattr(importlib.import_module(module), attribute)(space, seed)
    return strategy

"""Who proposes the next points. The contract; its neighbours implement it.

A strategy is one file, one line in `STRATEGIES` and one fixture in
`tests/contracts/strategies.py`, from which it inherits the suite.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from orchestrator.errors import Problem, UsageError, nearest
from orchestrator.space import Point, Space

STRATEGIES = {
    "grid": "orchestrator.strategy.grid.GridStrategy",
    "random": "orchestrator.strategy.random.RandomStrategy",
    "sobol": "orchestrator.strategy.sobol.SobolStrategy",
    "one-at-a-time": "orchestrator.strategy.one_at_a_time.OneAtATimeStrategy",
    "leave-one-out": "orchestrator.strategy.leave_one_out.LeaveOneOutStrategy",
}
LISTING = ("grid", "one-at-a-time", "leave-one-out")
"""Those that go through the values of each axis, and so take no continuum of them."""
AROUND = ("one-at-a-time", "leave-one-out")
"""Those whose first point is the one that the others are compared with."""


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
    """Return the strategy of a name; where the space has a baseline, that is asked first.

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
    strategy: Strategy = _class_of(method)(space, seed)
    if space.baseline is None:
        return strategy
    from orchestrator.strategy.baseline_first import BaselineFirst

    return BaselineFirst(strategy, space.baseline)


def points_asked(method: str, space: Space) -> int:
    """Return how many points a strategy asks of a finite space, the baseline among them.

    Args:
        method: A name in `STRATEGIES`; of any other the whole space is counted.
        space: What it searches.
    """
    counted = getattr(_class_of(method), "count", None) if method in STRATEGIES else None
    if counted is not None:
        return int(counted(space))
    return space.size + (space.baseline is not None and not space.holds(space.baseline))


def _class_of(method: str) -> Any:
    module, _, attribute = STRATEGIES[method].rpartition(".")
    return getattr(importlib.import_module(module), attribute)

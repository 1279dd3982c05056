"""Whether a search can go through a space. It is counted, never built."""

from __future__ import annotations

from orchestrator.errors import Problem, UsageError
from orchestrator.space import Space
from orchestrator.strategy import LISTING, points_asked

LARGEST_PLAN = 10_000
"""Trials a plan may have unless `--max-trials` says otherwise."""
MOST_TRIALS = 100_000
"""Trials a plan may have whatever anybody says: they are held in memory, and are in one report."""


def check_space(space: Space, seeds: int, most: int | None, method: str, place: str) -> None:
    """Refuse a space with no end, and one with more points than anybody means to train.

    Args:
        space: What to search.
        seeds: Trials of each point.
        most: Most trials the plan may have; None where nobody said.
        method: Name of the search.
        place: Of the space.

    Raises:
        UsageError: What is wrong, and what to type.
    """
    _check_continuous(space, most, method)
    if most is not None and most > MOST_TRIALS:
        message = f"got max_trials {most:,}, expected at most {MOST_TRIALS:,}"
        raise UsageError(Problem(message, place, "--max-trials 10000"))
    if not space.finite or most is not None:
        return
    count = points_asked(method, space) * seeds
    if count > LARGEST_PLAN:
        factors = [
            f"{' = '.join(axis.key for axis in group)} {len(group[0].values)}"
            for group in space.dimensions
        ]
        bound = "" if space.exact else "up to "
        sign = " x " if points_asked(method, space) >= space.size else " or "
        product = f"{sign.join(factors)} x seeds {seeds}" if factors else f"seeds {seeds}"
        raise UsageError(
            Problem(
                f"got {bound}{count:,} trials ({product}), expected at most {LARGEST_PLAN:,}",
                place,
                "fewer values, or --search random --max-trials 100",
            )
        )


def _check_continuous(space: Space, most: int | None, method: str) -> None:
    """Refuse a continuum of values where it would have to be listed, or without an end."""
    problems = []
    for axis in (axis for axis in space.axes if axis.continuous):
        leaf = axis.key.rpartition(".")[2]
        if method in LISTING:
            assert axis.interval is not None
            step = "" if axis.interval.log else "a step, or "
            who = "a grid" if method == "grid" else method
            problems.append(
                Problem(
                    f"axis {axis.key}: got a continuous range, {who} needs values to list",
                    axis.source,
                    f"--search random --max-trials 100, or give {leaf} {step}points = 5",
                )
            )
        elif most is None:
            problems.append(
                Problem(
                    f"axis {axis.key}: got a continuous range and no number of trials, the search"
                    " would not end",
                    axis.source,
                    "--max-trials 100, or max_trials = 100 in [search]",
                )
            )
    if problems:
        raise UsageError(*problems)

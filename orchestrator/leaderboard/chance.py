"""How often chance alone makes two points that are alike differ as much as two points do.

Welch's unequal variances t-test (Welch 1947), two-sided, with the seeds as the samples. A median
is treated like a mean whose standard error is sqrt(pi / 2) = 1.2533 times as large, as it is for
normal samples; their interquartile range is no measure of it, since that of few seeds is far too
small. Where the seeds of both points do not spread at all, as steps or accuracies may, a t-test
would be sure after two seeds: there it is the share of the ways to deal all values out to the two
points that part them as well (exact permutation test).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MEDIAN_ERROR = math.sqrt(math.pi / 2)


@dataclass(frozen=True)
class Chance:
    """How often a gap is chance.

    Args:
        share: Probability of a gap at least as large between two points that are alike.
        test: Name of the test that says so.
    """

    share: float
    test: str


def chance_of_gap(a: Sequence[float], b: Sequence[float], *, median: bool = False) -> Chance:
    """Return how often two points that are alike differ as much.

    Args:
        a: Objective of each seed of a point; two seeds at least.
        b: Of another one.
        median: Whether their medians are compared, not their means.
    """
    errors = _error(a, median), _error(b, median)
    error = math.hypot(*errors)
    middle = statistics.median if median else statistics.mean
    gap = abs(middle(a) - middle(b))
    if error == 0:
        ways = math.comb(len(a) + len(b), len(a))
        alike = 2 if len(a) == len(b) else 1
        return Chance(1.0 if gap == 0 else alike / ways, "exact permutation test")
    shares = (errors[0] / error) ** 2, (errors[1] / error) ** 2
    freedom = 1 / (shares[0] ** 2 / (len(a) - 1) + shares[1] ** 2 / (len(b) - 1))
    return Chance(tail(gap / error, freedom), "Welch's t-test")


def _error(values: Sequence[float], median: bool) -> float:
    """Return the standard error of the mean, or of the median."""
    return (MEDIAN_ERROR if median else 1.0) * statistics.stdev(values) / math.sqrt(len(values))


def tail(t: float, freedom: float) -> float:
    """Return the probability that Student's t is at least `t` from zero, to either side.

    With x = sqrt(freedom) tan(angle) the density is a power of the cosine, which Simpson's
    rule integrates to more digits than anybody reads.
    """
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    inside = _simpson(lambda angle: math.cos(angle) ** (freedom - 1), math.atan(t / freedom**0.5))
    return min(1.0, max(0.0, 1 - 2 * scale * inside))


def _simpson(f: Callable[[float], float], end: float, pieces: int = 400) -> float:
    h = end / pieces
    inner = sum((4 if i % 2 else 2) * f(i * h) for i in range(1, pieces))
    return (f(0.0) + inner + f(end)) * h / 3

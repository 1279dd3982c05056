"""How often chance alone makes two points differ as much as they do.

Welch's unequal variances t-test (Welch 1947), two-sided, with the seeds as the samples. A median
is treated like a mean whose standard error follows from the interquartile range of a normal
distribution: IQR = 1.349 sd, standard error of the median = 1.2533 sd / sqrt(n).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

MEDIAN_ERROR = 1.2533 / 1.349


@dataclass(frozen=True)
class Sample:
    """The seeds of one point.

    Args:
        value: Their mean or median.
        spread: Sample standard deviation or interquartile range.
        n: How many there are, at least 2.
        median: Which of the two it is.
    """

    value: float
    spread: float
    n: int
    median: bool = False

    @property
    def variance(self) -> float:
        """The squared standard error of the value."""
        return ((MEDIAN_ERROR if self.median else 1.0) * self.spread) ** 2 / self.n


def chance_of_gap(a: Sample, b: Sample) -> float:
    """Return the probability of a gap at least as large between two points that are alike."""
    variance = a.variance + b.variance
    if variance == 0:
        return 1.0 if a.value == b.value else 0.0
    t = abs(a.value - b.value) / math.sqrt(variance)
    shares = a.variance / variance, b.variance / variance
    freedom = 1 / (shares[0] ** 2 / (a.n - 1) + shares[1] ** 2 / (b.n - 1))
    return tail(t, freedom)


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

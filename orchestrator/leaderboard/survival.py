"""Times until something happens, where some runs ended before it did.

Kaplan and Meier 1958: at each time at which something happens, the share that is left is reduced
by the share of those still watched to which it happened; who is censored is watched until then and
no longer. Kept as fractions, so that half is half and equals are equal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

from orchestrator.leaderboard.chance import Chance
from orchestrator.objective import Observation

MOST_WAYS = 20_000
"""Ways to deal the observations out to two points that are tried one by one: 8 against 8 seeds."""

Curve = list[tuple[float, Fraction]]
"""(time, share to which it has not happened by then), at the times at which it happened."""


def survival(observations: Sequence[Observation]) -> Curve:
    """Return the Kaplan-Meier curve; empty where everything is censored."""
    left, curve = Fraction(1), []
    for time, happened, watched in _table(observations):
        left *= 1 - Fraction(happened, watched)
        curve.append((time, left))
    return curve


def quantile(curve: Curve, share: Fraction) -> float | None:
    """Return the first time by which it has happened to `share`; None where that is not reached.

    Args:
        curve: From `survival`.
        share: In (0, 1]; a half for the median.
    """
    return next((time for time, left in curve if left <= 1 - share), None)


def log_rank(a: Sequence[Observation], b: Sequence[Observation]) -> Chance:
    """Return how often two points that are alike differ as much in when it happens.

    The log-rank test (Mantel 1966), two-sided. With few seeds its normal approximation is too
    sure; where the ways to deal the observations out can be tried one by one, it is the share of
    them in which the scores (Peto and Peto 1972) part as far.

    Args:
        a: The seeds of a point, at least one.
        b: Of another one.
    """
    if math.comb(len(a) + len(b), len(a)) <= MOST_WAYS:
        return Chance(_exact(a, b), "exact log-rank test")
    excess = variance = Fraction(0)
    own = {time: (happened, watched) for time, happened, watched in _table(a)}
    for time, happened, watched in _table([*a, *b]):
        among = sum(one.value >= time for one in a)
        excess += own.get(time, (0, 0))[0] - Fraction(happened * among, watched)
        if watched > 1:
            chosen = Fraction(among * (watched - among), watched * watched)
            variance += happened * chosen * Fraction(watched - happened, watched - 1)
    if variance == 0:
        return Chance(1.0, "log-rank test")
    return Chance(math.erfc(abs(float(excess)) / math.sqrt(2 * float(variance))), "log-rank test")


def _exact(a: Sequence[Observation], b: Sequence[Observation]) -> float:
    """Return the share of all ways to deal them out that part the scores as far."""
    scores = _scores([*a, *b])
    common = math.lcm(*(score.denominator for score in scores))
    whole = [int(score * common) for score in scores]  # they sum to 0
    parted = abs(sum(whole[: len(a)]))
    sums = [abs(sum(chosen)) for chosen in itertools.combinations(whole, len(a))]
    return sum(other >= parted for other in sums) / len(sums)


def _scores(observations: Sequence[Observation]) -> list[Fraction]:
    """Return what each adds to the excess of its point: 1 where it happened, less its hazard."""
    hazard, until = Fraction(0), []
    for time, happened, watched in _table(observations):
        hazard += Fraction(happened, watched)
        until.append((time, hazard))
    return [
        int(not one.censored)
        - next((total for time, total in reversed(until) if time <= one.value), Fraction(0))
        for one in observations
    ]


def _table(observations: Sequence[Observation]) -> list[tuple[float, int, int]]:
    """Return (time, how many it happened to, how many were watched), in order of time."""
    times = sorted({one.value for one in observations if not one.censored})
    return [
        (
            time,
            sum(one.value == time and not one.censored for one in observations),
            sum(one.value >= time for one in observations),
        )
        for time in times
    ]

"""How each variant differs from the baseline, seed by seed.

A variant and the baseline are trained with the same seeds, and so from the same initial weights, in
the same order and on the same split: the difference is taken within each seed, where what the seed
does to both cancels out. The mean difference has a 95 % interval by Student's t on the differences;
its p-value is that of the paired t-test, two-sided. Several variants are several chances to be
fooled, so p-values are corrected by Holm's method (Holm 1979): whatever is true, at most 5 % of
sweeps call any variant better or worse that is not.

A variant that lost a seed, like one that cannot be ranked (`ranking.py`), is not compared by the
seeds it has left: those that fail are seldom the good ones. Without all seeds of the baseline
nothing is compared. Where the differences do not spread at all a t-test would be sure after two
seeds: there it is the share of all ways to swap variant and baseline within each seed that part
them as well (exact sign-flip test).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from orchestrator.leaderboard.ranking import Entry
from orchestrator.objective import Objective

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
"""Corrected p-value below which a variant is called better or worse."""
ROUNDING = 8 * 2.0**-52
"""Share of the values by which differences that are equal may differ: they were rounded."""


class Judgement(StrEnum):
    """What is said of a variant beside the baseline."""

    BASELINE = "baseline"
    BETTER = "better"
    WORSE = "worse"
    NOT_SEPARABLE = "not separable"
    SAME = "the same in every seed"
    ONE_SEED = "one seed"  # a difference, and no measure of chance


@dataclass(frozen=True)
class Comparison:
    """What the points of a sweep are compared with.

    Args:
        baseline: Id of the point.
        top_n: Ranked points that a person is shown first; None for all.
    """

    baseline: str
    top_n: int | None = None

    @classmethod
    def of(cls, sweep: Mapping[str, Any]) -> Comparison | None:
        """Return that of a sweep, as its ledger describes it; None where it names no baseline."""
        if sweep.get("baseline") is None:
            return None
        return cls(str(sweep["baseline"]), sweep.get("ablation", {}).get("top_n"))


@dataclass(frozen=True)
class Paired:
    """A variant against the baseline.

    Args:
        judgement: In a word.
        pairs: Seeds that both have.
        difference: Mean of variant - baseline, in the objective's unit; None of the baseline.
        interval: 95 % confidence interval of it; None with one seed, and where the differences do
            not spread.
        p: Two-sided, for this variant alone; None with one seed.
        corrected: Holm's, over all variants that are compared.
    """

    judgement: Judgement
    pairs: int
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    corrected: float | None = None


def paired(entries: Sequence[Entry], baseline: str, objective: Objective) -> dict[str, Paired]:
    """Compare the points of a sweep with one of them.

    Args:
        entries: From `rank`.
        baseline: Its point id.
        objective: What they were ranked by; times that may be censored have no difference.

    Returns:
        What can be said, by point id; nothing where the baseline lost a seed.
    """
    base = next((entry for entry in entries if entry.point_id == baseline), None)
    if base is None or base.rank is None or objective.event:
        return {}
    by_seed = _by_seed(base)
    found: dict[str, Paired] = {}
    for entry in entries:
        values = _by_seed(entry)
        if entry.rank is None or values.keys() != by_seed.keys():
            continue
        if entry is base:
            found[baseline] = Paired(Judgement.BASELINE, len(by_seed))
        else:
            found[entry.point_id] = compare([values[s] for s in by_seed], [*by_seed.values()])
    tested = {point: one.p for point, one in found.items() if one.p is not None}
    for point, corrected in holm(tested).items():
        one = replace(found[point], corrected=corrected)
        found[point] = replace(one, judgement=_judged(one, objective))
    return found


def compare(variant: Sequence[float], base: Sequence[float]) -> Paired:
    """Compare two points by the seeds they share, without a correction for other comparisons.

    Args:
        variant: Objective of each seed, finite.
        base: Of the baseline, in the same order.
    """
    differences = [a - b for a, b in zip(variant, base, strict=True)]
    n, mean = len(differences), statistics.mean(differences)
    if n == 1:
        return Paired(Judgement.ONE_SEED, n, mean)
    if not any(differences):
        return Paired(Judgement.SAME, n, 0.0, None, 1.0)
    spread = statistics.stdev(differences)
    if spread <= ROUNDING * max(map(abs, (*variant, *base))):
        return Paired(Judgement.NOT_SEPARABLE, n, mean, None, 2.0 ** (1 - n))
    from scipy import stats

    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread / math.sqrt(n)
    p = float(stats.ttest_rel(variant, base).pvalue)
    return Paired(Judgement.NOT_SEPARABLE, n, mean, (mean - reach, mean + reach), p)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for how many there are (Holm 1979, step-down).

    The smallest of m is taken m times, the next m - 1 times and so on; none becomes smaller than
    one before it, nor larger than 1.
    """
    corrected: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, (len(p) - place) * p[name]))
        corrected[name] = largest
    return corrected


def _judged(one: Paired, objective: Objective) -> Judgement:
    if one.judgement is Judgement.SAME or one.corrected is None or one.corrected >= SIGNIFICANT:
        return one.judgement
    assert one.difference is not None
    rises = one.difference > 0
    return Judgement.BETTER if rises == (objective.mode == "max") else Judgement.WORSE


def _by_seed(entry: Entry) -> dict[int, float]:
    """Return the objective of each seed; of a ranked point all of them have one."""
    pairs = zip(entry.seeds, entry.seed_values, strict=True)
    return {seed: value for seed, value in pairs if value is not None}

"""Which point of the space is best, with its seeds together.

The seed is the unit of evidence: a point is ranked when every one of its seeds finished and
reported a finite objective. A point that lost a seed is not ranked by the seeds it has left,
because the seeds that fail are seldom the good ones. Selection uses the objective; the test
metric is taken for the best point only, after it was chosen.

Where the objective is a time until something happens (`grok/generalised_step`), a run that ended
before it is censored: it counts as longer than it was watched (`survival.py`), never as a number.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from orchestrator.leaderboard.survival import quantile, survival
from orchestrator.ledger import State, TrialRecord
from orchestrator.objective import Objective, Observation
from trainer.reporting import Reason


@dataclass(frozen=True)
class Entry:
    """One point of the space with all its seeds.

    Args:
        point_id: Shared by its seeds.
        position: Place in the plan of its first trial, from 0.
        changed: The axes and this point's values.
        trial_ids: Its trials in plan order.
        seeds: `training.seed` of each trial.
        seed_values: The objective of each trial; None where it did not finish with a finite one.
        n_finished: How many of its trials finished, whatever they reported.
        state: What all its trials are ("finished", "diverged", "waiting", ...); "incomplete"
            where they differ.
        reason: One line for a person; empty where the state says all.
        active_s: Seconds spent, all trials and attempts together.
        steps: Optimizer steps done, all trials together.
        rank: From 1, equal objectives share one; None where the point is not ranked.
        value: Mean or median of `seed_values`; None where not ranked, or where too many seeds are
            censored for a median.
        spread: Sample standard deviation (mean) or interquartile range (median) of
            `seed_values`; None with one seed.
        interval: What the spread spans: one standard deviation to either side of the mean, or
            the two quartiles; None with one seed. Of a time that the upper quartile does not reach,
            it ends at `bound`.
        test: Mean or median of the test metric over the seeds; on the best entry only (of
            those that tie, the first in the plan), None where a seed did not report it.
        test_spread: Its spread; None with one seed.
        seed_bounds: What the objective of each censored trial exceeds; None for the others.
        bound: How long the longest watched seed was watched, where a seed is censored: what the
            median exceeds where there is none.
        left: Share of the seeds, by Kaplan and Meier, to which it has not happened at the end of
            that; None where the objective is no such time, or the point is not ranked.
    """

    point_id: str
    position: int
    changed: dict[str, Any]
    trial_ids: tuple[str, ...]
    seeds: tuple[int, ...]
    seed_values: tuple[float | None, ...]
    n_finished: int
    state: str
    reason: str
    active_s: float
    steps: int
    rank: int | None = None
    value: float | None = None
    spread: float | None = None
    interval: tuple[float, float] | None = None
    test: float | None = None
    test_spread: float | None = None
    seed_bounds: tuple[float | None, ...] = ()
    bound: float | None = None
    left: float | None = None

    @property
    def n_censored(self) -> int:
        """How many of its trials ended before the objective could be known."""
        return sum(bound is not None for bound in self.seed_bounds)

    @property
    def comparable(self) -> bool:
        """Whether all its seeds are known well enough to be ranked."""
        return self.value is not None or self.left is not None

    @property
    def observations(self) -> list[Observation]:
        """What its seeds say, those that say something."""
        known = [Observation(value) for value in self.seed_values if value is not None]
        open_ended = [Observation(b, censored=True) for b in self.seed_bounds if b is not None]
        return known + open_ended

    @property
    def n_seeds(self) -> int:
        """How many trials the point has."""
        return len(self.trial_ids)


@dataclass(frozen=True)
class Figure:
    """Several seeds as one value; see the fields of `Entry`."""

    value: float | None = None
    spread: float | None = None
    interval: tuple[float, float] | None = None
    bound: float | None = None
    left: float | None = None


def rank(trials: Sequence[TrialRecord], objective: Objective) -> list[Entry]:
    """Rank the points of a sweep.

    Args:
        trials: All trials of the sweep, in any order. The trials of one `point_id` are the
            seeds of one point.
        objective: What to rank by.

    Returns:
        One entry per point: the ranked ones, best first and equals in plan order, then the
        others in plan order. Equals share a rank and the next rank is skipped (1, 1, 3).
    """
    points: dict[str, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda t: t.position):
        points.setdefault(trial.point_id, []).append(trial)
    entries = [_entry(seeds, objective) for seeds in points.values()]
    scored = [(_score(e, objective), e.position, e) for e in entries if e.comparable]
    scored.sort(key=lambda item: item[:2])
    ranked: list[Entry] = []
    for place, (score, _, entry) in enumerate(scored, start=1):
        equal = bool(ranked) and _score(ranked[-1], objective) == score
        ranked.append(replace(entry, rank=ranked[-1].rank if equal else place))
    if ranked:
        test = _test(points[ranked[0].point_id], objective)
        if test is not None:
            ranked[0] = replace(ranked[0], test=test.value, test_spread=test.spread)
    return ranked + [entry for entry in entries if not entry.comparable]


def _score(entry: Entry, objective: Objective) -> tuple[float, ...]:
    """Return what sorts an entry, the best lowest.

    Without a median the time is longer than any: of those, the one that it happened to less often
    is the longer, then the one that was watched for longer.
    """
    if entry.value is not None:
        lengths = (0.0, entry.value, 0.0)
    else:
        lengths = (1.0, entry.left or 0.0, entry.bound or 0.0)
    return tuple(length if objective.mode == "min" else -length for length in lengths)


def summarise(values: Sequence[float], objective: Objective) -> Figure:
    """Return the statistic of finite values and how far they spread.

    Sums are exact, so the order of the seeds cannot break a tie. Quartiles interpolate
    linearly between the sorted values (type 7 of Hyndman and Fan 1996, NumPy's default).
    """
    if objective.middle == "median":
        middle = float(statistics.median(values))
        if len(values) < 2:
            return Figure(middle, None, None)
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return Figure(middle, high - low, (low, high))
    middle = float(statistics.mean(values))
    if len(values) < 2:
        return Figure(middle, None, None)
    spread = statistics.stdev(values)
    return Figure(middle, spread, (middle - spread, middle + spread))


def summarise_times(observations: Sequence[Observation]) -> Figure:
    """Return the Kaplan-Meier median of times and the quartiles around it, as far as they go."""
    curve = survival(observations)
    low, middle, high = (quantile(curve, Fraction(part, 4)) for part in (1, 2, 3))
    bound = None
    if any(one.censored for one in observations):
        bound = max(one.value for one in observations)
    end = high if high is not None else bound
    return Figure(
        value=middle,
        spread=None if low is None or high is None or len(observations) < 2 else high - low,
        interval=None if low is None or end is None or len(observations) < 2 else (low, end),
        bound=bound,
        left=float(curve[-1][1]) if curve else 1.0,
    )


def _entry(trials: list[TrialRecord], objective: Objective) -> Entry:
    observed = [objective.observe(trial) for trial in trials]
    found = [one for one in observed if one is not None]
    figure = Figure()
    if len(found) == len(trials):
        values = [one.value for one in found]
        figure = summarise_times(found) if objective.event else summarise(values, objective)
    state, reason = _summary(trials, objective)
    return Entry(
        point_id=trials[0].point_id,
        position=trials[0].position,
        changed=dict(trials[0].changed),
        trial_ids=tuple(trial.id for trial in trials),
        seeds=tuple(trial.seed for trial in trials),
        seed_values=tuple(o.value if o and not o.censored else None for o in observed),
        seed_bounds=tuple(o.value if o and o.censored else None for o in observed),
        n_finished=_n_finished(trials),
        state=state,
        reason=reason,
        active_s=math.fsum(trial.active_s for trial in trials),
        steps=sum(trial.step for trial in trials),
        value=figure.value,
        spread=figure.spread,
        interval=figure.interval,
        bound=figure.bound,
        left=figure.left,
    )


def _test(trials: list[TrialRecord], objective: Objective) -> Figure | None:
    if objective.test_metric is None:
        return None
    values = [_finite(trial.final.get(objective.test_metric)) for trial in trials]
    found = [value for value in values if value is not None]
    return summarise(found, objective) if len(found) == len(trials) else None


def _summary(trials: list[TrialRecord], objective: Objective) -> tuple[str, str]:
    """The state and reason of a point; seeds of which the same is to be said are named together."""
    said = [(_label(trial), _detail(trial, objective)) for trial in trials]
    labels = {label for label, _ in said}
    state = labels.pop() if len(labels) == 1 else "incomplete"
    if len(set(said)) == 1:
        return state, said[0][1]
    together: dict[tuple[str, str], list[int]] = {}
    for trial, words in zip(trials, said, strict=True):
        if words != (Reason.FINISHED.value, ""):
            together.setdefault(words, []).append(trial.seed)
    parts = (
        [] if state == "finished" else [f"{_n_finished(trials)} of {len(trials)} seeds finished"]
    )
    for (label, detail), seeds in together.items():
        who = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
        # A state shared by all seeds is in the state already.
        what = detail if label == state else ": ".join(filter(None, (label, detail)))
        parts.append(": ".join(filter(None, (who, what))))
    return state, "; ".join(parts)


def _label(trial: TrialRecord) -> str:
    """The reason where a trial ended, its state before."""
    if trial.state is State.ENDED and trial.reason is not None:
        return trial.reason.value
    return trial.state.value


def _detail(trial: TrialRecord, objective: Objective) -> str:
    """What is to be said beside the label; a finished trial that cannot be ranked says why."""
    if (observation := objective.observe(trial)) is not None and observation.censored:
        return f"{objective.metric} is more than {observation.value:.6g}"
    if trial.reason is Reason.FINISHED:
        value = objective.value(trial)
        if value is None:
            if objective.event:
                why = "it never memorised, or was not evaluated often enough"
                return f"{objective.metric} cannot be known: {why}"
            return f"{objective.metric} was not reported"
        if _finite(value) is None:
            return f"{objective.metric} is {value}, which is not finite"
    return trial.detail


def _n_finished(trials: Sequence[TrialRecord]) -> int:
    return sum(trial.reason is Reason.FINISHED for trial in trials)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None

"""What a sweep is judged by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from orchestrator.ledger import TrialRecord
from trainer.grokking import HOLD, lower_bound
from trainer.grokking import METRICS as EVENT_METRICS
from trainer.reporting import Reason

WATCHED = (Reason.FINISHED, Reason.BUDGET, Reason.WALL_CLOCK)
"""How a run may end whose time until an event is then known to be longer: by design, and for a
reason that has nothing to do with the event. One that was pruned was stopped for being late."""


@dataclass(frozen=True)
class Observation:
    """What one trial says of an objective.

    Args:
        value: The objective; of a censored trial what it is known to exceed.
        censored: Whether the run ended before the objective could be known.
    """

    value: float
    censored: bool = False


@dataclass(frozen=True)
class Objective:
    """The metric that ranks, from the last evaluation of a finished trial.

    Args:
        metric: Name of a reported metric (`val/loss`).
        mode: "min" or "max".
        statistic: How the seeds of a point become one figure: "mean" (spread: sample standard
            deviation) or "median" (spread: interquartile range). Read `middle` instead.
    """

    metric: str = "val/loss"
    mode: Literal["min", "max"] = "min"
    statistic: Literal["mean", "median"] = "mean"

    @property
    def event(self) -> bool:
        """Whether it is a time until something happens, before which a run may end."""
        return self.metric in EVENT_METRICS

    @property
    def middle(self) -> Literal["mean", "median"]:
        """The statistic that is taken: times that may be censored have no mean."""
        return "median" if self.event else self.statistic

    def observe(self, trial: TrialRecord) -> Observation | None:
        """Return what the trial says; None where it says nothing: it failed, or goes on."""
        if trial.reason not in (WATCHED if self.event else (Reason.FINISHED,)):
            return None
        if (value := trial.final.get(self.metric)) is not None:
            return Observation(value) if math.isfinite(value) else None
        if not self.event:
            return None
        watched = _watched_step(trial)
        bound = None if watched is None else lower_bound(self.metric, trial.final, watched)
        return None if bound is None else Observation(bound, censored=True)

    def value(self, trial: TrialRecord) -> float | None:
        """Return the trial's objective; None unless it finished and reported it."""
        return trial.final.get(self.metric) if trial.reason is Reason.FINISHED else None

    @property
    def test_metric(self) -> str | None:
        """The same quantity on the test split, where the metric is one of validation."""
        group, _, name = self.metric.partition("/")
        return f"test/{name}" if group == "val" else None


OF_TASK = {"ariel": Objective("val/score", "max")}
"""Objectives of the tasks that have one of their own."""


def objective_of(task: str) -> Objective:
    """Return what ranks runs of a task where nobody says."""
    return OF_TASK.get(task, Objective())


def _watched_step(trial: TrialRecord) -> int | None:
    """Return the last step at which a streak that began would have been told; None for none.

    That is the `HOLD`-th last evaluation: of a streak that begins later the end is not seen.
    """
    every = int(trial.config["training"]["eval_interval"])
    evaluations, rest = divmod(trial.step, every)
    if (
        rest and trial.reason is Reason.FINISHED
    ):  # the last step is evaluated, whatever the interval
        evaluations += 1
    return (evaluations - HOLD + 1) * every if evaluations >= HOLD else None

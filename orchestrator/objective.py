"""What a sweep is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.ledger import TrialRecord
from trainer.reporting import Reason


@dataclass(frozen=True)
class Objective:
    """The metric that ranks, from the last evaluation of a finished trial.

    Args:
        metric: Name of a reported metric (`val/loss`).
        mode: "min" or "max".
        statistic: How the seeds of a point become one figure: "mean" (spread: sample standard
            deviation) or "median" (spread: interquartile range).
    """

    metric: str = "val/loss"
    mode: Literal["min", "max"] = "min"
    statistic: Literal["mean", "median"] = "mean"

    def value(self, trial: TrialRecord) -> float | None:
        """Return the trial's objective; None unless it finished and reported it."""
        return trial.final.get(self.metric) if trial.reason is Reason.FINISHED else None

    @property
    def test_metric(self) -> str | None:
        """The same quantity on the test split, where the metric is one of validation."""
        group, _, name = self.metric.partition("/")
        return f"test/{name}" if group == "val" else None

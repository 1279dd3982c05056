"""The one definition of memorised and generalised.

Memorised: training accuracy has been at least `MEMORISED` for `HOLD` evaluations in a row.
Generalised: validation accuracy has been at least `GENERALISED` for `HOLD` evaluations in a
row. The step of either is the first of its streak, so a lucky evaluation does not count and
the hold does not delay the figure. Thresholds: 99 % train as in Nanda et al. 2023, 95 %
validation as in Gromov 2023.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MEMORISED = 0.99
GENERALISED = 0.95
HOLD = 3


@dataclass
class Streak:
    """Consecutive evaluations at or above a threshold."""

    threshold: float
    first_step: int | None = None
    length: int = 0
    reached_step: int | None = None

    def update(self, step: int, value: float) -> None:
        """Take the evaluation of `step`."""
        if value < self.threshold:
            self.first_step, self.length = None, 0
            return
        self.first_step = step if self.first_step is None else self.first_step
        self.length += 1
        if self.length >= HOLD and self.reached_step is None:
            self.reached_step = self.first_step


class GrokkingTracker:
    """Follow the accuracies of one run; a task without accuracies on both splits has no states."""

    def __init__(self) -> None:
        self.memorised = Streak(MEMORISED)
        self.generalised = Streak(GENERALISED)

    def update(self, step: int, metrics: dict[str, float]) -> dict[str, float]:
        """Take an evaluation; return `grok/…` metrics for what has been reached so far."""
        self.memorised.update(step, metrics["train/accuracy"])
        self.generalised.update(step, metrics["val/accuracy"])
        found = {
            "grok/memorised_step": self.memorised.reached_step,
            "grok/generalised_step": self.generalised.reached_step,
        }
        return {name: float(value) for name, value in found.items() if value is not None}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"memorised": asdict(self.memorised), "generalised": asdict(self.generalised)}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.memorised = Streak(**state["memorised"])
        self.generalised = Streak(**state["generalised"])

"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from trainer.config import TrainingConfig


def learning_rate(training: TrainingConfig, step: int) -> float:
    """Return the learning rate of optimizer step `step`, counted from 0.

    A linear rise over `warmup_steps`, then cosine or linear decay to `final_lr_frac` of the
    peak at the last of `training.steps`, or constant. A limit that ends the run early does
    not move it.
    """
    peak, warmup = training.learning_rate, training.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    if training.schedule == "constant":
        return peak
    progress = (step - warmup) / max(1, training.steps - 1 - warmup)
    progress = min(1.0, progress)
    floor = training.final_lr_frac
    if training.schedule == "linear":
        return peak * (1 - (1 - floor) * progress)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))

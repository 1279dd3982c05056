"""How likely the model finds each split: loss, perplexity, bits per byte, accuracy.

It is the task's own evaluation, on `evaluation.tokens` of each split: where a training evaluates
on as many, the validation figures are those of its last row.
"""

from __future__ import annotations

from typing import Any

from trainer.evaluation.subject import Subject
from trainer.precision import autocast

SPLITS = ("train", "val", "test")


def measure(subject: Subject) -> dict[str, Any]:
    """Return the metrics of each split that is not empty, and what knowing nothing would give."""
    values: dict[str, Any] = {}
    for split in SPLITS:
        with autocast(subject.config.tier):
            metrics = subject.task.evaluate(subject.model, split, subject.device)
        if metrics:
            values[split] = {name.partition("/")[2]: value for name, value in metrics.items()}
    baselines = subject.task.baselines()
    values["baseline"] = {name.partition("/")[2]: value for name, value in baselines.items()}
    return values

"""The learning rate, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trainer.config import TrainingConfig
from trainer.schedule import learning_rate


def rates(**settings: Any) -> list[float]:
    training = TrainingConfig(**({"learning_rate": 1.0, "final_lr_frac": 0.0} | settings))
    return [learning_rate(training, step) for step in range(training.steps)]


def test_linear() -> None:
    assert rates(steps=5, schedule="linear") == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert rates(steps=5, schedule="linear", final_lr_frac=0.2) == pytest.approx(
        [1, 0.8, 0.6, 0.4, 0.2]
    )


def test_cosine() -> None:
    half = math.sqrt(0.5) / 2
    assert rates(steps=5) == pytest.approx([1, 0.5 + half, 0.5, 0.5 - half, 0])
    assert rates(steps=3, final_lr_frac=0.5, learning_rate=2.0) == pytest.approx([2, 1.5, 1])


def test_constant() -> None:
    assert rates(steps=4, schedule="constant", learning_rate=0.3) == [0.3] * 4


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_warm_up_rises_in_a_line_and_reaches_the_peak(schedule: str) -> None:
    rising = rates(steps=9, warmup_steps=4, schedule=schedule)
    assert rising[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert rates(steps=4, warmup_steps=4, schedule=schedule) == pytest.approx([0.25, 0.5, 0.75, 1])


def test_decay_after_warm_up_ends_at_the_last_step() -> None:
    assert rates(steps=7, warmup_steps=2, schedule="linear") == pytest.approx(
        [0.5, 1, 1, 0.75, 0.5, 0.25, 0]
    )


def test_one_step() -> None:
    assert rates(steps=1) == [1.0]

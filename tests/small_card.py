"""A device on which memory runs out, as a test says when: the real error out of the real step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainer import RunConfig
from trainer.tasks.corpus.task import CorpusTask
from trainer.tasks.modular import ModularTask

MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."

Fits = Callable[[int, RunConfig, int], bool]
"""Sequences at once, the config they are computed under, optimizer steps done: whether they fit."""


def at_most(rows: int, from_step: int = 0) -> Fits:
    """Return that so many sequences fit, from a step on."""
    return lambda n, config, step: step < from_step or n <= rows


def anything(n: int, config: RunConfig, step: int) -> bool:
    return True


def small_card(
    monkeypatch: pytest.MonkeyPatch, training: Fits, evaluation: Fits = anything
) -> None:
    """Let a pass raise what CUDA raises where the sequences in it do not fit."""
    for task in (ModularTask, CorpusTask):
        _limit(monkeypatch, task, training, evaluation)


def _limit(monkeypatch: pytest.MonkeyPatch, task: Any, training: Fits, evaluation: Fits) -> None:
    built, batch, loss, evaluate = task.__init__, task.batch, task.loss, task.evaluate
    is_pair = task is ModularTask

    def init(self: Any, config: RunConfig) -> None:
        built(self, config)
        self.config, self.step = config, 0

    def at_step(self: Any, step: int) -> Any:
        self.step = step
        return batch(self, step)

    def limited(self: Any, model: Any, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = loss(self, model, inputs, targets)
        if not training(targets.shape[-1 if is_pair else 0], self.config, self.step):
            raise torch.OutOfMemoryError(MESSAGE)
        return found

    def limited_evaluate(self: Any, model: Any, split: str, device: str) -> dict[str, float]:
        def computed(inputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = model(inputs)
            if not evaluation(len(inputs), self.config, self.step):
                raise torch.OutOfMemoryError(MESSAGE)
            return logits

        found: dict[str, float] = evaluate(self, computed, split, device)
        return found

    monkeypatch.setattr(task, "__init__", init)
    monkeypatch.setattr(task, "batch", at_step)
    monkeypatch.setattr(task, "loss", limited)
    monkeypatch.setattr(task, "evaluate", limited_evaluate)

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

    def limited(
        self: Any, model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        rows = targets.shape[-1] if is_pair else targets.shape[0]
        if not training(rows, self.config, self.step):
            raise torch.OutOfMemoryError(MESSAGE)
        found: torch.Tensor = loss(self, model, inputs, targets)
        return found

    def measured(self: Any, model: torch.nn.Module, split: str, device: str) -> Any:
        def reads(inputs: torch.Tensor) -> torch.Tensor:
            if not evaluation(len(inputs), self.config, self.step):
                raise torch.OutOfMemoryError(MESSAGE)
            found: torch.Tensor = model(inputs)
            return found

        return evaluate(self, reads, split, device)

    monkeypatch.setattr(task, "__init__", init)
    monkeypatch.setattr(task, "evaluate", measured)
    monkeypatch.setattr(task, "batch", at_step)
    monkeypatch.setattr(task, "loss", limited)

"""What every task promises. A test of a task inherits the suite and gives one fixture."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from trainer import RunConfig
from trainer.tasks import Task, build_task, data_hash, metrics, tokens_per_step, vocab_size

EVALUATED = {"ModularTask": ("val", "train")}
"""Splits that are judged while a run trains, where it is not the held-out one alone."""


class Told(torch.nn.Module):
    """Says what it was told, whatever it reads."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.answer


class FixedModel(torch.nn.Module):
    """Logits from a table by symbol: enough for a task, and known by heart."""

    def __init__(self, vocab: int, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.table = torch.randn(vocab, vocab, generator=draw)
        self.tokens_read = 0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (…, time) to (…, time, vocab)."""
        self.tokens_read += tokens.numel()
        return self.table[tokens]


def reseeded(config: RunConfig, seed: int, **training: Any) -> RunConfig:
    return RunConfig.model_validate(
        config.model_dump() | {"training": config.training.model_dump() | {"seed": seed} | training}
    )


class TaskContract:
    """Inherit it and give the fixture `config`: a run config of the task, without limits.

    `fixed_model` is what reads the task's inputs here.
    """

    def fixed_model(self, task: Task, seed: int = 0) -> Any:
        """Return a model that is never trained and counts in `tokens_read` what it reads."""
        raise NotImplementedError

    @pytest.fixture
    def task(self, config: RunConfig) -> Task:
        return build_task(config)

    def test_a_batch_is_a_function_of_seed_and_step(self, config: RunConfig, task: Task) -> None:
        steps = [5, 0, 1, 31, 5, 2]
        forward = {step: build_task(config).batch(step) for step in range(32)}
        for step in steps:
            again = task.batch(step)
            assert all(torch.equal(a, b) for a, b in zip(again, forward[step], strict=True))

    def test_a_batch_has_the_rows_it_says(self, task: Task) -> None:
        shapes = {tuple(part.shape for part in task.batch(step)) for step in (0, 1, 17)}
        ((inputs, targets),) = shapes
        assert inputs[0] == targets[0] == task.batch_size

    def test_the_seed_orders_the_data(self, config: RunConfig) -> None:
        batches = [build_task(reseeded(config, seed)).batch(0) for seed in (0, 1)]
        assert not torch.equal(batches[0][0], batches[1][0])

    def test_a_step_sees_other_data_than_the_one_before(
        self, config: RunConfig, task: Task
    ) -> None:
        repeats = torch.equal(task.batch(0)[0], task.batch(1)[0])
        assert repeats == (config.training.batch_size == "full")

    def test_the_loss_is_a_mean_that_micro_batches_add_up_to(self, task: Task) -> None:
        inputs, targets = task.batch(0)
        model = self.fixed_model(task)
        whole = task.loss(model, inputs, targets)
        assert whole.shape == () and whole.dtype == torch.float32 and math.isfinite(whole)
        parts = [
            float(task.loss(model, inputs[i : i + 1], targets[i : i + 1]))
            for i in range(len(inputs))
        ]
        assert sum(parts) / len(parts) == pytest.approx(float(whole), rel=1e-5)

    def test_the_loss_is_fp32_whatever_the_model_answers_in(self, task: Task) -> None:
        inputs, targets = task.batch(0)
        answer = self.fixed_model(task)(inputs)
        half = task.loss(Told(answer.bfloat16()), inputs, targets)
        assert half.dtype == torch.float32
        assert float(half) == pytest.approx(
            float(task.loss(Told(answer), inputs, targets)), rel=1e-2
        )

    def test_an_evaluation_is_repeatable_and_names_its_split(self, task: Task) -> None:
        model = self.fixed_model(task)
        for split in ("train", "val", "test"):
            metrics = task.evaluate(model, split, "cpu")
            assert f"{split}/loss" in metrics and all(map(math.isfinite, metrics.values()))
            assert all(name.startswith((f"{split}/", "calibration/")) for name in metrics)
            assert task.evaluate(model, split, "cpu") == metrics
        assert task.evaluate(self.fixed_model(task, 1), "val", "cpu") != metrics

    def test_an_evaluation_reports_what_a_sweep_can_be_judged_by(
        self, config: RunConfig, task: Task
    ) -> None:
        told = task.evaluate(self.fixed_model(task), "val", "cpu").keys()
        assert {name for name in metrics(config) if not name.startswith("grok/")} == told

    def test_an_evaluation_reads_about_as_much_as_it_says(self, task: Task) -> None:
        model = self.fixed_model(task)
        for split in EVALUATED.get(type(task).__name__, ("val",)):
            task.evaluate(model, split, "cpu")
        assert model.tokens_read == pytest.approx(task.tokens_per_evaluation, rel=0.2)

    def test_an_evaluation_does_not_depend_on_how_a_run_is_batched(
        self, config: RunConfig, task: Task
    ) -> None:
        other = build_task(reseeded(config, config.training.seed, batch_size=1))
        model = self.fixed_model(task)
        for split in ("val", "test"):
            assert other.evaluate(model, split, "cpu") == task.evaluate(model, split, "cpu")

    def test_baselines_are_named_and_finite(self, task: Task) -> None:
        baselines = task.baselines()
        assert baselines and all(name.startswith("baseline/") for name in baselines)
        assert all(map(math.isfinite, baselines.values()))

    def test_what_is_known_without_building_it(self, config: RunConfig, task: Task) -> None:
        assert vocab_size(config) == task.vocab_size
        assert tokens_per_step(config) == task.tokens_per_step
        assert data_hash(config) == data_hash(reseeded(config, 9))
        assert len(data_hash(config)) == 64


class SymbolTaskContract(TaskContract):
    """What every task promises whose inputs and targets are symbols."""

    def fixed_model(self, task: Task, seed: int = 0) -> FixedModel:
        return FixedModel(task.vocab_size, seed)

    def test_batches_have_the_shapes_they_say(self, task: Task) -> None:
        for step in (0, 1, 17):
            inputs, targets = task.batch(step)
            assert inputs.ndim == 2
            assert inputs.dtype == targets.dtype == torch.int64
            assert int(inputs.min()) >= 0 and int(inputs.max()) < task.vocab_size
            assert int(targets.min()) >= 0 and int(targets.max()) < task.vocab_size
            assert task.tokens_per_step == inputs.numel()

    def test_losses_and_accuracies_are_what_they_can_be(self, task: Task) -> None:
        model = FixedModel(task.vocab_size)
        assert float(task.loss(model, *task.batch(0))) > 0
        for split in ("train", "val", "test"):
            metrics = task.evaluate(model, split, "cpu")
            assert metrics[f"{split}/loss"] > 0 and 0 <= metrics[f"{split}/accuracy"] <= 1
        assert all(0 < value < 20 for value in task.baselines().values())

    def test_a_better_model_has_a_lower_loss(self, task: Task) -> None:
        inputs, targets = task.batch(0)
        last = targets.reshape(len(targets), -1)
        right = torch.zeros(*inputs.shape, task.vocab_size)
        right[:, -last.shape[1] :].scatter_(-1, last.unsqueeze(-1), 20.0)
        assert float(task.loss(Told(right), inputs, targets)) < 1e-3
        assert float(task.loss(Told(-right), inputs, targets)) > 10

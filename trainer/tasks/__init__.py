"""What is learned: a `Task` gives batches, a loss and metrics.

A task is one file (or package) and one line in `TASKS`. Read `modular.py` first. Nothing
here imports torch until a task is built, so that plans can hash data without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from trainer.config import RunConfig, TierConfig

    Model = torch.nn.Module

TASKS = {
    "corpus": "trainer.tasks.corpus",
    "modular": "trainer.tasks.modular",
    "ariel": "trainer.tasks.ariel",
}
"""Task name (`data.task`) to the module that defines `METRICS`, `SATURATES`, `data_hash`,
`input_hashes`, `vocab_size`, `tokens_per_step`, `check`, `build`, and `steps_per_epoch` where the
task counts epochs."""


FEWEST_TOKENS = 1_024
"""Tokens that an evaluation reads at once however small the micro-batch: they fit anywhere."""


class Task(Protocol):
    """One member's view of its data. Data order is a function of (seed, step) alone.

    Attributes:
        vocab_size: Number of distinct input symbols, and of logits per position; of spectra, of
            wavelengths.
        batch_size: Effective batch in sequences.
        tokens_per_step: Tokens that one optimizer step learns from.
        tokens_per_evaluation: Tokens that the evaluation every `training.eval_interval` steps reads.
        left_out: What of the data could not be used, in one line; empty where all could.
    """

    vocab_size: int
    batch_size: int
    tokens_per_step: int
    tokens_per_evaluation: int
    left_out: str

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs (batch, …) and targets (batch, …) of optimizer step `step`, from 0."""

    def loss(self, model: Model, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the model's mean loss over a batch, in fp32; a sum over its rows, divided by them.

        Shape () for one model's batch. A task whose models are stacked also takes inputs and targets
        with a member axis in front, and returns (member,).
        """

    def evaluate(self, model: Model, split: str, device: str) -> dict[str, float]:
        """Return the metrics of `split` ("train", "val", "test"); {} where it is empty."""

    def baselines(self) -> dict[str, float]:
        """Return what is reached without a look at the input, by metric name."""


def data_hash(config: RunConfig) -> str:
    """Return the SHA-256 of the data that `config` trains on; its path does not matter.

    Raises:
        InputError: A file is missing or is not what the task reads.
    """
    return str(_module(config).data_hash(config))


def input_hashes(config: RunConfig) -> dict[str, str]:
    """Return the SHA-256 of each input of the data by the setting that names it.

    `data_hash` says that the data are others, this says which part of them.

    Raises:
        InputError: A file is missing or is not what the task reads.
    """
    hashes: dict[str, str] = _module(config).input_hashes(config)
    return hashes


def vocab_size(config: RunConfig) -> int:
    """Return the number of symbols of the task without building it."""
    return int(_module(config).vocab_size(config))


def check_data(config: RunConfig) -> None:
    """Refuse data that could not be trained on, as far as that is known without building the task.

    Raises:
        InputError: What is wrong with it.
    """
    _module(config).check(config)


def tokens_per_step(config: RunConfig) -> int:
    """Return the tokens that one optimizer step learns from, without building the task."""
    return int(_module(config).tokens_per_step(config))


def steps_per_epoch(config: RunConfig) -> int:
    """Return the optimizer steps in which all views of the training planets are seen once.

    Args:
        config: Of a task that counts epochs: ariel.

    Raises:
        InputError: The data cannot be read.
    """
    return int(_module(config).steps_per_epoch(config))


def metrics(config: RunConfig) -> tuple[str, ...]:
    """Return the names that the task's evaluations report."""
    names: tuple[str, ...] = _module(config).METRICS
    return names


def saturates(config: RunConfig) -> bool:
    """Return whether accuracy can reach 1, so that memorised and generalised are judged by it.

    Then each evaluation also reads the train split.
    """
    found: bool = _module(config).SATURATES
    return found


def build_task(config: RunConfig) -> Task:
    """Build the task of `config`; data shared by several members is loaded once a process."""
    task: Task = _module(config).build(config)
    return task


def evaluation_rows(tier: TierConfig, row_tokens: int, most: int) -> int:
    """Return the sequences that an evaluation reads at once: what a step fits in, it fits in.

    Args:
        tier: Its micro-batch is kept to, where it has one.
        row_tokens: Tokens of a sequence.
        most: Sequences that are read at once where memory is no matter, from 1.
    """
    if tier.micro_batch is None:
        return most
    return min(most, max(tier.micro_batch, FEWEST_TOKENS // row_tokens))


def _module(config: RunConfig) -> Any:
    return importlib.import_module(TASKS[config.data.task])

"""Modular arithmetic: learn a table of a ∘ b (mod p) from a share of its entries.

The pairs are shuffled once by the seed: `train_frac` of them are trained on, the rest is
halved into validation and test. Set-ups: Power et al. 2022 (arXiv 2201.02177), Nanda et
al. 2023 (arXiv 2301.05217), Gromov 2023 (arXiv 2301.02679).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trainer import grokking
from trainer.config import ModularData, RunConfig
from trainer.errors import InputError
from trainer.identity import fingerprint
from trainer.seeds import Stream, generator
from trainer.tasks import evaluation_rows

if TYPE_CHECKING:
    import numpy as np
    import torch

MOST_PAIRS = 4_096
"""Pairs that an evaluation reads at once, where the tier asks for no less."""

METRICS = ("val/loss", "val/accuracy", *grokking.METRICS)
"""What an evaluation reports, and a sweep can be judged by."""
SATURATES = True


def data_hash(config: RunConfig) -> str:
    """Return a constant: the table follows from the settings."""
    return fingerprint("modular")


def input_hashes(config: RunConfig) -> dict[str, str]:
    """Return nothing: the table is read from nowhere."""
    return {}


def vocab_size(config: RunConfig) -> int:
    """Return p numbers and the sign "="."""
    assert isinstance(config.data, ModularData)
    return config.data.p + 1


def tokens_per_step(config: RunConfig) -> int:
    """Return three a pair; a batch is at most the pairs that are trained on."""
    data, batch = config.data, config.training.batch_size
    assert isinstance(data, ModularData)
    n_train = round(data.train_frac * _pairs(data))
    return 3 * (n_train if batch == "full" else min(int(batch), n_train))


def check(config: RunConfig) -> None:
    """Refuse a share that leaves no pair to train on, or none to judge by.

    Raises:
        InputError: It does.
    """
    data = config.data
    assert isinstance(data, ModularData)
    pairs = _pairs(data)
    n_train = round(data.train_frac * pairs)
    if not 1 <= n_train < pairs:
        raise InputError(
            f"data.train_frac: {data.train_frac:g} of {pairs} pairs leaves {n_train} to train on"
            f" and {pairs - n_train} held out, expected at least 1 of each"
        )


def _pairs(data: ModularData) -> int:
    return data.p * (data.p - (data.operation == "divide"))


def build(config: RunConfig) -> ModularTask:
    """Build the task."""
    return ModularTask(config)


def table(operation: str, p: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (n, 2) and their results (n,), in row order of (a, b)."""
    import numpy as np

    a, b = (grid.reshape(-1) for grid in np.meshgrid(np.arange(p), np.arange(p), indexing="ij"))
    if operation == "divide":
        a, b = a[b != 0], b[b != 0]
        inverse = np.array([0] + [pow(int(x), -1, p) for x in range(1, p)])
        result = a * inverse[b] % p
    elif operation == "add":
        result = (a + b) % p
    elif operation == "subtract":
        result = (a - b) % p
    elif operation == "multiply":
        result = a * b % p
    else:
        result = (a * a + a * b + b * b) % p
    return np.stack([a, b], axis=1), result


class ModularTask:
    """The task as one member sees it; inputs are (a, b, "="), the target is the result."""

    left_out = ""

    def __init__(self, config: RunConfig) -> None:
        import numpy as np
        import torch

        assert isinstance(config.data, ModularData)
        self.seed = config.training.seed
        self.vocab_size = vocab_size(config)
        pairs, results = table(config.data.operation, config.data.p)
        order = generator(self.seed, Stream.SPLIT).permutation(len(pairs))
        check(config)
        n_train = round(config.data.train_frac * len(pairs))
        n_val = (len(pairs) - n_train + 1) // 2
        signs = np.full((len(pairs), 1), config.data.p)
        inputs = torch.from_numpy(np.concatenate([pairs, signs], axis=1)[order])  # (n, 3)
        targets = torch.from_numpy(results[order])  # (n,)
        self.splits = {
            "train": (inputs[:n_train], targets[:n_train]),
            "val": (inputs[n_train : n_train + n_val], targets[n_train : n_train + n_val]),
            "test": (inputs[n_train + n_val :], targets[n_train + n_val :]),
        }
        self.n_train = n_train
        self.rows_at_once = evaluation_rows(config.tier, 3, MOST_PAIRS)
        batch_size = config.training.batch_size
        self.batch_size = n_train if batch_size == "full" else min(int(batch_size), n_train)
        self.tokens_per_step = self.batch_size * 3
        self.tokens_per_evaluation = (n_train + n_val) * 3  # memorised is judged on the train split

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (batch, 3) inputs and (batch,) targets; each epoch has its own permutation."""
        inputs, targets = self.splits["train"]
        if self.batch_size == self.n_train:
            return inputs, targets
        per_epoch = self.n_train // self.batch_size
        epoch, index = divmod(step, per_epoch)
        order = generator(self.seed, Stream.ORDER, epoch).permutation(self.n_train)
        rows = order[index * self.batch_size : (index + 1) * self.batch_size]
        return inputs[rows], targets[rows]

    def loss(
        self, model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean cross-entropy at the last position, in nats: () or (member,)."""
        return self._cross_entropy(model(inputs), targets)

    def _cross_entropy(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F

        answers = logits[..., -1, :].float()
        if targets.ndim == 1:
            return F.cross_entropy(answers, targets)
        each = F.cross_entropy(answers.flatten(0, 1), targets.flatten(), reduction="none")
        return each.view_as(targets).mean(-1)

    def evaluate(self, model: torch.nn.Module, split: str, device: str) -> dict[str, float]:
        """Return loss (nats) and accuracy over the whole split."""
        inputs, targets = self.splits[split]
        if not len(targets):
            return {}
        loss, correct, rows = 0.0, 0, self.rows_at_once
        for start in range(0, len(targets), rows):
            answer = targets[start : start + rows].to(device)
            logits = model(inputs[start : start + rows].to(device))
            loss += float(self._cross_entropy(logits, answer)) * len(answer)
            correct += int((logits[..., -1, :].argmax(-1) == answer).sum())
        return {
            f"{split}/loss": loss / len(targets),
            f"{split}/accuracy": correct / len(targets),
        }

    def baselines(self) -> dict[str, float]:
        """Return the loss of guessing each of the p results alike."""
        return {"baseline/uniform_loss": math.log(self.vocab_size - 1)}

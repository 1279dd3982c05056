"""The corpus task as one member sees it: random windows to train on, fixed ones to judge by."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from trainer.config import CorpusData, RunConfig
from trainer.seeds import Stream, generator
from trainer.tasks import corpus, evaluation_rows
from trainer.tasks.corpus import tokens as token_cache

MOST_TOKENS = 16_384
"""Tokens that an evaluation reads at once, where the tier asks for no less."""


class CorpusTask:
    """Windows of `seq_len` tokens and, as targets, the tokens that follow each."""

    left_out = ""

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.data, CorpusData) and isinstance(config.training.batch_size, int)
        tokens = token_cache.load(config, corpus.data_hash(config))
        self.splits, self.byte_lengths, self.symbols = (
            tokens.splits,
            tokens.byte_lengths,
            tokens.symbols,
        )
        self.vocab_size = max(corpus.vocab_size(config), tokens.symbols)
        self.seed = config.training.seed
        self.seq_len = config.seq_len
        self.batch_size = config.training.batch_size
        self.tokens_per_step = self.batch_size * self.seq_len
        self.eval_tokens = config.training.eval_tokens
        self.rows_at_once = evaluation_rows(
            config.tier, self.seq_len, max(1, MOST_TOKENS // self.seq_len)
        )
        held_out = len(self.splits["val"])
        self.tokens_per_evaluation = min(self.eval_tokens or held_out, held_out)
        for name in ("train", "val"):
            corpus.refuse_short(config, name, len(self.splits[name]))

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and targets, both (batch, seq_len): windows at random positions."""
        train = self.splits["train"]
        starts = generator(self.seed, Stream.ORDER, step).integers(
            0, len(train) - self.seq_len, size=self.batch_size
        )
        return self._windows(train, starts)

    def loss(
        self, model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean cross-entropy over all positions, in nats a token."""
        return _cross_entropy(model(inputs), targets)

    def evaluate(self, model: torch.nn.Module, split: str, device: str) -> dict[str, float]:
        """Return loss, perplexity, bits per byte and accuracy over windows spread evenly.

        The windows do not overlap and are the same at each call; `training.eval_tokens`
        bounds how many are read.
        """
        data = self.splits[split]
        starts = np.arange(0, len(data) - self.seq_len, self.seq_len)
        if not len(starts):
            return {}
        if self.eval_tokens is not None:
            wanted = max(1, self.eval_tokens // self.seq_len)
            if wanted < len(starts):
                starts = starts[np.linspace(0, len(starts) - 1, wanted).round().astype(int)]
        nats, correct, count, n_bytes = 0.0, 0, 0, 0
        rows = self.rows_at_once
        for first in range(0, len(starts), rows):
            inputs, targets = self._windows(data, starts[first : first + rows])
            logits = model(inputs.to(device))
            answer = targets.to(device)
            nats += float(_cross_entropy(logits, answer)) * targets.numel()
            correct += int((logits.argmax(-1) == answer).sum())
            count += targets.numel()
            n_bytes += int(self.byte_lengths[targets.numpy()].sum())
        loss = nats / count
        return {
            f"{split}/loss": loss,
            f"{split}/perplexity": math.exp(min(loss, 700.0)),
            f"{split}/bits_per_byte": nats / math.log(2) / n_bytes,
            f"{split}/accuracy": correct / count,
        }

    def baselines(self) -> dict[str, float]:
        """Return the validation loss of the train split's token frequencies (add-one), in nats."""
        counts = np.bincount(self.splits["train"], minlength=self.symbols) + 1
        nats = -np.log(counts / counts.sum())
        return {"baseline/unigram_loss": float(nats[self.splits["val"]].mean())}

    def _windows(self, data: np.ndarray, starts: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        windows = data[starts[:, None] + np.arange(self.seq_len + 1)].astype(np.int64)
        both = torch.from_numpy(windows)  # (batch, seq_len + 1)
        return both[:, :-1], both[:, 1:]


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.float().flatten(0, -2), targets.flatten())

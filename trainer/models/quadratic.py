"""The quadratic MLP: two embeddings summed, squared, read out.

Gromov 2023 (arXiv 2301.02679) shows that it solves modular addition in closed form; it groks
in seconds, which makes it the smallest honest test of a grokking set-up.
"""

from __future__ import annotations

import torch
from torch import nn

from trainer.config import QuadraticMLPConfig
from trainer.models.layers import Embedding, Linear


class QuadraticMLP(nn.Module):
    """(a, b, "=") to logits over the results."""

    def __init__(self, config: QuadraticMLPConfig, vocab_size: int, draw: torch.Generator) -> None:
        super().__init__()
        p = vocab_size - 1  # the sign "=" is no number
        self.left = Embedding(p, config.dim, p**-0.5, draw)
        self.right = Embedding(p, config.dim, p**-0.5, draw)
        self.readout = Linear(config.dim, p, config.dim**-0.5, draw)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (…, 3) to logits (…, 1, p)."""
        hidden = (self.left(tokens[..., 0]) + self.right(tokens[..., 1])) ** 2
        return self.readout(hidden).unsqueeze(-2)  # type: ignore[no-any-return]

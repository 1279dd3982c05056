"""A causal transformer: deep and narrow, wide and shallow, or one layer for grokking.

Residual arrangements:
    rmsnorm, layernorm  x + f(norm(x)), a last norm before the read-out; output matrices are
                        drawn with std 0.02 / sqrt(2 layers) (GPT-2)
    postnorm            norm(x + f(x)), every matrix of a block Xavier (Vaswani et al. 2017)
    deepnorm            norm(alpha x + f(x)), alpha = (2 layers)^1/4; value, output and the
                        feed-forward matrices are Xavier times (8 layers)^-1/4 (DeepNet,
                        arXiv 2203.00555, decoder only)
    none                x + f(x) (Nanda et al. 2023)
"""

from __future__ import annotations

import contextlib
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import sdpa_kernel

from trainer.computation import KERNELS
from trainer.config import DecoderConfig, TierConfig
from trainer.models.layers import Embedding, FeedForward, LayerNorm, Linear, RMSNorm, Rotary
from trainer.models.recompute import recomputed

POST = ("postnorm", "deepnorm")
"""Arrangements that normalise after a block, and so need no last norm."""


class Attention(nn.Module):
    """Multi-head causal self-attention."""

    def __init__(
        self,
        config: DecoderConfig,
        kernel: str,
        stds: tuple[float, float, float],
        rotary: Rotary | None,
        draw: torch.Generator,
    ) -> None:
        super().__init__()
        qk_std, v_std, out_std = stds
        self.heads, self.kernel, self.rotary = config.n_heads, kernel, rotary
        self.dropout = config.dropout
        self.query = Linear(config.dim, config.dim, qk_std, draw)
        self.key = Linear(config.dim, config.dim, qk_std, draw)
        self.value = Linear(config.dim, config.dim, v_std, draw)
        self.out = Linear(config.dim, config.dim, out_std, draw)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, time, dim) to (…, time, dim)."""
        q, k, v = (self._split(project(x)) for project in (self.query, self.key, self.value))
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        dropout = self.dropout if self.training else 0.0
        with (
            sdpa_kernel(KERNELS[self.kernel]) if self.kernel != "auto" else contextlib.nullcontext()
        ):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        return self.out(y.transpose(-3, -2).flatten(-2))  # type: ignore[no-any-return]

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """(…, time, dim) → (…, heads, time, head_dim)."""
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-3, -2)


class Block(nn.Module):
    """Attention and feed-forward, with the residual arrangement of `norm_type`."""

    def __init__(
        self, config: DecoderConfig, tier: TierConfig, rotary: Rotary | None, draw: torch.Generator
    ) -> None:
        super().__init__()
        dim, inner, layers = config.dim, config.inner_dim, config.n_layers
        self.post = config.norm_type in POST
        deepnorm = config.norm_type == "deepnorm"
        if self.post:
            beta = (8 * layers) ** -0.25 if deepnorm else 1.0
            square = math.sqrt(1 / dim)  # Xavier: sqrt(2 / (dim + dim))
            wide = beta * math.sqrt(2 / (dim + inner))
            stds, ffn_stds = (square, beta * square, beta * square), (wide, wide)
        else:
            out_std = 0.02 / math.sqrt(2 * layers)
            stds, ffn_stds = (0.02, 0.02, out_std), (0.02, out_std)
        self.alpha = (2 * layers) ** 0.25 if deepnorm else 1.0
        self.attention = Attention(config, tier.attention, stds, rotary, draw)
        self.ffn = FeedForward(config.ffn, dim, inner, *ffn_stds, draw)
        self.norm1, self.norm2 = make_norm(config), make_norm(config)
        self.dropout = config.dropout
        self.recomputation = tier.activation_checkpointing

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, time, dim) to (…, time, dim)."""
        if self.training and self.recomputation != "off":
            return recomputed(self._computed, x, self.recomputation, random=self.dropout > 0)
        return self._computed(x)

    def _computed(self, x: torch.Tensor) -> torch.Tensor:
        if self.post:
            x = self.norm1(self.alpha * x + self._drop(self.attention(x)))
            return self.norm2(self.alpha * x + self._drop(self.ffn(x)))  # type: ignore[no-any-return]
        x = x + self._drop(self.attention(self.norm1(x)))
        return x + self._drop(self.ffn(self.norm2(x)))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Decoder(nn.Module):
    """Tokens to logits."""

    def __init__(
        self,
        config: DecoderConfig,
        tier: TierConfig,
        vocab_size: int,
        seq_len: int,
        draw: torch.Generator,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(vocab_size, config.dim, 0.02, draw)
        rotary = None
        self.positions: Embedding | None = None
        if config.position == "rope":
            rotary = Rotary(config.dim // config.n_heads, seq_len, config.rope_theta)
        else:
            self.positions = Embedding(seq_len, config.dim, 0.02, draw)
        self.blocks = nn.ModuleList(
            Block(config, tier, rotary, draw) for _ in range(config.n_layers)
        )
        self.norm = nn.Identity() if config.norm_type in POST else make_norm(config)
        self.readout = None if config.tie_embeddings else Linear(config.dim, vocab_size, 0.02, draw)
        self.dropout = config.dropout

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (…, time) to logits (…, time, vocab)."""
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[: tokens.shape[-1]]
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        weight = self.embedding.weight if self.readout is None else self.readout.weight
        return F.linear(self.norm(x), weight)


def make_norm(config: DecoderConfig) -> nn.Module:
    """Return the normalisation of `norm_type` over `dim`."""
    if config.norm_type == "none":
        return nn.Identity()
    return RMSNorm(config.dim) if config.norm_type == "rmsnorm" else LayerNorm(config.dim)

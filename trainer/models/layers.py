"""The layers that models are made of, all rank-agnostic.

Shapes are written from the right: (…, time, dim). Each layer draws its own weights from the
generator it is given; nothing depends on torch's global one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Linear(nn.Module):
    """y = x Wᵀ, with weight (out, in) drawn from N(0, std²)."""

    def __init__(self, n_in: int, n_out: int, std: float, draw: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in).normal_(0.0, std, generator=draw))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, in) to (…, out)."""
        return F.linear(x, self.weight)


class Embedding(nn.Module):
    """A table (symbols, dim) drawn from N(0, std²)."""

    def __init__(self, symbols: int, dim: int, std: float, draw: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(symbols, dim).normal_(0.0, std, generator=draw))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map integers (…) to (…, dim)."""
        return F.embedding(tokens, self.weight)


class RMSNorm(nn.Module):
    """x / rms(x) · gain over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (…, dim)."""
        return F.rms_norm(x, (x.shape[-1],), self.weight, 1e-6)


class LayerNorm(nn.Module):
    """(x − mean) / std · gain over the last axis, without a bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (…, dim)."""
        return F.layer_norm(x, (x.shape[-1],), self.weight, None, 1e-5)


class Rotary(nn.Module):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864), halves as in GPT-NeoX."""

    def __init__(self, head_dim: int, seq_len: int, theta: float) -> None:
        super().__init__()
        frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angle = torch.outer(torch.arange(seq_len, dtype=torch.float64), frequency)
        angle = torch.cat([angle, angle], dim=-1)  # (time, head_dim)
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rotate (…, time, head_dim) by position."""
        time, half = x.shape[-2], x.shape[-1] // 2
        cos, sin = self.cos[:time].to(x.dtype), self.sin[:time].to(x.dtype)  # type: ignore[index]
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


class FeedForward(nn.Module):
    """dim → inner → dim; SwiGLU is down(silu(gate x) · up x) (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(
        self, kind: str, dim: int, inner: int, std: float, out_std: float, draw: torch.Generator
    ) -> None:
        super().__init__()
        self.kind = kind
        if kind == "swiglu":
            self.gate = Linear(dim, inner, std, draw)
        self.up = Linear(dim, inner, std, draw)
        self.down = Linear(inner, dim, out_std, draw)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, dim) to (…, dim)."""
        if self.kind == "swiglu":
            return self.down(F.silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]
        activation = F.gelu if self.kind == "gelu" else F.relu
        return self.down(activation(self.up(x)))  # type: ignore[no-any-return]

"""Many models of one shape as one: each layer holds the weights of all, side by side.

A model is stacked by swapping its layers; its `forward`, which indexes from the right, then maps
(member, batch, …) as it maps (batch, …) alone. A layer can be swapped once it is in `STACKED`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.layers import Embedding, Linear


class StackedLinear(nn.Module):
    """y = x Wᵀ for each member, with weight (member, out, in)."""

    def __init__(self, layers: Sequence[Linear]) -> None:
        super().__init__()
        self.weight = _side_by_side([layer.weight for layer in layers])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (member, …, in) to (member, …, out)."""
        y = torch.bmm(x.flatten(1, -2), self.weight.transpose(-1, -2))
        return y.view(*x.shape[:-1], -1)


class StackedEmbedding(nn.Module):
    """A table for each member: weight (member, symbols, dim)."""

    def __init__(self, layers: Sequence[Embedding]) -> None:
        super().__init__()
        self.weight = _side_by_side([layer.weight for layer in layers])
        members, symbols, _ = self.weight.shape
        first = torch.arange(members, device=self.weight.device) * symbols
        self.register_buffer("first", first, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map integers (member, …) to (member, …, dim)."""
        rows = tokens + self.first.view(-1, *[1] * (tokens.ndim - 1))  # type: ignore[operator]
        return F.embedding(rows, self.weight.flatten(0, 1))


STACKED = {Linear: StackedLinear, Embedding: StackedEmbedding}
"""Layer to the layer that holds many of it."""


def stack(models: Sequence[nn.Module]) -> nn.Module:
    """Return one model that computes what each of `models` would.

    Args:
        models: At least one, all built from the same config; they stay as they are.

    Returns:
        A module with the parameter names of one model and a member axis in front of each shape.

    Raises:
        TypeError: A layer with parameters of its own cannot be stacked.
    """
    first = models[0]
    if type(first) in STACKED:
        layer: nn.Module = STACKED[type(first)](models)
        return layer
    if first._parameters or first._buffers:
        known = ", ".join(kind.__name__ for kind in STACKED)
        raise TypeError(f"cannot stack {type(first).__name__}: it is none of {known}")
    twin = copy.copy(first)
    twin._modules = {
        name: stack([model.get_submodule(name) for model in models]) for name in first._modules
    }
    return twin


def _side_by_side(weights: Sequence[torch.Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.stack([weight.detach() for weight in weights]))

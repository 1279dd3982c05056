"""What passes through the blocks of a decoder: the residual stream and the feed-forward units.

Read with hooks on the model as it is, over held-out sequences.

    residual_rms        root mean square of the block's output
    update_ratio        rms(output − input) / rms(input): how much the block changes the stream
    effective_rank      (tr C)² / tr C² of the covariance C of the outputs: the directions that are
                        used, from 1 to dim (participation ratio)
    anisotropy          mean cosine between two outputs at different positions, from −1 to 1
    ffn_active_frac     share of (position, unit) whose activation's input is above 0
    ffn_dead_frac       share of units that are off at every position read
    ffn_saturated_frac  share of units that are linear at every position read

A unit is off where its activation function is 0, and linear where it is the identity, within
0.01: below and above 0 for ReLU, ∓2.7 for GELU, ∓6.5 for the SiLU of SwiGLU.
"""

from __future__ import annotations

from typing import Any

import torch

from trainer.config import DecoderConfig
from trainer.evaluation.result import NotApplicableError
from trainer.evaluation.subject import Subject
from trainer.models.decoder import Decoder

KINK = {"relu": 0.0, "gelu": 2.7, "swiglu": 6.5}
"""Distance from 0 beyond which an activation function is 0 or the identity."""


def measure(subject: Subject) -> dict[str, Any]:
    """Return the statistics of each block, the first one first.

    Raises:
        NotApplicableError: The model has no blocks.
    """
    model = decoder_of(subject)
    layers = [_Layer(subject.config.model.ffn) for _ in model.blocks]  # type: ignore[union-attr]
    handles = []
    for layer, block in zip(layers, model.blocks, strict=True):
        ffn: Any = block.ffn
        handles.append(block.register_forward_hook(layer.take_block))
        unit = ffn.gate if ffn.kind == "swiglu" else ffn.up
        handles.append(unit.register_forward_hook(layer.take_units))
    windows = subject.held_out(subject.config.evaluation.windows)
    rows = max(1, 4096 // windows.shape[1])
    try:
        with torch.inference_mode():
            for first in range(0, len(windows), rows):
                subject.logits(windows[first : first + rows])
    finally:
        for handle in handles:
            handle.remove()
    return {"positions": windows.numel(), "layers": [layer.values() for layer in layers]}


def decoder_of(subject: Subject) -> Decoder:
    """Return the model where it is made of blocks.

    Raises:
        NotApplicableError: It is not.
    """
    if not isinstance(subject.model, Decoder):
        kind = subject.config.model.kind
        raise NotApplicableError(f"model {kind} has neither blocks nor attention")
    assert isinstance(subject.config.model, DecoderConfig)
    return subject.model


class _Layer:
    """Sums over the positions that one block has seen, in float64."""

    def __init__(self, ffn: str) -> None:
        self.kink = KINK[ffn]
        self.count = 0
        self.squares_in = self.squares_out = self.squares_change = 0.0
        self.sum: torch.Tensor | None = None  # (dim,)
        self.products: torch.Tensor | None = None  # (dim, dim)
        self.directions: torch.Tensor | None = None  # (dim,), of unit length each
        self.active, self.units = 0.0, 0
        self.lowest: torch.Tensor | None = None  # (inner,)
        self.highest: torch.Tensor | None = None

    def take_block(self, block: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        """Take the input and the output (…, time, dim) of the block."""
        before, after = inputs[0].flatten(0, -2).double(), output.flatten(0, -2).double()
        self.count += len(after)
        self.squares_in += float(before.square().sum())
        self.squares_out += float(after.square().sum())
        self.squares_change += float((after - before).square().sum())
        norms = after.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        self.sum = _added(self.sum, after.sum(0))
        self.products = _added(self.products, after.T @ after)
        self.directions = _added(self.directions, (after / norms).sum(0))

    def take_units(self, layer: Any, inputs: Any, output: torch.Tensor) -> None:
        """Take the inputs (…, time, inner) of the activation function."""
        units = output.flatten(0, -2)
        self.active += float((units > 0).sum())
        self.units += units.numel()
        low, high = units.amin(0), units.amax(0)
        self.lowest = low if self.lowest is None else torch.minimum(self.lowest, low)
        self.highest = high if self.highest is None else torch.maximum(self.highest, high)

    def values(self) -> dict[str, float]:
        """Return the statistics over all that was taken."""
        assert self.sum is not None and self.products is not None
        assert self.directions is not None
        assert self.lowest is not None and self.highest is not None
        n = self.count
        mean = self.sum / n
        covariance = self.products / n - torch.outer(mean, mean)
        spread = float(covariance.square().sum())
        cosines = float(self.directions.square().sum()) - n  # without each one with itself
        return {
            "residual_rms": (self.squares_out / n / len(mean)) ** 0.5,
            "update_ratio": (self.squares_change / max(self.squares_in, 1e-300)) ** 0.5,
            "effective_rank": float(covariance.trace()) ** 2 / spread if spread else 0.0,
            "anisotropy": cosines / (n * (n - 1)) if n > 1 else 1.0,
            "ffn_active_frac": self.active / self.units,
            "ffn_dead_frac": float((self.highest <= -self.kink).double().mean()),
            "ffn_saturated_frac": float((self.lowest > self.kink).double().mean()),
        }


def _added(total: torch.Tensor | None, more: torch.Tensor) -> torch.Tensor:
    return more if total is None else total + more

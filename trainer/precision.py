"""In which numbers a step is computed: fp32 or TF32, bf16 autocast, or fp16 with a loss scaler.

Weights, optimizer state, logits of the loss and the loss itself stay fp32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch

from trainer.config import TierConfig


def autocast(tier: TierConfig) -> AbstractContextManager[object]:
    """Return the context of a forward pass."""
    if tier.precision == "fp32":
        return contextlib.nullcontext()
    kind = torch.bfloat16 if tier.precision == "bf16" else torch.float16
    return torch.autocast(tier.device, dtype=kind)


def loss_scaler(tier: TierConfig) -> torch.amp.GradScaler:
    """Return the dynamic loss scaler of fp16; a pass-through for the others."""
    return torch.amp.GradScaler(tier.device, enabled=tier.precision == "fp16")


@contextlib.contextmanager
def products(tier: TierConfig) -> Iterator[None]:
    """Do the fp32 matrix products inside as `tier.tf32` says, and afterwards as before.

    The switch is one of the process, and the members of a cohort take turns in it.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if tier.tf32 else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before

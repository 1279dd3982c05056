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

    The switch is one of the process, and the members of a cohort take turns in it. It is the old one
    of two that torch has: after the new one, torch's compiler cannot read the old one any more.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.allow_tf32 = tier.tf32
    try:
        yield
    finally:
        matmul.allow_tf32 = before == "tf32"
        matmul.fp32_precision = before

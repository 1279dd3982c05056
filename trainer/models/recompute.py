"""Activations that are computed again in the backward pass instead of being kept.

`full` keeps the input of a block (Chen et al. 2016, arXiv 1604.06174): about a third more work.
`selective` also keeps what is dear to compute, the results of matrix products and of attention, and
does the cheap rest again (Korthikanti et al. 2022, arXiv 2205.05198). Both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

aten = torch.ops.aten
KEPT = frozenset(
    {
        aten.mm.default,
        aten.addmm.default,
        aten.bmm.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_cudnn_attention.default,
    }
)
"""Operations whose results `selective` keeps."""


def _keep_dear(_context: object, operation: object, *_args: object, **_named: object) -> object:
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE


def recomputed(
    compute: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, how: str, *, random: bool
) -> torch.Tensor:
    """Return `compute(x)`, most of what lies between being computed again when it is needed.

    Args:
        compute: A part of a model.
        x: Its input, which is kept.
        how: `full` or `selective`.
        random: Whether it draws random numbers: then the generators' states are kept too.
    """
    again = partial(checkpoint, compute, x, use_reentrant=False, preserve_rng_state=random)
    if how == "full":
        return again()  # type: ignore[no-any-return]
    contexts = partial(create_selective_checkpoint_contexts, _keep_dear)  # here: dynamo reads it
    return again(context_fn=contexts)  # type: ignore[no-any-return]

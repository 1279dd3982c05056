"""The optimizer: AdamW with decay on matrices only, and its state by parameter name."""

from __future__ import annotations

import torch
from torch import nn

from trainer.config import TrainingConfig


def build_optimizer(model: nn.Module, training: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019); norms and other vectors are not decayed."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        eps=training.eps,
        fused=True,
    )


def export_state(model: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, torch.Tensor]:
    """Return the moments as `exp_avg.<parameter>`, `exp_avg_sq.<parameter>`, `step.<parameter>`."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value
    return tensors


def restore_state(
    model: nn.Module, optimizer: torch.optim.AdamW, tensors: dict[str, torch.Tensor]
) -> None:
    """Put back what `export_state` returned; an empty dict is a fresh optimizer."""
    for name, parameter in model.named_parameters():
        state = {
            key: tensors[f"{key}.{name}"].to(parameter.device)
            for key in ("exp_avg", "exp_avg_sq", "step")
            if f"{key}.{name}" in tensors
        }
        if state:
            optimizer.state[parameter] = state

"""The optimizer: AdamW with decay on matrices only, and its state by parameter name.

A small model's step is mostly what Python does around torch's kernels. `clip` and `update` call
the kernels of `clip_grad_norm_` and of the fused `AdamW.step` themselves, which leaves out hooks
and checks and is the same arithmetic: `tests/test_trainer_optim.py` holds them to torch's own, bit
for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def clip(parameters: Sequence[nn.Parameter], largest: float) -> torch.Tensor:
    """Scale the gradients so that their global L2 norm is at most `largest`; return it as it was.

    Args:
        parameters: On one device, of one dtype; those without a gradient do not count.
        largest: Above 0; infinity changes nothing.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    norm: torch.Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads, 2.0)), 2.0)
    torch._foreach_mul_(grads, torch.clamp(largest / (norm + 1e-6), max=1.0))
    return norm


@torch.no_grad()
def update(optimizer: torch.optim.AdamW, rate: float) -> None:
    """Do one step of an optimizer of `build_optimizer` at a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    groups = [
        (group, [p for p in group["params"] if p.grad is not None])
        for group in optimizer.param_groups
    ]
    if not all(optimizer.state.get(p) for _, parameters in groups for p in parameters):
        optimizer.step()  # torch makes the moments of a parameter at its first gradient
        return
    for group, parameters in groups:
        states = [optimizer.state[p] for p in parameters]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            parameters,
            [p.grad for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=rate,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
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

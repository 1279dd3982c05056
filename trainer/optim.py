"""The optimizer: AdamW with decay on matrices only, and its state by parameter name.

The arithmetic is torch's fused kernel. What `torch.optim` puts around it costs a small model more
than the kernel does, a step at a time, and a second for every process that imports its compiler;
`tests/test_trainer_optim.py` holds `AdamW` and `clip` to torch's own, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from trainer.config import TrainingConfig

STATE = ("exp_avg", "exp_avg_sq", "step")


class AdamW:
    """AdamW (Loshchilov & Hutter 2019) as `torch.optim.AdamW(…, fused=True)` computes it.

    Args:
        groups: Parameters of one device with their weight decay.
        training: Betas, epsilon, and the learning rate until `param_groups` says another.

    Attributes:
        midway: True from the moment a step changes anything until the caller, done with what
            belongs to it, says False: what is held then is no state of the run.
    """

    def __init__(
        self, groups: Sequence[tuple[list[nn.Parameter], float]], training: TrainingConfig
    ) -> None:
        self.betas, self.eps = (training.beta1, training.beta2), training.eps
        self.rate = training.learning_rate
        self.param_groups: list[dict[str, Any]] = [
            {"params": parameters, "weight_decay": decay} for parameters, decay in groups
        ]
        self.state: dict[nn.Parameter, dict[str, torch.Tensor]] = {}
        self.midway = False

    @torch.no_grad()
    def step(self) -> bool:
        """Do one step at `rate` and say so; a parameter without a gradient stays as it is.

        All moments are allocated before anything changes: memory can run out only then. A loss
        scaler that leaves the step out returns None in its place.
        """
        work = []
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            states = [self.state.get(p) or self._begin(p) for p in parameters]
            if parameters:
                work.append((group, parameters, states))
        self.midway = True
        for group, parameters, states in work:
            steps = [state["step"] for state in states]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                parameters,
                [p.grad for p in parameters],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=self.rate,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=group["weight_decay"],
                eps=self.eps,
                amsgrad=False,
                maximize=False,
            )
        return True

    def begin(self) -> None:
        """Make the moments of the parameters that have a gradient, before a step needs them."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not self.state.get(parameter):
                    self._begin(parameter)

    def _begin(self, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
        state = {
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
            "step": torch.zeros((), device=parameter.device),
        }
        self.state[parameter] = state
        return state


def build_optimizer(model: nn.Module, training: TrainingConfig) -> AdamW:
    """Return the optimizer of a model; norms and other vectors are not decayed."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return AdamW([(matrices, training.weight_decay), (vectors, 0.0)], training)


def clip(
    parameters: Sequence[nn.Parameter],
    largest: float,
    sum_over_ranks: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Scale the gradients so that their global L2 norm is at most `largest`; return it as it was.

    Args:
        parameters: On one device, of one dtype; those without a gradient do not count.
        largest: Above 0; infinity changes nothing.
        sum_over_ranks: Adds up over the processes that hold the other parts of the gradients.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    norm: torch.Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads, 2.0)), 2.0)
    if sum_over_ranks is not None:
        norm = sum_over_ranks(norm.square()).sqrt()
    torch._foreach_mul_(grads, torch.clamp(largest / (norm + 1e-6), max=1.0))
    return norm


def export_state(model: nn.Module, optimizer: AdamW) -> dict[str, torch.Tensor]:
    """Return the moments as `exp_avg.<parameter>`, `exp_avg_sq.<parameter>`, `step.<parameter>`."""
    return {
        f"{key}.{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_state(model: nn.Module, optimizer: AdamW, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what `export_state` returned; an empty dict is a fresh optimizer."""
    for name, parameter in model.named_parameters():
        state = {
            key: tensors[f"{key}.{name}"].to(parameter.device)
            for key in STATE
            if f"{key}.{name}" in tensors
        }
        if state:
            optimizer.state[parameter] = state

"""The short way of a step is torch's own, bit for bit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests import trainer_help as help
from trainer.config import TrainingConfig
from trainer.models import build_model
from trainer.optim import build_optimizer, clip
from trainer.tasks import build_task

DECODER = {"kind": "decoder", "dim": 8, "n_layers": 2, "n_heads": 2, "norm_type": "layernorm"}


def of_torch(model: torch.nn.Module, training: TrainingConfig) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        eps=training.eps,
        weight_decay=training.weight_decay,
        fused=True,
    )


def test_what_a_step_needs_is_allocated_before_it_changes_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = help.modular(model=DECODER)
    model = build_model(config, 8)
    optimizer = build_optimizer(model, config.training)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    zeros, left = torch.zeros_like, 2 * len(before) - 1

    def until_full(like: torch.Tensor) -> torch.Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise torch.OutOfMemoryError("no room for the last moment")
        return zeros(like)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros_like", until_full)
        with pytest.raises(torch.OutOfMemoryError):
            optimizer.step()
    assert not optimizer.midway
    assert all(map(torch.equal, model.parameters(), before))
    optimizer.step()
    assert optimizer.midway and not any(map(torch.equal, model.parameters(), before))


@pytest.mark.parametrize("model", [DECODER, {"dim": 16}], ids=["decoder", "quadratic"])
@pytest.mark.parametrize("largest", [0.05, 1e3, math.inf])
def test_steps_are_those_of_torch(model: dict[str, Any], largest: float) -> None:
    config = help.modular(model=model)
    task = build_task(config)
    ours, theirs = (build_model(config, task.vocab_size) for _ in range(2))
    our_optimizer = build_optimizer(ours, config.training)
    their_optimizer = of_torch(theirs, config.training)
    for step in range(6):
        inputs, targets = task.batch(step)
        norms = []
        for network in (ours, theirs):
            network.zero_grad(set_to_none=True)
            task.loss(network, inputs, targets).backward()  # type: ignore[no-untyped-call]
        rate = 1e-2 / (step + 1)
        norms.append(clip(list(ours.parameters()), largest))
        our_optimizer.rate = rate
        our_optimizer.step()
        norms.append(torch.nn.utils.clip_grad_norm_(theirs.parameters(), largest))
        for group in their_optimizer.param_groups:
            group["lr"] = rate
        their_optimizer.step()
        assert torch.equal(*norms)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert one.grad is not None and other.grad is not None
            assert torch.equal(one.grad, other.grad) and torch.equal(one, other)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        moments = our_optimizer.state[one], their_optimizer.state[other]
        assert help.same_tensors(*moments)


def test_a_parameter_may_get_its_first_gradient_late() -> None:
    config = help.modular(model={"dim": 4})
    model, twin = (build_model(config, 14) for _ in range(2))
    optimizer, reference = build_optimizer(model, config.training), of_torch(twin, config.training)
    for present in (1, 3, 2):
        for network in (model, twin):
            for n, parameter in enumerate(network.parameters()):
                parameter.grad = torch.full_like(parameter, 0.1) if n < present else None
        optimizer.step()
        reference.step()
        for one, other in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.equal(one, other)

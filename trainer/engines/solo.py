"""The reference engine: one `nn.Module` per member, members take turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from trainer.config import DecoderConfig, RunConfig
from trainer.engines import Advance, State
from trainer.models import build_model
from trainer.optim import AdamW, build_optimizer, clip, export_state, restore_state
from trainer.precision import autocast, loss_scaler
from trainer.schedule import learning_rate
from trainer.seeds import Stream, torch_seed
from trainer.tasks import Task


@dataclass(eq=False)
class Unit:
    """What an engine holds of one member."""

    config: RunConfig
    task: Task
    model: nn.Module
    parameters: list[nn.Parameter]
    optimizer: AdamW
    scaler: torch.amp.GradScaler
    has_dropout: bool


class SoloEngine:
    """Implements `trainer.engines.Engine`."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}

    def add(self, key: str, config: RunConfig, task: Task) -> None:
        """Build the member's model and optimizer at step 0, from its seed."""
        model = build_model(config, task.vocab_size).to(config.tier.device)
        self.units[key] = Unit(
            config,
            task,
            model,
            list(model.parameters()),
            build_optimizer(model, config.training),
            loss_scaler(config.tier),
            isinstance(config.model, DecoderConfig) and config.model.dropout > 0,
        )

    def remove(self, key: str) -> None:
        """Forget a member."""
        self.units.pop(key, None)

    def turns(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """Return each member alone."""
        return [[key] for key in keys]

    def advance(
        self,
        keys: Sequence[str],
        first_steps: Sequence[int],
        steps: int,
        keep_going: Callable[[str, int], bool],
    ) -> Sequence[Advance]:
        """Do up to `steps` optimizer steps of the one member of the group."""
        (key,), (first,) = keys, first_steps
        unit = self.units[key]
        losses: list[torch.Tensor] = []
        norm, error = torch.tensor(math.nan), None
        try:
            unit.model.train()
            while len(losses) < steps and keep_going(key, first + len(losses)):
                loss, norm = _step(unit, first + len(losses))
                losses.append(loss)
        except Exception as raised:
            error = raised
        stacked = torch.stack(losses).cpu() if losses else torch.empty(0)
        sound = not unit.optimizer.midway
        return [Advance(len(losses), stacked, float(norm), error, sound=sound)]

    @torch.no_grad()
    def evaluate(self, key: str, split: str) -> dict[str, float]:
        """Return the task's metrics of `split` under the member's weights."""
        unit = self.units[key]
        unit.model.eval()
        with autocast(unit.config.tier):
            return unit.task.evaluate(unit.model, split, unit.config.tier.device)

    @torch.no_grad()
    def weight_norm(self, key: str) -> float:
        """Return the L2 norm of all weights."""
        norms = [p.norm() for p in self.units[key].model.parameters()]
        return float(torch.stack(norms).norm())

    def export(self, key: str) -> State:
        """Return the member's state; the tensors are live."""
        unit = self.units[key]
        return State(
            {name: p.detach() for name, p in unit.model.named_parameters()},
            export_state(unit.model, unit.optimizer),
            {"scaler": unit.scaler.state_dict()} if unit.scaler.is_enabled() else {},
        )

    def restore(self, key: str, state: State) -> None:
        """Put a state back.

        Raises:
            ValueError: Names or shapes differ from the member's model.
        """
        unit = self.units[key]
        try:
            unit.model.load_state_dict(state.model, strict=True)
        except RuntimeError as error:
            raise ValueError(f"the checkpoint is of another model: {error}") from error
        restore_state(unit.model, unit.optimizer, state.optimizer)
        if "scaler" in state.extra:
            unit.scaler.load_state_dict(state.extra["scaler"])


def _step(unit: Unit, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Do one optimizer step over the effective batch; return its loss and gradient norm."""
    training, tier = unit.config.training, unit.config.tier
    inputs, targets = unit.task.batch(step)
    rows = len(inputs)
    micro = min(tier.micro_batch or rows, rows)
    for parameter in unit.parameters:
        parameter.grad = None
    total: torch.Tensor | None = None
    for first in range(0, rows, micro):
        x, y = inputs, targets
        if micro < rows:
            x, y = inputs[first : first + micro], targets[first : first + micro]
        if unit.has_dropout:
            torch.manual_seed(torch_seed(training.seed, Stream.DROPOUT, step, first))
        with autocast(tier):
            loss = unit.task.loss(
                unit.model(x.to(tier.device, non_blocking=True)),
                y.to(tier.device, non_blocking=True),
            )
        if micro < rows:
            loss = loss * (len(x) / rows)
        torch.autograd.backward(unit.scaler.scale(loss))
        total = loss.detach() if total is None else total + loss.detach()
    assert total is not None
    return total, _update(unit, learning_rate(training, step))


def _update(unit: Unit, rate: float) -> torch.Tensor:
    """Clip the gradients and apply them; return their norm before."""
    training, scaler = unit.config.training, unit.scaler
    unit.optimizer.rate = rate
    scaler.unscale_(unit.optimizer)  # type: ignore[arg-type]  # it looks at `param_groups` only
    norm = clip(unit.parameters, training.grad_clip if training.grad_clip is not None else math.inf)
    scaler.step(unit.optimizer)  # type: ignore[arg-type]  # leaves out a step that overflowed
    scaler.update()
    unit.optimizer.midway = False
    return norm

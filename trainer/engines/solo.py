"""The reference engine: one `nn.Module` per member, members take turns."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from trainer.compilation import compile_blocks, eager, leave_eager, why_not_compiled
from trainer.computation import Choice, Computation, computation_of, with_kernel
from trainer.config import RunConfig
from trainer.engines import Advance, State
from trainer.engines.captured import CapturedPass, Compute
from trainer.engines.passes import passes
from trainer.errors import DivergedError
from trainer.models import build_model
from trainer.optim import AdamW, build_optimizer, clip, export_state, restore_state
from trainer.precision import autocast, loss_scaler, products
from trainer.schedule import learning_rate
from trainer.seeds import Stream, torch_seed
from trainer.tasks import Task

MOST_SKIPPED = 30
"""Steps in a row that the loss scaler may leave out: it then starts from 65536 and ends below 1e-4,
where fairseq gives up too."""


@dataclass(eq=False)
class Unit:
    """What an engine holds of one member.

    Args:
        config: Its run config.
        task: Its view of the data.
        model: On its device, in fp32.
        parameters: Of the model, in its order.
        optimizer: Of the parameters.
        scaler: A pass-through unless the precision is fp16.
        has_dropout: Whether a pass draws random numbers.
        computation: How it is computed; None where there is no choice.
        captured: Its pass as a CUDA graph, once there is one.
        skipped: Steps that the loss scaler left out, since step 0.
        skipped_in_a_row: Of them, those since the last step that was not.
        rank: This process among those that train the model.
        ranks: How many they are.
    """

    config: RunConfig
    task: Task
    model: nn.Module
    parameters: list[nn.Parameter]
    optimizer: AdamW
    scaler: torch.amp.GradScaler
    has_dropout: bool
    computation: Computation | None = None
    captured: CapturedPass | None = None
    skipped: int = 0
    skipped_in_a_row: int = 0
    rank: int = 0
    ranks: int = 1

    def clear_gradients(self) -> None:
        """Free the gradients of the step before; a CUDA graph needs them where they are."""
        if self.captured is not None:
            torch._foreach_zero_([p.grad for p in self.parameters if p.grad is not None])
            return
        for parameter in self.parameters:
            parameter.grad = None

    def collect_gradients(self) -> None:
        """Have the gradients of the passes where `parameters` have theirs: they are there."""

    def sum_over_ranks(self, values: torch.Tensor) -> torch.Tensor:
        """Add a tensor up over the processes that train this model, in place: it is one."""
        return values


class SoloEngine:
    """Implements `trainer.engines.Engine`."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}

    def add(self, key: str, config: RunConfig, task: Task) -> None:
        """Build the member's model and optimizer at step 0, from its seed."""
        computation = computation_of(config, task.vocab_size, task.tokens_per_step)
        model = build_model(with_kernel(config, computation), task.vocab_size)
        model.to(config.tier.device)
        if computation is not None and computation.compiled:
            compile_blocks(model)
        self.units[key] = Unit(
            config,
            task,
            model,
            list(model.parameters()),
            build_optimizer(model, config.training),
            loss_scaler(config.tier),
            config.has_dropout,
            computation,
        )

    def remove(self, key: str) -> None:
        """Forget a member."""
        unit = self.units.pop(key, None)
        if unit is not None and unit.computation is not None and unit.computation.compiled:
            del unit
            gc.collect()  # a compiled block and its code hold each other, and with it the GPU's memory

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
            with products(unit.config.tier):
                while len(losses) < steps and keep_going(key, first + len(losses)):
                    loss, norm = _step(unit, first + len(losses))
                    losses.append(loss)
        except Exception as raised:
            error = raised
        stacked = torch.stack(losses).cpu() if losses else torch.empty(0)
        sound = not unit.optimizer.midway
        return [Advance(len(losses), stacked, float(norm), error, sound, unit.skipped)]

    @torch.no_grad()
    def evaluate(self, key: str, split: str) -> dict[str, float]:
        """Return the task's metrics of `split` under the member's weights."""
        unit, tier = self.units[key], self.units[key].config.tier
        unit.model.eval()
        compiled = unit.computation is not None and unit.computation.compiled
        with products(tier), autocast(tier), eager(compiled):
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
            {
                "scaler": unit.scaler.state_dict(),
                "skipped_steps": [unit.skipped, unit.skipped_in_a_row],
            }
            if unit.scaler.is_enabled()
            else {},
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
            unit.skipped, unit.skipped_in_a_row = state.extra.get("skipped_steps", [0, 0])


def _step(unit: Unit, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Do one optimizer step over the effective batch; return its loss and gradient norm.

    Raises:
        DivergedError: The loss scaler has left out `MOST_SKIPPED` steps in a row.
    """
    training = unit.config.training
    inputs, targets = _batch(unit, step)
    rows = len(inputs)
    unit.clear_gradients()
    total: torch.Tensor | None = None
    for first, end, weight in passes(rows, unit.config.tier.micro_batch, unit.rank, unit.ranks):
        x, y = inputs, targets
        if end - first < rows:
            x, y = inputs[first:end], targets[first:end]
        if unit.has_dropout:
            torch.manual_seed(torch_seed(training.seed, Stream.DROPOUT, step, first))
        loss = _pass(unit, x, y, weight, captures=first == 0)
        total = loss if total is None else total + loss
    assert total is not None
    unit.collect_gradients()
    norm = _update(unit, learning_rate(training, step))
    if unit.skipped_in_a_row >= MOST_SKIPPED:
        raise DivergedError(
            f"the gradients overflow fp16: {MOST_SKIPPED} steps in a row were left out before step"
            f" {step + 1}, at loss scales down to {unit.scaler.get_scale():.2g}"
        )
    return total, norm


def _batch(unit: Unit, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the effective batch on the device; the host does not wait until a GPU has it."""
    inputs, targets = unit.task.batch(step)
    device = unit.config.tier.device
    if device == "cpu":
        return inputs, targets
    # Only from pinned memory, and of one piece, is a copy left to the GPU alone.
    inputs, targets = inputs.contiguous().pin_memory(), targets.contiguous().pin_memory()
    return inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)


def _pass(
    unit: Unit, x: torch.Tensor, y: torch.Tensor, share: float, *, captures: bool
) -> torch.Tensor:
    """Add the gradients of a micro-batch; return its part of the loss.

    Args:
        unit: Whose.
        x: Inputs (row, time), on the device.
        y: Targets (row, …), on the device.
        share: What the pass counts: its share of the effective batch, times the ranks.
        captures: Whether the pass may be recorded, or done again: the gradients are still empty.
    """
    compute = partial(_compute, unit, share)
    if captures and unit.captured is None and unit.computation and unit.computation.graphed:
        _capture(unit, compute, x, y)
    if unit.captured is not None and unit.captured.fits(x):
        return unit.captured(x, y)
    try:
        return compute(x, y)
    except RuntimeError as error:
        if not (captures and unit.computation and unit.computation.compiled):
            raise
        if not (why := why_not_compiled(error)):
            raise
        off = Choice("off", f"the blocks cannot be compiled: {why}")
    unit.computation = replace(unit.computation, compilation=off)
    warnings.warn(f"compilation {off}", stacklevel=2)
    leave_eager(unit.model)
    unit.clear_gradients()  # of the blocks that came before
    return compute(x, y)


def _capture(unit: Unit, compute: Compute, x: torch.Tensor, y: torch.Tensor) -> None:
    """Record the pass as a CUDA graph, or say why it goes on without."""
    try:
        unit.captured = CapturedPass(compute, unit.parameters, x, y)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:  # an operation of the model that cannot be recorded
        assert unit.computation is not None
        off = Choice("off", f"the pass cannot be recorded: {error}")
        unit.computation = replace(unit.computation, cuda_graphs=off)
        warnings.warn(f"cuda graphs {off}", stacklevel=2)
        unit.clear_gradients()  # of the passes that were to warm up


def _compute(unit: Unit, share: float, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    with autocast(unit.config.tier):
        loss = unit.task.loss(unit.model, x, y)
    if share != 1:
        loss = loss * share
    torch.autograd.backward(unit.scaler.scale(loss))
    return loss.detach()


def _update(unit: Unit, rate: float) -> torch.Tensor:
    """Clip the gradients and apply them; return their norm before."""
    training, scaler = unit.config.training, unit.scaler
    unit.optimizer.rate = rate
    scaler.unscale_(unit.optimizer)  # type: ignore[arg-type]  # it looks at `param_groups` only
    if scaler.is_enabled() and unit.ranks > 1:  # an overflow on one leaves the step out on all
        for found in scaler._found_inf_per_device(unit.optimizer).values():  # type: ignore[arg-type]
            unit.sum_over_ranks(found)
    largest = training.grad_clip if training.grad_clip is not None else math.inf
    norm = clip(unit.parameters, largest, unit.sum_over_ranks if unit.ranks > 1 else None)
    if scaler.step(unit.optimizer) is None:  # type: ignore[arg-type]  # the gradients overflowed
        unit.skipped, unit.skipped_in_a_row = unit.skipped + 1, unit.skipped_in_a_row + 1
    else:
        unit.skipped_in_a_row = 0
    scaler.update()
    unit.optimizer.midway = False
    return norm

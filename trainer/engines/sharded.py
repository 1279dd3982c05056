"""The engine of a model that several processes train together, with FSDP2.

Weights, gradients and moments are sharded: each rank holds a part of every tensor, by rows, and
updates it alone. The weights of a block are gathered while it computes. Each rank computes its rows
of the effective batch, so that one process would have the same loss and the same gradients, up to
the order of sums. With dropout the masks depend on which rows are computed together, as they do on
`tier.micro_batch`.

The leader's engine is an ordinary one to the loop: each call of it is announced, and the followers,
who run `follow`, make it too. What the leader exports is the state of a single model, and what it
restores may come from one.

Zhao et al. 2023 (arXiv 2304.11277); https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
"""

from __future__ import annotations

import contextlib
import gc
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from trainer.computation import computation_of, with_kernel
from trainer.config import RunConfig
from trainer.distributed import Group
from trainer.engines import Advance, State
from trainer.engines.solo import SoloEngine, Unit, _step
from trainer.errors import DivergedError, RanksLostError
from trainer.models import build_model
from trainer.models.decoder import Block
from trainer.optim import STATE, AdamW
from trainer.precision import loss_scaler, products
from trainer.tasks import Task, build_task


def follow(group: Group) -> None:
    """Make the calls that the leader's engine announces, until it announces the end.

    Raises:
        RanksLostError: The leader is gone.
    """
    engine = ShardedEngine(group)
    while call := group.receive():
        name, *arguments = call
        with contextlib.suppress(Exception):  # the leader was told
            getattr(engine, name)(*arguments)


class _BrokenOffError(Exception):
    """A step failed on another rank, before it changed anything on any."""


@dataclass(eq=False)
class ShardedUnit(Unit):
    """What a rank holds of one member; `parameters` are the parts that are its own.

    Args:
        group: The ranks.
        whole: The model's parameters, of which `parameters` are views.
        at_update: Whether the ranks agreed, in this step, that all of them have their gradients.
        broken: Whether a step was broken off: the model computes no more.
    """

    group: Group = field(kw_only=True)
    whole: list[nn.Parameter] = field(kw_only=True)
    at_update: bool = False
    broken: bool = False

    def clear_gradients(self) -> None:
        """Forget the gradients of the step before."""
        super().clear_gradients()
        for parameter in self.whole:
            parameter.grad = None

    @torch.no_grad()
    def collect_gradients(self) -> None:
        """Give each part its gradient, and go on only where every rank got here.

        A step that fails before has changed no weight on any rank.

        Raises:
            _BrokenOffError: It failed on another rank.
        """
        for part, parameter in zip(self.parameters, self.whole, strict=True):
            gradient = parameter.grad
            part.grad = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        self.optimizer.begin()
        self.at_update = True
        (wrong,) = self.group.agree(False)
        if wrong:
            raise _BrokenOffError

    def sum_over_ranks(self, values: torch.Tensor) -> torch.Tensor:
        """Add a tensor up over the ranks, in place."""
        return self.group.sum(values)


class ShardedEngine(SoloEngine):
    """Implements `trainer.engines.Engine` on the leader.

    Args:
        group: This process among the ranks.
    """

    units: dict[str, ShardedUnit]  # type: ignore[assignment]

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group

    def close(self) -> None:
        """End the followers."""
        self.group.announce()

    def add(self, key: str, config: RunConfig, task: Task | None = None) -> None:
        """Build the member's model and optimizer at step 0, from its seed.

        Every rank builds the whole model on the CPU and keeps its part on the device.
        """
        self.group.announce("add", key, config)
        with self.group.together():
            if task is None:
                torch.set_num_threads(config.tier.cpus)
                task = build_task(config)
            self.units[key] = self._unit(config, task)

    def _unit(self, config: RunConfig, task: Task) -> ShardedUnit:
        computation = computation_of(config, task.vocab_size, task.tokens_per_step)
        model = build_model(with_kernel(config, computation), task.vocab_size)
        mesh = DeviceMesh.from_group(self.group.data, self.group.device)
        for module in model.modules():
            if isinstance(module, Block):
                fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh)
        whole = list(model.parameters())
        parts = [nn.Parameter(_part(parameter)) for parameter in whole]
        for part, parameter in zip(parts, whole, strict=True):
            assert part.data_ptr() == _part(parameter).data_ptr()
        filled = [part for part in parts if part.numel()]
        training = config.training
        return ShardedUnit(
            config,
            task,
            model,
            parts,
            AdamW(
                [
                    ([part for part in filled if part.ndim >= 2], training.weight_decay),
                    ([part for part in filled if part.ndim < 2], 0.0),
                ],
                training,
            ),
            loss_scaler(config.tier),
            config.has_dropout,
            computation,
            rank=self.group.rank,
            ranks=self.group.size,
            group=self.group,
            whole=whole,
        )

    def remove(self, key: str) -> None:
        """Forget a member."""
        self.group.announce("remove", key)
        super().remove(key)
        gc.collect()  # a sharded module and its hooks hold each other

    def advance(
        self,
        keys: Sequence[str],
        first_steps: Sequence[int],
        steps: int,
        keep_going: Callable[[str, int], bool] = lambda key, step: True,
    ) -> Sequence[Advance]:
        """Do up to `steps` optimizer steps of the one member of the group.

        Raises:
            RanksLostError: An update failed, on some ranks or on all: the parts no longer make a
                state.
        """
        self.group.announce("advance", keys, first_steps, steps)
        (key,), (first,) = keys, first_steps
        unit = self.units[key]
        unit.model.train()
        losses: list[torch.Tensor] = []
        norm = torch.tensor(math.nan)
        error: Exception | None = None
        raised_at_s: float | None = None
        while True:
            enough = len(losses) == steps
            if self.group.leads and error is None and not enough:
                try:
                    enough = not keep_going(key, first + len(losses))
                except Exception as raised:
                    error, raised_at_s = raised, time.monotonic()
            enough, wrong = self.group.agree(enough, error is not None)
            if enough or wrong:
                break
            unit.at_update = False
            try:
                if unit.broken:
                    raise RuntimeError(f"an earlier step of {key} was broken off")
                with _views_allowed(), products(unit.config.tier):
                    loss, norm = _step(unit, first + len(losses))
                losses.append(loss)
            except Exception as raised:
                error, raised_at_s = raised, time.monotonic()
                self._break_off(unit, raised)
        if wrong:
            error = self.group.failure(error, raised_at_s)
        if any(self.group.agree(unit.broken)):
            self.group.renew()
        total = torch.stack(losses) if losses else torch.empty(0)
        if losses:
            total = self.group.sum(total / self.group.size).cpu()
        return [Advance(len(losses), total, float(norm), error, skipped=unit.skipped)]

    def _break_off(self, unit: ShardedUnit, error: Exception) -> None:
        """Meet the ranks that wait, before the update, for the gradients of all.

        Raises:
            RanksLostError: The weights may have been changed already.
        """
        unit.broken = True
        if not unit.at_update:
            self.group.agree(True)
        elif not isinstance(error, _BrokenOffError | DivergedError):
            raise RanksLostError(f"an update was broken off: {error}") from error

    @torch.no_grad()
    def evaluate(self, key: str, split: str) -> dict[str, float]:
        """Return the task's metrics of `split`; every rank computes all of them, to the same end."""
        self.group.announce("evaluate", key, split)
        with self.group.together(), _views_allowed():
            return super().evaluate(key, split)

    @torch.no_grad()
    def weight_norm(self, key: str) -> float:
        """Return the L2 norm of all weights."""
        self.group.announce("weight_norm", key)
        with self.group.together():
            norms = torch.stack([part.norm() for part in self.units[key].parameters])
            return float(self.group.sum(norms.square().sum()).sqrt())

    @torch.no_grad()
    def export(self, key: str, moments: Sequence[str] | None = None) -> State:
        """Return the member's whole state on the leader's CPU, gathered a tensor at a time.

        Args:
            key: The member.
            moments: The parameters that have moments, told to the followers.
        """
        unit = self.units[key]
        if moments is None:
            moments = [name for name, part, _ in _parts(unit) if part in unit.optimizer.state]
        self.group.announce("export", key, moments)
        with self.group.together():
            model: dict[str, torch.Tensor] = {}
            optimizer: dict[str, torch.Tensor] = {}
            for name, part, parameter in _parts(unit):
                model[name] = self._gather(part, parameter)
                state = unit.optimizer.state.get(part, {})
                for moment in STATE[:2] if name in moments else ():
                    own = state.get(moment, part)  # without rows there is no state
                    optimizer[f"{moment}.{name}"] = self._gather(own, parameter)
                if name in moments and "step" in state:
                    optimizer[f"step.{name}"] = state["step"].cpu()
            scaler = unit.scaler
            extra: dict[str, Any] = {}
            if scaler.is_enabled():
                extra["scaler"] = scaler.state_dict()
                extra["skipped_steps"] = [unit.skipped, unit.skipped_in_a_row]
            return State(model, optimizer, extra)

    def _gather(self, part: torch.Tensor, like: nn.Parameter) -> torch.Tensor:
        """Return a whole tensor on the leader's CPU, and nothing on the followers."""
        share = math.ceil(like.shape[0] / self.group.size)
        padded = part.new_zeros(share, *like.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(self.group.size)]
        dist.all_gather(parts, padded, group=self.group.data)
        return torch.cat(parts)[: like.shape[0]].cpu() if self.group.leads else torch.empty(0)

    @torch.no_grad()
    def restore(self, key: str, state: State | None, told: dict[str, Any] | None = None) -> None:
        """Put a whole state of the leader back, each rank its part.

        Args:
            key: The member.
            state: None on a follower.
            told: What the followers are told: steps by parameter, and the plain values.

        Raises:
            ValueError: Names or shapes differ from the member's model.
        """
        unit = self.units[key]
        if state is not None:
            _check(unit, state)
            steps = {
                name: float(state.optimizer[f"step.{name}"])
                for name, _, _ in _parts(unit)
                if f"step.{name}" in state.optimizer
            }
            told = {"steps": steps, "extra": state.extra}
        assert told is not None
        whole = state or State({}, {})
        self.group.announce("restore", key, None, told)
        with self.group.together():
            for name, part, parameter in _parts(unit):
                part.copy_(self._scatter(whole.model.get(name), parameter))
                if name in told["steps"]:
                    moments = {
                        moment: self._scatter(
                            whole.optimizer.get(f"{moment}.{name}"), parameter
                        ).clone()
                        for moment in STATE[:2]
                    }
                    if part.numel():
                        step = torch.tensor(told["steps"][name], device=part.device)
                        unit.optimizer.state[part] = {**moments, "step": step}
            if "scaler" in told["extra"]:
                unit.scaler.load_state_dict(told["extra"]["scaler"])
                skipped = told["extra"].get("skipped_steps", [0, 0])
                unit.skipped, unit.skipped_in_a_row = skipped

    def _scatter(self, whole: torch.Tensor | None, like: nn.Parameter) -> torch.Tensor:
        """Return this rank's rows of a tensor of the leader's."""
        tensor = torch.empty(like.shape, dtype=like.dtype, device=self.group.device)
        if whole is not None:
            tensor.copy_(whole)
        dist.broadcast(tensor, src=0, group=self.group.data)
        share = math.ceil(like.shape[0] / self.group.size)
        return tensor[share * self.group.rank : share * (self.group.rank + 1)]


@contextlib.contextmanager
def _views_allowed() -> Iterator[None]:
    """Hide that a model's logits are a view: FSDP2 warns of those who write into them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
        yield


def _parts(unit: ShardedUnit) -> Iterator[tuple[str, nn.Parameter, nn.Parameter]]:
    """Yield the name of each parameter, this rank's part of it, and itself."""
    names = (name for name, _ in unit.model.named_parameters())
    return zip(names, unit.parameters, unit.whole, strict=True)


@torch.no_grad()
def _part(parameter: nn.Parameter) -> torch.Tensor:
    assert isinstance(parameter, DTensor)
    part: torch.Tensor = parameter.to_local()
    return part


def _check(unit: ShardedUnit, state: State) -> None:
    """Refuse a state of another model.

    Raises:
        ValueError: Names or shapes differ.
    """
    there = {name: tuple(tensor.shape) for name, tensor in state.model.items()}
    here = {name: tuple(whole.shape) for name, _, whole in _parts(unit)}
    if there != here:
        differing = sorted(n for n in {**here, **there} if here.get(n) != there.get(n))
        name = differing[0]
        raise ValueError(
            f"the checkpoint is of another model: {name} is {there.get(name, 'missing')} in it,"
            f" expected {here.get(name, 'none')} ({len(differing)} parameters differ)"
        )

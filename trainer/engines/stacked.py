"""The engine that computes many small models as one; those it cannot stack take turns.

The models of one shape are held side by side (`trainer.models.stacking`): a step of all of them
launches as many kernels as a step of one. Learning rate, weight decay, betas, clipping and the steps
done are each member's own. A member's tensors are slices of the stack, so that looking at it,
evaluating it and saving it are what they are for a model alone.

Which members are stacked follows from their config, never from their neighbours: a stack of one and
a stack of many then give a member the same numbers, bit for bit on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from trainer.config import QuadraticMLPConfig, RunConfig
from trainer.engines import Advance, State
from trainer.engines.solo import SoloEngine, Unit
from trainer.models.stacking import stack
from trainer.schedule import learning_rate
from trainer.tasks import Task


class StackedEngine(SoloEngine):
    """Implements `trainer.engines.Engine`."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: dict[str, str] = {}
        self.stacks: dict[str, _Stack] = {}

    def add(self, key: str, config: RunConfig, task: Task) -> None:
        """Build the member's model and optimizer at step 0, from its seed."""
        super().add(key, config, task)
        if pays(config, task):
            learned = (config.model, config.data, config.loss, config.symbolic)
            self.shapes[key] = repr((*learned, task.batch_size))

    def remove(self, key: str) -> None:
        """Forget a member."""
        super().remove(key)
        self.shapes.pop(key, None)
        for shape in self.stacks.keys() - self.shapes.values():
            del self.stacks[shape]

    def restore(self, key: str, state: State) -> None:
        """Put a state back.

        Raises:
            ValueError: Names or shapes differ from the member's model.
        """
        super().restore(key, state)
        self.stacks.pop(self.shapes.get(key, ""), None)  # its moments are no slices any more

    def turns(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """Return the members of one shape together, the others alone."""
        groups: dict[str, list[str]] = {}
        for key in keys:
            groups.setdefault(self.shapes.get(key, f"alone {key}"), []).append(key)
        return list(groups.values())

    def advance(
        self,
        keys: Sequence[str],
        first_steps: Sequence[int],
        steps: int,
        keep_going: Callable[[str, int], bool],
    ) -> Sequence[Advance]:
        """Do up to `steps` optimizer steps of each member; one that ends early leaves the stack."""
        if keys[0] not in self.shapes:
            return super().advance(keys, first_steps, steps, keep_going)
        step_of = dict(zip(keys, first_steps, strict=True))
        losses: dict[str, list[torch.Tensor]] = {key: [] for key in keys}
        norms: dict[str, torch.Tensor] = {}
        errors: dict[str, Exception] = {}
        torn: set[str] = set()
        live = list(keys)
        for _ in range(steps):
            batches, going = [], []
            for key in live:
                try:
                    if keep_going(key, step_of[key]):
                        batches.append(self.units[key].task.batch(step_of[key]))
                        going.append(key)
                except Exception as error:
                    errors[key] = error
            live = going
            if not live:
                break
            try:
                loss, norm = self._stack_of(live).step(batches, [step_of[key] for key in live])
            except Exception as error:
                errors |= dict.fromkeys(live, error)
                held = self.stacks.get(self.shapes[live[0]])
                torn = set(live) if held is not None and held.midway else set()
                break
            for key, own_loss, own_norm in zip(live, loss.unbind(), norm.unbind(), strict=True):
                losses[key].append(own_loss)
                norms[key] = own_norm
                step_of[key] += 1
        for held in self.stacks.values():
            held.count()
        return [
            Advance(
                len(losses[key]),
                torch.stack(losses[key]).cpu() if losses[key] else torch.empty(0),
                float(norms.get(key, math.nan)),
                errors.get(key),
                sound=key not in torn,
            )
            for key in keys
        ]

    def _stack_of(self, keys: Sequence[str]) -> _Stack:
        """Return the stack of exactly these members of one shape, made anew where they changed."""
        shape = self.shapes[keys[0]]
        units = [self.units[key] for key in keys]
        held = self.stacks.get(shape)
        if held is None or held.units != units:
            if held is not None:
                held.count()
                del self.stacks[shape]  # else a stack that cannot be made leaves one out of date
            held = self.stacks[shape] = _Stack(units)
        return held


def pays(config: RunConfig, task: Task) -> bool:
    """Return whether a member is computed in a stack.

    On a CPU fusion removes what Python and torch do around a kernel, which is most of a step of the
    quadratic MLP and little of a decoder's (`benchmarks/RESULTS.md`).
    """
    tier = config.tier
    whole = tier.micro_batch is None or tier.micro_batch >= task.batch_size
    plain = tier.device == "cpu" and tier.precision == "fp32"
    return isinstance(config.model, QuadraticMLPConfig) and plain and whole


class _Stack:
    """The weights and moments of several members of one shape, side by side.

    Args:
        units: The members; from now on their tensors are slices of these.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = list(units)
        self.model = stack([unit.model for unit in units])
        self.weights = list(self.model.parameters())
        self.first = [torch.zeros_like(weight) for weight in self.weights]
        self.second = [torch.zeros_like(weight) for weight in self.weights]
        self.done = [0] * len(units)
        self.midway = False
        for n, unit in enumerate(units):
            slices = zip(unit.parameters, self.weights, self.first, self.second, strict=True)
            for parameter, weight, first, second in slices:
                if state := unit.optimizer.state.get(parameter):
                    first[n], second[n] = state["exp_avg"], state["exp_avg_sq"]
                    self.done[n] = int(state["step"])
                parameter.data = weight.data[n]
                unit.optimizer.state[parameter] = {
                    "exp_avg": first[n],
                    "exp_avg_sq": second[n],
                    "step": torch.tensor(float(self.done[n])),
                }
        training = [unit.config.training for unit in units]
        self.beta1 = torch.tensor([t.beta1 for t in training])
        self.beta2 = torch.tensor([t.beta2 for t in training])
        self.eps = torch.tensor([t.eps for t in training])
        self.largest = torch.tensor(
            [math.inf if t.grad_clip is None else t.grad_clip for t in training]
        )
        self._batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._batch = torch.empty(0), torch.empty(0)

    def count(self) -> None:
        """Write the steps done into the members' states."""
        for unit, done in zip(self.units, self.done, strict=True):
            for state in unit.optimizer.state.values():
                state["step"].fill_(done)

    def step(
        self, batches: list[tuple[torch.Tensor, torch.Tensor]], steps: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Do one optimizer step of every member.

        Args:
            batches: Inputs (batch, time) and targets (batch,) of each.
            steps: Optimizer steps each has done.

        Returns:
            Losses (member,) in nats, and gradient norms (member,) before clipping.
        """
        for weight in self.weights:
            weight.grad = None
        inputs, targets = self._side_by_side(batches)
        losses = self.units[0].task.loss(self.model, inputs, targets)
        torch.autograd.backward(losses.sum())
        grads = [weight.grad for weight in self.weights if weight.grad is not None]
        with torch.no_grad():
            norms = self._clip(grads)
            self.midway = True
            self._update(grads, steps)
            self.midway = False
        return losses.detach(), norms

    def _side_by_side(
        self, batches: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (member, batch, …); a full batch is the same tensor at every step."""
        same = len(batches) == len(self._batches) and all(
            new[0] is old[0] and new[1] is old[1]
            for new, old in zip(batches, self._batches, strict=True)
        )
        if not same:
            self._batches = batches
            self._batch = (
                torch.stack([inputs for inputs, _ in batches]),
                torch.stack([targets for _, targets in batches]),
            )
        return self._batch

    def _clip(self, grads: Sequence[torch.Tensor]) -> torch.Tensor:
        """Scale each member's gradients to its largest norm, as `trainer.optim.clip` does."""
        # Added one by one: a sum over a short axis is ordered by how many members there are.
        squares = torch.zeros(len(self.units))
        for grad in grads:
            squares += torch.linalg.vector_norm(grad.flatten(1), dim=1) ** 2
        norms = squares.sqrt()
        scale = torch.clamp(self.largest / (norms + 1e-6), max=1.0)
        for grad in grads:
            grad.mul_(_per_member(scale, grad))
        return norms

    def _update(self, grads: Sequence[torch.Tensor], steps: Sequence[int]) -> None:
        """Do a step of AdamW (Loshchilov & Hutter 2019) with each member's own numbers."""
        self.done = [done + 1 for done in self.done]
        decays, sizes, roots = [], [], []
        for unit, step, done in zip(self.units, steps, self.done, strict=True):
            training = unit.config.training
            rate = learning_rate(training, step)
            decays.append(1 - rate * training.weight_decay)
            sizes.append(rate / (1 - training.beta1**done))
            roots.append(math.sqrt(1 - training.beta2**done))
        decay, size, root = torch.tensor(decays), torch.tensor(sizes), torch.tensor(roots)
        for weight, grad, first, second in zip(
            self.weights, grads, self.first, self.second, strict=True
        ):
            if weight.ndim > 2:  # a matrix of each member; vectors are not decayed
                weight.mul_(_per_member(decay, weight))
            first.lerp_(grad, _per_member(1 - self.beta1, grad))
            second.mul_(_per_member(self.beta2, grad))
            second.addcmul_(grad, grad * _per_member(1 - self.beta2, grad))
            divisor = second.sqrt().div_(_per_member(root, grad)).add_(_per_member(self.eps, grad))
            weight.sub_(first.div(divisor).mul_(_per_member(size, grad)))


def _per_member(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return (member,) as (member, 1, …), of as many axes as `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))

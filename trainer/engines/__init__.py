"""How a cohort computes. The contract; `solo.py` is the reference engine.

An engine holds the weights and optimizers of the live members and advances them. It knows
nothing of rows, limits or files: `trainer.loop` does. An engine is one file, one line in
`ENGINES` and one fixture in `tests/contracts/engines.py`, from which it inherits the suite.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from trainer.config import RunConfig
from trainer.tasks import Task

ENGINES = {
    "solo": "trainer.engines.solo.SoloEngine",
    "stacked": "trainer.engines.stacked.StackedEngine",
}


@dataclass(frozen=True)
class State:
    """The learned state of one member, as an ordinary single model has it.

    Args:
        model: Tensors by parameter name.
        optimizer: Tensors by `<moment>.<parameter>`.
        extra: Plain values (of the loss scaler, where there is one).
    """

    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Advance:
    """What a turn did for one member.

    Args:
        steps: Optimizer steps done; fewer than asked for where `keep_going` said no or
            something went wrong.
        losses: (steps,) training losses in nats, fp32, on the CPU.
        grad_norm: Global gradient norm of the last step before clipping; NaN without a step.
        error: What was raised, where the member cannot go on.
        sound: Whether its state is that after `steps`; False where an update was broken off.
        skipped: Steps that the loss scaler left out since step 0; always 0 but in fp16.
    """

    steps: int
    losses: torch.Tensor
    grad_norm: float
    error: Exception | None = None
    sound: bool = True
    skipped: int = 0


class Engine(Protocol):
    """Computes the steps of a cohort.

    A member's numbers must not depend on its neighbours: bit for bit on a CPU.
    """

    def add(self, key: str, config: RunConfig, task: Task) -> None:
        """Build the member's model and optimizer at step 0, from its seed."""

    def remove(self, key: str) -> None:
        """Forget a member; its memory is free afterwards."""

    def turns(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """Partition the live members into groups that advance together."""

    def advance(
        self,
        keys: Sequence[str],
        first_steps: Sequence[int],
        steps: int,
        keep_going: Callable[[str, int], bool],
    ) -> Sequence[Advance]:
        """Do up to `steps` optimizer steps of each member of one group.

        Args:
            keys: Members of one group of `turns`.
            first_steps: Optimizer steps each has done so far.
            steps: At least 1.
            keep_going: Asked with the key and the steps done, before each step.
        """

    def evaluate(self, key: str, split: str) -> dict[str, float]:
        """Return the task's metrics of `split` under the member's weights."""

    def weight_norm(self, key: str) -> float:
        """Return the L2 norm of all weights."""

    def export(self, key: str) -> State:
        """Return the member's state; the tensors may be live."""

    def restore(self, key: str, state: State) -> None:
        """Put a state back, whichever engine exported it.

        Raises:
            ValueError: Names or shapes differ from the member's model.
        """


def make_engine(name: str) -> Engine:
    """Return an empty engine by its name in `ENGINES`."""
    module, _, attribute = ENGINES[name].rpartition(".")
    engine: Engine = getattr(importlib.import_module(module), attribute)()
    return engine

"""What a ledger holds, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from trainer.reporting import Reason


class State(StrEnum):
    """Where a trial is; an ended one has a `Reason`."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the ledger knows it.

    Args:
        id: Trial id.
        position: Its place in the plan, from 0.
        point_id: Shared by the seeds of one point of the space.
        seed: `training.seed`.
        changed: The axes of the space and this trial's values, the seed left out.
        config: The run config as plain values.
        state: Waiting, running or ended.
        reason: Why it ended; None before.
        detail: One sentence for a person.
        step: Optimizer steps done.
        active_s: Seconds spent on it over all attempts.
        attempts: How often it was started.
        deaths: How often its process died under it.
        final: Metrics at the end: the last evaluation, test split, baselines.
        parameters: Trained parameters.
        flops: Estimated floating-point operations of the whole run.
    """

    id: str
    position: int
    point_id: str
    seed: int
    changed: dict[str, Any]
    config: dict[str, Any]
    state: State = State.WAITING
    reason: Reason | None = None
    detail: str = ""
    step: int = 0
    active_s: float = 0.0
    attempts: int = 0
    deaths: int = 0
    final: dict[str, float] = field(default_factory=dict)
    parameters: int = 0
    flops: float = 0.0

    @property
    def pending(self) -> bool:
        """True where there is something left to train."""
        return self.state is not State.ENDED or (self.reason is not None and self.reason.resumable)

    @property
    def label(self) -> str:
        """The reason where it ended, its state before."""
        return self.reason.value if self.reason is not None else self.state.value


@dataclass(frozen=True)
class Standing:
    """What of a trial changes while it is trained; the fields are those of `TrialRecord`."""

    id: str
    state: State
    reason: Reason | None
    detail: str
    step: int
    active_s: float
    final: dict[str, float]


@dataclass(frozen=True)
class Event:
    """Something that happened; `seq` orders, `at` is seconds since 1970 by the wall clock."""

    seq: int
    at: float
    kind: str
    trial_id: str | None
    detail: str

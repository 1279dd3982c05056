"""What goes in and out of `fit`: members, rows, verdicts, results."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from trainer.config import RunConfig, TierConfig


class Reason(StrEnum):
    """Why a run ended. The closed list of the ledger and of every report."""

    FINISHED = "finished"  # all steps, or generalised where that was the goal
    PRUNED = "pruned"  # the referee stopped it at a rung
    DIVERGED = "diverged"  # a loss that is not finite
    OUT_OF_MEMORY = "out of memory"  # of the device or the host
    WALL_CLOCK = "wall clock"  # limits.wall_clock_minutes
    BUDGET = "budget"  # a limit on steps or memory
    INTERRUPTED = "interrupted"  # a signal, or a process that died
    FAILED = "failed"  # an error in the program or its input

    @property
    def resumable(self) -> bool:
        """True where the run can go on from its checkpoint."""
        return self in (Reason.WALL_CLOCK, Reason.BUDGET, Reason.INTERRUPTED)

    @property
    def failure(self) -> bool:
        """True where the run went wrong and would go wrong again."""
        return self in (Reason.DIVERGED, Reason.OUT_OF_MEMORY, Reason.FAILED)


@dataclass(frozen=True)
class Verdict:
    """The referee's answer to a row: go on where `stop` is None."""

    stop: Reason | None = None
    detail: str = ""


GO_ON = Verdict()


@dataclass(frozen=True)
class Member:
    """One run of a cohort.

    Args:
        id: Trial id (`trainer.identity.trial_id`).
        config: What to train.
        directory: Where its checkpoints, TensorBoard files and log go.
    """

    id: str
    config: RunConfig
    directory: Path


@dataclass(frozen=True)
class FitResult:
    """How a member ended.

    Args:
        id: The member's id.
        reason: One of the closed list.
        detail: One sentence for a person; empty where nothing is to be said.
        step: Optimizer steps done.
        active_s: Seconds spent on this member in this attempt, start and evaluations included.
        final: Metrics of the last evaluation, of the test split and of the task's baselines.
    """

    id: str
    reason: Reason
    detail: str
    step: int
    active_s: float
    final: dict[str, float] = field(default_factory=dict)


class Reporter(Protocol):
    """Receives what happens to the members, in order.

    An implementation may answer `row` with the verdict on an earlier row of the same member:
    then training does not wait for it.
    """

    def started(self, member_id: str, step: int, note: str) -> None:
        """A member is about to train from `step`; `note` says what was found on disk."""

    def row(self, member_id: str, step: int, metrics: dict[str, float]) -> Verdict:
        """Record the metrics at `step`. The same (member, step) may come again after a resume."""

    def stepped_down(self, member_id: str, step: int, tier: TierConfig, detail: str) -> None:
        """A member ran out of memory and goes on under a lower tier, from `step` on.

        Args:
            member_id: Who.
            step: Optimizer steps done.
            tier: How it is executed from now on.
            detail: "out of memory at step 12: micro-batch 8 → 4".
        """

    def flush(self) -> None:
        """Return when all that was reported is durable.

        Called before a checkpoint is published, and before `fit` returns.
        """

    def ended(self, result: FitResult) -> None:
        """Record how a member ended."""

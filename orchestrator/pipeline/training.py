"""Train in segments, and evaluate the checkpoint that each of them ends with.

The training is a sweep of one trial in the pipeline's own directory. A segment ends by
`limits.stop_after_steps`, which never moves the schedule, so the rows are those of a training
that was never cut.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Sequence

from orchestrator import sweep
from orchestrator.executors import Execution
from orchestrator.hardware import Hardware
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.lessons import with_lowered_tiers
from orchestrator.objective import Objective
from orchestrator.pipeline.evaluations import (
    checkpoint_of,
    evaluate_checkpoint,
    name_of,
    read_evaluation,
)
from orchestrator.pipeline.record import Record
from orchestrator.plan import plan_of_configs
from orchestrator.progress import Progress, Track
from orchestrator.verify import check_startable
from orchestrator.watch import Audience
from trainer.config import RunConfig
from trainer.reporting import Reason

Notify = Callable[[str], None]
OF_SEGMENTS = re.compile(
    r"changed: limits\.|1 of 1 trial to train|.*limits\.stop_after_steps \d+ reached"
)
"""What a sweep says of a segment; the stages are told instead."""


class Unfinished(Exception):
    """Training was stopped before its end, by a limit or a signal; it can go on.

    Args:
        why: In words.
    """


class Uncut:
    """Shows the segments of a training as one. Implements `orchestrator.watch.Audience`.

    Args:
        audience: Is shown all but the ends of segments that are not the training's.
    """

    def __init__(self, audience: Audience) -> None:
        self._audience = audience

    def looks_at(self, progress: Progress) -> Sequence[Track]:
        return () if self._between(progress) else self._audience.looks_at(progress)

    def show(self, progress: Progress) -> None:
        if not self._between(progress):
            self._audience.show(progress)

    @staticmethod
    def _between(progress: Progress) -> bool:
        return progress.closed and progress.done < progress.planned


def boundaries(steps: int, evaluations: int) -> list[int]:
    """Return the steps whose checkpoints are evaluated on the way, at equal distances.

    Args:
        steps: Of the whole training; its end has an evaluation of its own.
        evaluations: How many on the way.
    """
    parts = evaluations + 1
    marks = {round(steps * part / parts) for part in range(1, parts)}
    return sorted(marks - {0, steps})


def prepare(directory: RunDirectory, record: Record, command: Sequence[str]) -> str:
    """Make the sweep of one trial where there is none yet; return the trial's id.

    Raises:
        StorageError: What is there is damaged.
    """
    check_startable(directory)
    if not directory.ledger.exists():
        config = record.training_config(directory)
        plan = plan_of_configs(record.name, [(config, {})], Objective(), record.sources)
        sweep.create(plan, directory, ["arbiter", *command])
    return trial_of(directory).id


def trial_of(directory: RunDirectory) -> TrialRecord:
    """Return the one trial of a pipeline, as its ledger has it."""
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        return ledger.trials()[0]


def train(
    directory: RunDirectory,
    record: Record,
    hardware: Hardware,
    execution: Execution,
    *,
    notify: Notify,
    audience: Callable[[], contextlib.AbstractContextManager[Audience]],
) -> TrialRecord:
    """Train to the end, or to a failure; the caller holds the lock.

    Raises:
        Unfinished: A limit or a signal stopped it; nothing is lost.
    """
    with audience() as shown:
        return _train(directory, record, hardware, execution, notify, Uncut(shown))


def _train(
    directory: RunDirectory,
    record: Record,
    hardware: Hardware,
    execution: Execution,
    notify: Notify,
    audience: Audience,
) -> TrialRecord:
    config, trial = record.training_config(directory), trial_of(directory)
    began_at = record.attempts[-1].started_at
    for mark in [*boundaries(config.training.steps, record.asked.evaluations), None]:
        if mark is not None and read_evaluation(directory, name_of(mark)) is not None:
            continue
        if trial.pending:
            trial = _segment(
                directory, config, mark, began_at, hardware, execution, notify, audience
            )
        if trial.reason is Reason.FINISHED or (trial.reason and trial.reason.failure):
            return trial
        assert mark is not None
        if trial.step > mark and not checkpoint_of(directory, trial.id, mark).is_dir():
            notify(f"step {mark}: no evaluation, and its checkpoint is no longer kept")
            continue
        notify(f"step {mark} of {config.training.steps}: evaluating its checkpoint")
        evaluate_checkpoint(directory, trial.id, mark, config, name_of(mark), notify=notify)
    return trial


def _segment(
    directory: RunDirectory,
    config: RunConfig,
    mark: int | None,
    began_at: float,
    hardware: Hardware,
    execution: Execution,
    notify: Notify,
    audience: Audience,
) -> TrialRecord:
    """Train to a step, or to the end; raise where something else stopped it."""
    limited = _limited(config, mark, time.time() - began_at)
    if limited is None:
        minutes = config.limits.wall_clock_minutes
        raise Unfinished(f"wall clock: limits.wall_clock_minutes is {minutes:g}")
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        wanted = with_lowered_tiers(ledger, {trial_of(directory).id: limited})
    outcome = sweep.carry_on(
        directory,
        hardware,
        execution,
        wanted,
        notify=lambda line: None if OF_SEGMENTS.match(line) else notify(line),
        audience=audience,
    )
    (trial,) = outcome.trials
    reached = mark is not None and trial.reason is Reason.BUDGET and trial.step >= mark
    if trial.pending and not reached:
        raise Unfinished(f"{trial.label}: {trial.detail}" if trial.detail else trial.label)
    return trial


def _limited(config: RunConfig, mark: int | None, elapsed_s: float) -> RunConfig | None:
    """Return the config of a segment; None where its time is over before it begins.

    `limits.wall_clock_minutes` is of one attempt, which here is all its segments and evaluations.
    """
    limits = config.limits.model_dump()
    stops = [step for step in (mark, config.limits.stop_after_steps) if step is not None]
    limits["stop_after_steps"] = min(stops, default=None)
    if (minutes := config.limits.wall_clock_minutes) is not None:
        if elapsed_s / 60 >= minutes:
            return None
        limits["wall_clock_minutes"] = minutes - elapsed_s / 60
    return RunConfig.model_validate(config.model_dump() | {"limits": limits})

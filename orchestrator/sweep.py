"""The life of a sweep: from plan to leaderboard, first start or resume.

Both are one path. A sweep is made (`create`) and then carried on (`carry_on`): the trials
that the ledger calls ended are left alone, the others start from their last valid checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.cohort import CohortQueue, pack
from orchestrator.errors import Exit, Problem, UsageError
from orchestrator.executors import Execution, Job, make_executor
from orchestrator.hardware import Hardware
from orchestrator.layout import (
    RunDirectory,
    find_same_sweep,
    new_run_directory,
    write_whole,
)
from orchestrator.leaderboard import Leaderboard, build, write_leaderboard
from orchestrator.ledger import Ledger, State, TrialRecord
from orchestrator.objective import Objective
from orchestrator.plan import Plan
from orchestrator.progress import Progress
from orchestrator.provenance import provenance
from orchestrator.signals import StopRequest
from orchestrator.watch import Audience, Nobody, Watch
from trainer.config import TierConfig

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a sweep ended.

    Args:
        directory: Where everything is.
        trials: As the ledger has them now.
        trained: Trials that were started in this attempt.
        board: The leaderboard, as it was written.
    """

    directory: RunDirectory
    trials: list[TrialRecord]
    trained: int
    board: Leaderboard

    @property
    def exit_code(self) -> Exit:
        """Return what the process says with its exit status."""
        if any(trial.pending for trial in self.trials):
            return Exit.INTERRUPTED
        if any(trial.reason is not None and trial.reason.failure for trial in self.trials):
            return Exit.FAILED_TRIALS
        return Exit.OK


def place(plan: Plan, root: Path, fresh: bool) -> RunDirectory:
    """Return where the plan's sweep is or will be; nothing is written.

    The same plan goes on in the directory it has: what was trained is not trained again.

    Args:
        plan: What to do.
        root: Folder of all run directories.
        fresh: Start anew, even if the sweep exists.
    """
    existing = None if fresh else find_same_sweep(root, plan.hash)
    return existing or new_run_directory(root, plan.name, plan.hash)


def create(plan: Plan, directory: RunDirectory, command: Sequence[str]) -> None:
    """Write what a sweep is before anything runs. The caller holds the lock."""
    records = [
        TrialRecord(
            id=trial.id,
            position=trial.position,
            point_id=trial.point_id,
            seed=trial.seed,
            changed=trial.changed,
            config=trial.config.model_dump(mode="json"),
            parameters=trial.parameters,
            flops=trial.flops,
        )
        for trial in plan.trials
    ]
    sweep = {"name": plan.name, "hash": plan.hash, "objective": asdict(plan.objective)}
    Ledger.create(directory.ledger, sweep, records)
    write_whole(directory.provenance, provenance(command, plan.data_hashes))
    write_whole(directory.plan, plan.to_json())


def run(
    plan: Plan,
    directory: RunDirectory,
    hardware: Hardware,
    execution: Execution,
    *,
    command: Sequence[str],
    notify: Notify,
    audience: Audience | None = None,
) -> Outcome:
    """Start the plan's sweep, or carry it on where it exists.

    Args:
        plan: What to do.
        directory: Where (`place`).
        hardware: What may be used.
        execution: How trials are run.
        command: What was typed, for the record.
        notify: Takes what a person has to be told, a line at a time.
        audience: Is shown how far the sweep is.

    Raises:
        LockedError: Another process writes to the directory.
    """
    directory.path.mkdir(parents=True, exist_ok=True)
    with directory.locked():
        if not directory.ledger.exists():
            create(plan, directory, command)
        return carry_on(directory, hardware, execution, notify=notify, audience=audience)


def resume(
    directory: RunDirectory,
    hardware: Hardware,
    execution: Execution,
    *,
    notify: Notify,
    audience: Audience | None = None,
) -> Outcome:
    """Carry an interrupted sweep on from its ledger.

    Raises:
        LockedError: Another process writes to the directory.
        UsageError: A trial does not fit on this machine.
    """
    with directory.locked():
        return carry_on(directory, hardware, execution, notify=notify, audience=audience)


def carry_on(
    directory: RunDirectory,
    hardware: Hardware,
    execution: Execution,
    *,
    notify: Notify,
    audience: Audience | None = None,
) -> Outcome:
    """Run the trials that have not ended and write the leaderboard. The caller holds the lock."""
    with contextlib.closing(Ledger.open(directory.ledger)) as ledger:
        sweep = ledger.sweep()
        objective = Objective(**sweep["objective"])
        trials = ledger.trials()
        left = [trial for trial in trials if trial.pending]
        _check_fits(left, hardware)
        begun = [t.id for t in left if t.state is not State.WAITING]
        ledger.requeue(begun, "resumed", "")
        waiting = ledger.trials() if begun else trials
        attempts = {trial.id: trial.attempts for trial in trials}
        if left:
            todo = f"{len(left)} of {counted(len(attempts), 'trial')} to train"
            ledger.record("began", f"{todo}, process {os.getpid()}, {execution.executor}")
    if left:
        runner = make_executor(execution.executor)
        workers = _workers(left, hardware) if runner.concurrent else 1
        cohorts = pack(left, workers, execution.cohort_size)
        how = f"{workers} at a time ({execution.executor})"
        notify(f"{todo} in {counted(len(cohorts), 'cohort')}, {how}")
        progress = Progress(sweep["name"], objective, waiting)
        with (
            StopRequest(directory.stop_file, notify) as stop,
            Watch(directory, progress, notify, audience or Nobody()),
        ):
            runner.run(Job(directory, CohortQueue(cohorts), hardware, execution, stop))
        with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
            trials = ledger.trials()
    board = build(trials, objective, title=directory.path.name, run_directory=directory.shown())
    write_leaderboard(directory.path, board)
    directory.stop_file.unlink(missing_ok=True)
    shutil.rmtree(directory.scratch, ignore_errors=True)
    return Outcome(directory, trials, sum(t.attempts > attempts[t.id] for t in trials), board)


def counted(n: int, noun: str) -> str:
    """Return `1 trial`, `2 trials`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _check_fits(trials: Sequence[TrialRecord], hardware: Hardware) -> None:
    refusals: dict[str, Problem] = {}
    for trial in trials:
        refusal = hardware.refuse(TierConfig.model_validate(trial.config["tier"]))
        if refusal is not None:
            refusals.setdefault(refusal, Problem(f"trial {trial.id}: {refusal}"))
    if refusals:
        raise UsageError(*refusals.values())


def _workers(trials: Sequence[TrialRecord], hardware: Hardware) -> int:
    """Return how many cohorts the machine runs at once, by the first trial's share."""
    tier = TierConfig.model_validate(trials[0].config["tier"])
    if tier.device == "cuda":
        return max(1, int(len(hardware.gpus) / tier.gpus))
    return max(1, hardware.cpus // tier.cpus)

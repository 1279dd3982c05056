"""The life of a sweep: from plan to leaderboard, first start or resume.

Both are one path. A sweep is made (`create`) and then carried on (`carry_on`): the trials
that the ledger calls ended are left alone, the others start from their last valid checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.cohort import CohortQueue, pack, workers_for
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
from orchestrator.reuse import Earlier, adopt
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


def create(
    plan: Plan,
    directory: RunDirectory,
    command: Sequence[str],
    reused: Mapping[str, Earlier] | None = None,
) -> None:
    """Write what a sweep is before anything runs. The caller holds the lock."""
    origins = {trial_id: earlier.run for trial_id, earlier in (reused or {}).items()}
    sweep = {"name": plan.name, "hash": plan.hash, "objective": asdict(plan.objective)}
    Ledger.create(directory.ledger, sweep, [trial.record() for trial in plan.trials])
    write_whole(directory.provenance, provenance(command, plan.data_hashes))
    write_whole(directory.plan, plan.to_json(origins))


def run(
    plan: Plan,
    directory: RunDirectory,
    hardware: Hardware,
    execution: Execution,
    *,
    command: Sequence[str],
    notify: Notify,
    audience: Audience | None = None,
    reused: Mapping[str, Earlier] | None = None,
) -> Outcome:
    """Start the plan's sweep, or carry it on where it exists.

    Args:
        plan: What to do.
        directory: Where, from `place`.
        hardware: What may be used.
        execution: How trials are run.
        command: The program's arguments, for the record.
        notify: Takes what a person has to be told, a line at a time.
        audience: Is shown how far the sweep is.
        reused: Trials that another run has finished; they are taken over, not trained.

    Raises:
        LockedError: Another process writes to the directory.
    """
    directory.path.mkdir(parents=True, exist_ok=True)
    with directory.locked():
        if not directory.ledger.exists():
            create(plan, directory, command, reused)
        if reused and (n := adopt(directory, reused)):
            runs = len({earlier.run for earlier in reused.values()})
            notify(f"{counted(n, 'trial')} reused from {counted(runs, 'other run')}")
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
        described = ledger.sweep()
        objective = Objective(**described["objective"])
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
        workers = workers_for(left[0], hardware) if runner.concurrent else 1
        cohorts = pack(left, workers, execution.cohort_size, described["name"])
        how = f"{workers} at a time ({execution.executor})"
        notify(f"{todo} in {counted(len(cohorts), 'cohort')}, {how}")
        progress = Progress(described["name"], objective, waiting)
        with (
            StopRequest(directory.stop_file, notify) as stop,
            Watch(directory, progress, notify, audience or Nobody()),
        ):
            runner.run(Job(directory, CohortQueue(cohorts), hardware, execution, stop, notify))
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

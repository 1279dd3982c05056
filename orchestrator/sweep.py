"""The life of a sweep: from plan to leaderboard, first start or resume.

Both are one path. A sweep is made (`create`) and then carried on (`carry_on`): the trials
that the ledger calls ended are left alone, the others start from their last valid checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from orchestrator.automatic import misfits
from orchestrator.cohort import CohortQueue, pack, workers_for
from orchestrator.errors import Exit, Problem, UsageError
from orchestrator.executors import Execution, Job, make_executor
from orchestrator.fitting import config_of
from orchestrator.hardware import Hardware
from orchestrator.launch import RETRIED, Launch
from orchestrator.layout import (
    RunDirectory,
    find_same_sweep,
    new_run_directory,
    write_whole,
)
from orchestrator.leaderboard import Comparison, Leaderboard, build, write_leaderboard
from orchestrator.ledger import Ledger, State, TrialRecord
from orchestrator.lessons import with_lowered_tiers
from orchestrator.objective import Objective
from orchestrator.plan import Plan
from orchestrator.progress import Progress
from orchestrator.provenance import provenance
from orchestrator.reuse import Earlier, adopt
from orchestrator.revision import Change, Revision, changes, deciding_changes, described
from orchestrator.signals import StopRequest
from orchestrator.verify import check_startable
from orchestrator.watch import Audience, Nobody, Watch
from trainer.config import RunConfig, TierConfig

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a sweep ended.

    Args:
        directory: Where everything is.
        trials: As the ledger has them now.
        trained: Trials that were started in this attempt.
        board: The leaderboard, as it was written.
        ablation: Whether its points are the variants of an ablation.
    """

    directory: RunDirectory
    trials: list[TrialRecord]
    trained: int
    board: Leaderboard
    ablation: bool = False

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

    Raises:
        StorageError: What is there is damaged.
    """
    existing = None if fresh else find_same_sweep(root, plan.hash)
    if existing is not None:
        check_startable(existing)
    return existing or new_run_directory(root, plan.name, plan.hash)


def create(
    plan: Plan,
    directory: RunDirectory,
    command: Sequence[str],
    reused: Mapping[str, Earlier] | None = None,
    forked_from: str | None = None,
) -> None:
    """Write what a sweep is before anything runs. The caller holds the lock.

    The ledger comes last: a directory that has one is a sweep, and complete.
    """
    origins = {trial_id: earlier.run for trial_id, earlier in (reused or {}).items()}
    sweep = {"name": plan.name, "hash": plan.hash, "objective": asdict(plan.objective)}
    sweep |= {} if plan.baseline is None else {"baseline": plan.baseline}
    sweep |= {} if plan.ablation is None else {"ablation": plan.ablation.model_dump()}
    write_whole(directory.provenance, provenance(command, plan.data_hashes, forked_from))
    write_whole(directory.plan, plan.to_json(origins))
    Ledger.create(directory.ledger, sweep, [trial.record() for trial in plan.trials])


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
    forked_from: str | None = None,
) -> Outcome:
    """Start the plan's sweep, or carry it on where it exists.

    What the plan says now of how trials are run holds for those that have not ended.

    Args:
        plan: What to do.
        directory: Where, from `place`.
        hardware: What may be used.
        execution: How trials are run.
        command: The program and its arguments, for the record.
        notify: Takes what a person has to be told, a line at a time.
        audience: Is shown how far the sweep is.
        reused: Trials that another run has finished; they are taken over, not trained.
        forked_from: Name of the run whose trials these were before settings were changed.

    Raises:
        LockedError: Another process writes to the directory.
        StorageError: What is there is damaged; nothing was written.
    """
    _check_fits([trial.record() for trial in plan.trials], hardware)
    if directory.path.exists():
        check_startable(directory)
    directory.path.mkdir(parents=True, exist_ok=True)
    with directory.locked():
        if not directory.ledger.exists():
            create(plan, directory, command, reused, forked_from)
        if reused and (n := adopt(directory, reused)):
            runs = len({earlier.run for earlier in reused.values()})
            notify(f"{counted(n, 'trial')} reused from {counted(runs, 'other run')}")
        with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
            planned = {trial.id: trial.config for trial in plan.trials}
            wanted = with_lowered_tiers(ledger, planned)
            before = ledger.sweep().get("ablation")
        if plan.ablation is not None and before != (now := plan.ablation.model_dump()):
            with contextlib.closing(Ledger.open(directory.ledger)) as ledger:
                ledger.describe("ablation", now)
        return carry_on(directory, hardware, execution, wanted, notify=notify, audience=audience)


def resume(
    directory: RunDirectory,
    hardware: Hardware,
    execution: Execution,
    revision: Revision | None = None,
    *,
    notify: Notify,
    audience: Audience | None = None,
) -> Outcome:
    """Carry an interrupted sweep on from its ledger.

    Args:
        directory: Where it is.
        hardware: What may be used.
        execution: How its trials are run.
        revision: Settings to change for the trials that have not ended.
        notify: Takes what a person has to be told, a line at a time.
        audience: Is shown how far the sweep is.

    Raises:
        LockedError: Another process writes to the directory.
        StorageError: The record is damaged; nothing was written.
        UsageError: A trial does not fit on this machine, or the revision would make another
            trial of one; nothing was written.
    """
    check_startable(directory)
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        trials = ledger.trials()
    wanted = _revised(directory, trials, revision) if revision else {}
    left = _with_configs([trial for trial in trials if trial.pending], wanted)
    _check_fits(left, hardware)
    with directory.locked():
        return carry_on(directory, hardware, execution, wanted, notify=notify, audience=audience)


def _revised(
    directory: RunDirectory, trials: Sequence[TrialRecord], revision: Revision
) -> dict[str, RunConfig]:
    """Return the trials' run configs under a revision.

    Raises:
        UsageError: A setting would change what is learned.
    """
    wanted: dict[str, RunConfig] = {}
    refused: list[dict[str, Change]] = []
    for trial in trials:
        before = RunConfig.model_validate(trial.config)
        wanted[trial.id] = revision.over(before)
        refused.append(deciding_changes(before, wanted[trial.id], trial.id))
    if lines := described(refused):
        message = "these settings decide what is learned, a resume cannot change them:"
        again = f"arbiter resume {shlex.join([directory.shown(), *revision.typed])} --fork"
        raise UsageError(
            Problem(
                "\n    ".join([message, *lines]),
                directory.shown(),
                f"{again} starts a new sweep with them",
            )
        )
    return wanted


def carry_on(
    directory: RunDirectory,
    hardware: Hardware,
    execution: Execution,
    wanted: Mapping[str, RunConfig],
    *,
    notify: Notify,
    audience: Audience | None = None,
) -> Outcome:
    """Run the trials that have not ended and write the leaderboard. The caller holds the lock.

    Args:
        directory: Where the sweep is.
        hardware: What may be used.
        execution: How its trials are run.
        wanted: Run configs in place of the ledger's, for trials that have not ended.
        notify: Takes what a person has to be told, a line at a time.
        audience: Is shown how far the sweep is.
    """
    with contextlib.closing(Ledger.open(directory.ledger)) as ledger:
        recorded = ledger.sweep()
        objective = Objective(**recorded["objective"])
        launch = Launch.of(recorded)
        trials = ledger.trials()
        attempts = {trial.id: trial.attempts for trial in trials}
        left = _with_configs([trial for trial in trials if trial.pending], wanted)
        revised = _revise(ledger, trials, left)
        for line in revised:
            notify(f"changed: {line}")
        begun = [t.id for t in left if t.state is not State.WAITING]
        ledger.requeue(begun, "resumed", "")
        again = _tried_again(ledger, trials, launch, notify)
        waiting = ledger.trials() if begun or revised or again else trials
        left += _with_configs([trial for trial in waiting if trial.id in again], wanted)
    execution = replace(execution, most_cohorts=launch.most_cohorts or execution.most_cohorts)
    while left:
        progress = Progress(recorded["name"], objective, waiting)
        seen_by = audience or Nobody()
        stopped = _train(
            directory, hardware, execution, launch.ordered(left), progress, notify, seen_by
        )
        # The last to close as a writer: SQLite then puts all of it into the one file.
        with contextlib.closing(Ledger.open(directory.ledger)) as ledger:
            trials = ledger.trials()
            again = [] if stopped else _tried_again(ledger, trials, launch, notify)
            waiting = ledger.trials() if again else trials
        left = [trial for trial in waiting if trial.id in again]
    board = build(
        trials,
        objective,
        title=directory.path.name,
        run_directory=directory.shown(),
        comparison=Comparison.of(recorded),
    )
    write_leaderboard(directory.path, board)
    directory.stop_file.unlink(missing_ok=True)
    shutil.rmtree(directory.scratch, ignore_errors=True)
    trained = sum(t.attempts > attempts[t.id] for t in trials)
    return Outcome(directory, trials, trained, board, "ablation" in recorded)


def _train(
    directory: RunDirectory,
    hardware: Hardware,
    execution: Execution,
    left: Sequence[TrialRecord],
    progress: Progress,
    notify: Notify,
    audience: Audience,
) -> bool:
    """Train trials that wait; return whether somebody asked to stop."""
    runner = make_executor(execution.executor)
    workers = workers_for(left[0], hardware) if runner.concurrent else 1
    workers = min(workers, execution.most_cohorts or workers)
    cohorts = pack(left, workers, execution.cohort_size, progress.name, hardware)
    todo = f"{len(left)} of {counted(progress.planned, 'trial')} to train"
    with contextlib.closing(Ledger.open(directory.ledger)) as ledger:
        ledger.record("began", f"{todo}, process {os.getpid()}, {execution.executor}")
    how = f"{workers} at a time ({execution.executor})"
    notify(f"{todo} in {counted(len(cohorts), 'cohort')}, {how}")
    with (
        StopRequest(directory.stop_file, notify) as stop,
        Watch(directory, progress, notify, audience),
    ):
        runner.run(Job(directory, CohortQueue(cohorts), hardware, execution, stop, notify))
        return stop()


def _tried_again(
    ledger: Ledger, trials: Sequence[TrialRecord], launch: Launch, notify: Notify
) -> list[str]:
    """Let failed trials wait again, as often as the sweep says; return their ids."""
    again = launch.again(trials, ledger.events(kinds=(RETRIED,)))
    ledger.requeue(again, RETRIED, "")
    if again:
        notify(f"{counted(len(again), 'failed trial')} tried again")
    return again


def _with_configs(
    trials: Sequence[TrialRecord], wanted: Mapping[str, RunConfig]
) -> list[TrialRecord]:
    return [
        replace(trial, config=wanted[trial.id].model_dump(mode="json"))
        if trial.id in wanted
        else trial
        for trial in trials
    ]


def _revise(
    ledger: Ledger, before: Sequence[TrialRecord], after: Sequence[TrialRecord]
) -> list[str]:
    """Write the run configs that differ from the ledger's; return what changed."""
    old = {trial.id: trial.config for trial in before}
    changed = {trial.id: trial.config for trial in after if trial.config != old[trial.id]}
    if not changed:
        return []
    lines = described(
        changes(RunConfig.model_validate(old[key]), RunConfig.model_validate(config))
        for key, config in changed.items()
    )
    ledger.revise(changed, "; ".join(lines))
    return lines


def counted(n: int, noun: str) -> str:
    """Return `1 trial`, `2 trials`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _check_fits(trials: Sequence[TrialRecord], hardware: Hardware) -> None:
    """Refuse trials that cannot run here, before anything is written."""
    refusals: dict[str, Problem] = {}
    for trial in trials:
        refusal = hardware.refuse(TierConfig.model_validate(trial.config["tier"]))
        if refusal is not None:
            refusals.setdefault(refusal, Problem(f"trial {trial.id}: {refusal}", "", _FITTING))
    problems = [*refusals.values()] or misfits(_sized(trials), hardware)
    if problems:
        raise UsageError(*problems)


def _sized(trials: Sequence[TrialRecord]) -> Iterator[tuple[str, RunConfig, int]]:
    """Yield the id, the config and the input symbols of the trials whose size is known."""
    for trial in trials:
        known = config_of(trial)
        if known is not None:
            yield trial.id, *known


_FITTING = "tier=auto takes what fits here"

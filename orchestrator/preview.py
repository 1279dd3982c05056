"""What a plan will do here, before anything runs: what is left of it, and what that costs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from orchestrator.automatic import misfits
from orchestrator.calibration import calibrate
from orchestrator.errors import Problem, UsageError
from orchestrator.executors import Execution
from orchestrator.forecast import Forecast, disk_problem, make_forecast
from orchestrator.hardware import Hardware
from orchestrator.layout import RunDirectory, free_bytes
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan
from orchestrator.reuse import Earlier, find_earlier


@dataclass(frozen=True)
class Preview:
    """A plan against this machine and the runs that there are.

    Args:
        plan: What was asked for.
        reused: Trials that another run has finished.
        forecast: What the others cost.
        notes: What a person should know, the plan's own notes first.
        faults: What `--strict` refuses; each is a note too.
        misfits: Trials left to train that do not fit in the memory here.
    """

    plan: Plan
    reused: dict[str, Earlier]
    forecast: Forecast
    notes: list[str]
    faults: list[Problem]
    misfits: list[Problem]

    def refuse_faults(self) -> None:
        """Raise what a strict person does not want to begin with.

        Raises:
            UsageError: There are duplicates, checkpoints will not fit on the disk, or trials not in
                the memory.
        """
        if self.faults or self.misfits:
            raise UsageError(*self.faults, *self.misfits)

    def refuse_misfits(self) -> None:
        """Raise what cannot be trained here.

        Raises:
            UsageError: Trials do not fit in the memory.
        """
        if self.misfits:
            raise UsageError(*self.misfits)


def preview(
    plan: Plan,
    hardware: Hardware,
    directory: RunDirectory,
    execution: Execution,
    *,
    reuse: str | None = None,
    calibrated: bool = False,
) -> Preview:
    """Look at what a plan would do; nothing is written.

    Args:
        plan: From `make_plan`.
        hardware: What may be used.
        directory: Where its sweep is or will be, from `sweep.place`.
        execution: How trials would be run.
        reuse: A run, or `reuse.AUTO`, whose finished trials need not be trained.
        calibrated: Time a few steps here instead of going by the rule of thumb.

    Raises:
        UsageError: No run has the name in `reuse`.
        StorageError: A ledger that is needed is damaged.
    """
    own = {}
    begun = directory.ledger.exists()
    if begun:
        with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
            own = {record.id: record for record in ledger.trials()}
    root = directory.path.parent
    reused: dict[str, Earlier] = {}
    notes = list(plan.notes)
    if reuse is not None:
        ended = {trial_id for trial_id, record in own.items() if not record.pending}
        left = [trial for trial in plan.trials if trial.id not in ended]
        reused, said = find_earlier(left, reuse, root, directory if begun else None)
        notes += said
    left = [
        trial
        for trial in plan.trials
        if trial.id not in reused and (trial.id not in own or own[trial.id].pending)
    ]
    calibration = None
    if calibrated:
        calibration = calibrate(left, hardware)
        notes += calibration.left_out
    forecast = make_forecast(
        plan.trials,
        hardware,
        free_bytes=free_bytes(root),
        own=own,
        reused={trial_id: earlier.run for trial_id, earlier in reused.items()},
        calibration=calibration,
        executor=execution.executor,
        cohort_size=execution.cohort_size,
        most_cohorts=execution.most_cohorts,
    )
    faults = []
    if plan.duplicates:
        n = f"{plan.duplicates} duplicate trial{'s' if plan.duplicates > 1 else ''}"
        hint = "list each value of an axis once, in [space] or on the command line"
        faults.append(Problem(f"got {n}, expected none", "--strict", hint))
    full = disk_problem(forecast, f"runs folder {root}")
    if full is not None:
        notes.append(str(full))
        faults.append(full)
    tight = misfits([(trial.id, trial.config, trial.vocab_size) for trial in left], hardware)
    return Preview(plan, reused, forecast, notes, faults, tight)

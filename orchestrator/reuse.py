"""Trials that finished in another run and need not be trained again.

The id says that the same would be learned. It leaves out how a run is executed and watched, and
where it may end early; of that, all that the record of a trial would show is compared here.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from orchestrator.errors import StorageError
from orchestrator.events import write_events
from orchestrator.layout import RunDirectory, all_runs, find_run, name_of, write_whole
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.referee import snapshot
from orchestrator.trial import Trial
from trainer.config import RunConfig
from trainer.identity import hashed_settings

AUTO = "auto"
"""Instead of a run: all runs of the runs folder."""

ARITHMETIC = ("device", "precision", "attention", "micro_batch")
"""Fields of a tier that change the last digits of a result, and precision more than those."""


@dataclass(frozen=True)
class Earlier:
    """A trial that finished in another run.

    Args:
        record: As that run's ledger has it.
        directory: That run's.
        run: Name of the run that trained it: that one, or the one it had it from.
    """

    record: TrialRecord
    directory: RunDirectory
    run: str


def find_earlier(
    trials: Sequence[Trial], given: str, root: Path, own: RunDirectory | None
) -> tuple[dict[str, Earlier], list[str]]:
    """Find the trials of a plan that finished in other runs, the newest run first.

    Args:
        trials: The plan's.
        given: Path or name of a run, or `AUTO`.
        root: The runs folder.
        own: The plan's own run, where it exists: it is no other run.

    Returns:
        Trials by id, and notes: what was found and is not reused, which ledgers are damaged.

    Raises:
        UsageError: There is no run of that name.
        StorageError: Its ledger is damaged.
    """
    runs = all_runs(root) if given == AUTO else [find_run(given)]
    if own is not None:
        runs = [run for run in runs if run.path != own.path]
    found: dict[str, Earlier] = {}
    notes: list[str] = []
    refused: dict[str, str] = {}
    for run in runs:
        wanted = {trial.id: trial for trial in trials if trial.id not in found}
        try:
            for earlier in _finished(run, root, wanted):
                trial = wanted[earlier.record.id]
                difference = _difference(trial.config, earlier, root)
                if difference is None:
                    found[trial.id] = earlier
                else:
                    refused.setdefault(trial.id, f"{difference} (run {earlier.run})")
        except StorageError as error:
            if given != AUTO:
                raise
            notes.append(f"--reuse passes over {error.problems[0]}")
    reasons = Counter(why for trial_id, why in refused.items() if trial_id not in found)
    for why, n in reasons.items():
        notes.append(f"{n} finished trial{'s are' if n > 1 else ' is'} not reused: {why}")
    return found, notes


def adopt(directory: RunDirectory, found: Mapping[str, Earlier]) -> int:
    """Write into a run's ledger what is reused, and say so in its events.

    Args:
        directory: Its ledger exists; the caller holds the lock.
        found: From `find_earlier`. Trials that have ended here already stay as they are.

    Returns:
        How many trials were taken over.
    """
    with contextlib.closing(Ledger.open(directory.ledger)) as ledger:
        wanted = {t.id: t for t in ledger.trials() if t.pending and t.id in found}
        for trial_id, record in wanted.items():
            directory.trial(trial_id).mkdir(parents=True, exist_ok=True)
            config = RunConfig.model_validate(record.config)
            write_whole(directory.config(trial_id), snapshot(trial_id, config))
        by_run: dict[Path, list[Earlier]] = {}
        for trial_id in wanted:
            earlier = found[trial_id]
            by_run.setdefault(earlier.directory.path, []).append(earlier)
        with ledger.transaction():
            for same in by_run.values():
                with contextlib.closing(Ledger.read(same[0].directory.ledger)) as theirs:
                    for earlier in same:
                        rows = theirs.rows(earlier.record.id)
                        ledger.adopt(earlier.record, rows, earlier.run)
        events = ledger.events()
    write_events(directory.events, events)
    return len(wanted)


def _finished(run: RunDirectory, root: Path, wanted: Mapping[str, Trial]) -> Iterator[Earlier]:
    """Yield the trials of a run that finished and are wanted."""
    with contextlib.closing(Ledger.read(run.ledger)) as ledger:
        origins = ledger.origins()
        for trial_id in sorted(ledger.finished() & wanted.keys()):
            record = ledger.trial(trial_id)
            ledger.rows(trial_id)  # damage is found before anything is taken over
            origin = origins.get(trial_id)
            if origin is not None:  # the words on where it is from are said anew
                kept = record.detail.removesuffix(f"reused from {origin}").removesuffix("; ")
                record = replace(record, detail=kept)
            yield Earlier(record, run, origin or name_of(run, root))


def _difference(config: RunConfig, earlier: Earlier, root: Path) -> str | None:
    """Return why training again would leave another record than the earlier one, or None."""
    try:
        before = RunConfig.model_validate(earlier.record.config)
    except ValidationError:
        return "another version of arbiter wrote it"
    if hashed_settings(before) != hashed_settings(config):
        return "its config in the ledger is not the one of its id"
    for key in ARITHMETIC:
        there, here = getattr(before.tier, key), getattr(config.tier, key)
        if there != here:
            return f"tier.{key} is {there} there, {here} here"
    if before.limits.stop_when_generalised != config.limits.stop_when_generalised:
        there, here = before.limits.stop_when_generalised, config.limits.stop_when_generalised
        return f"limits.stop_when_generalised is {there} there, {here} here".lower()
    stop, steps = config.limits.stop_after_steps, config.training.steps
    if stop is not None and stop < steps:
        return f"limits.stop_after_steps {stop} ends it before its {steps} steps"
    if config.logging.log_interval % before.logging.log_interval:
        return (
            f"logging.log_interval is {before.logging.log_interval} there,"
            f" {config.logging.log_interval} here: rows are missing"
        )
    for key in ("track_grad_norms", "track_weight_norms"):
        if getattr(config.logging, key) and not getattr(before.logging, key):
            return f"logging.{key} is false there, true here"
    if config.checkpoint.enable:
        trained_in = root / earlier.run  # an absolute path stays itself
        folder = RunDirectory(trained_in).trial(earlier.record.id) / "checkpoints"
        if not any(folder.glob("step-*")):
            return "its checkpoint is gone, and checkpoint.enable is true here"
    return None

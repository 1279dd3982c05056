"""What a trial's id depends on, and what made the trial new."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import Problem, StorageError, UsageError
from orchestrator.layout import RunDirectory, all_runs, name_of
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.toml_file import flatten
from trainer.config import RunConfig
from trainer.identity import hashed_settings, id_of

DATA, CODE = "content of the data (SHA-256)", "version of the code that trains"
"""What the id depends on beside settings."""


@dataclass(frozen=True)
class Known:
    """A trial with what its id is made of.

    Args:
        run: The name of its run.
        record: As the ledger has it.
        decides: Dotted keys, `DATA` and `CODE` to their values. The last two are None where the
            run's provenance no longer gives the id.
    """

    run: str
    record: TrialRecord
    decides: dict[str, Any]


@dataclass(frozen=True)
class Neighbour:
    """An earlier trial, and what differs from it: key to (its value, the value now)."""

    trial: Known
    differences: dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Explanation:
    """What a trial is.

    Args:
        trial: The one that was asked for.
        free: Settings that are not in the id, with their values.
        twins: The same trial in earlier runs, the newest first.
        elsewhere: The nearest trial of the earlier runs; None where there is none.
        before: The nearest of those that stand before it in its own plan; None if it is the first.
        notes: Ledgers that could not be read.
    """

    trial: Known
    free: dict[str, Any]
    twins: tuple[Known, ...]
    elsewhere: Neighbour | None
    before: Neighbour | None
    notes: tuple[str, ...]


def explain(directory: RunDirectory, trial_id: str, root: Path) -> Explanation:
    """Say what a trial's id is made of and which earlier trial is the nearest to it.

    Args:
        directory: The trial's run.
        trial_id: From `find_trial`.
        root: The runs folder, where earlier runs are looked for.

    Raises:
        StorageError: The ledger of its run is damaged.
        UsageError: Another version of arbiter wrote its config.
    """
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        began_at = ledger.began_at()
    own = list(_known(directory, root))
    trial = next((known for known in own if known.record.id == trial_id), None)
    if trial is None:
        message = f"another version of arbiter wrote trial {trial_id}"
        raise UsageError(Problem(message, directory.shown()))
    earlier: list[Known] = []
    notes = []
    for run in all_runs(root):
        if run.path != directory.path:
            try:
                with contextlib.closing(Ledger.read(run.ledger)) as ledger:
                    at = ledger.began_at()
                if at is not None and (began_at is None or at < began_at):
                    earlier += _known(run, root)
            except StorageError as error:
                notes.append(f"passed over {error.problems[0]}")
    settings = flatten(trial.record.config)
    return Explanation(
        trial=trial,
        free={k: v for k, v in settings.items() if trial.decides.get(k, _NONE) != v},
        twins=tuple(known for known in earlier if known.record.id == trial_id),
        elsewhere=_nearest(trial, [k for k in earlier if k.record.id != trial_id]),
        before=_nearest(trial, [k for k in own if k.record.position < trial.record.position]),
        notes=tuple(notes),
    )


_NONE = object()


def _known(directory: RunDirectory, root: Path) -> Iterator[Known]:
    """Yield the trials of a run whose configs this version reads."""
    provenance: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(directory.provenance.read_text())
        provenance = found if isinstance(found, dict) else {}
    code, data_hashes = provenance.get("code_version"), provenance.get("data_sha256")
    if type(code) is not int or not isinstance(data_hashes, list):
        code, data_hashes = -1, []
    name = name_of(directory, root)
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        records = ledger.trials()
    for record in records:
        try:
            settings = hashed_settings(RunConfig.model_validate(record.config))
        except ValidationError:
            continue
        data = next((d for d in data_hashes if id_of(settings, d, code) == record.id), None)
        proven = {DATA: data, CODE: None if data is None else code}
        yield Known(name, record, flatten(settings) | proven)


def _nearest(trial: Known, others: list[Known]) -> Neighbour | None:
    """Return the one with the fewest differences; the first of those."""
    neighbours = (Neighbour(other, _differences(other, trial)) for other in others)
    return min(neighbours, key=lambda n: len(n.differences), default=None)


def _differences(before: Known, now: Known) -> dict[str, tuple[Any, Any]]:
    keys = dict.fromkeys([*now.decides, *before.decides])
    pairs = {key: (before.decides.get(key), now.decides.get(key)) for key in keys}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}

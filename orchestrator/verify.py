"""Whether what lies in a run directory is whole and agrees with itself.

`check_startable` is quick and stands before every start: nothing is trained into a damaged
record. `find_damage` looks at everything, for `arbiter doctor RUN`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import Problem, StorageError
from orchestrator.events import to_line
from orchestrator.layout import RunDirectory, read_plan
from orchestrator.leaderboard import Comparison, build, render
from orchestrator.ledger import Event, Ledger, State, TrialRecord
from orchestrator.objective import Objective
from orchestrator.sweep_id import sweep_hash
from trainer.checkpoint_files import complete_checkpoints, verify
from trainer.config import RunConfig
from trainer.identity import CODE_VERSION, trial_and_point_id
from trainer.reporting import Reason


def check_startable(directory: RunDirectory) -> None:
    """Refuse a directory whose plan and ledger are damaged or of two sweeps.

    A directory that has a plan and nothing else is one whose start was cut off; it may start.

    Raises:
        StorageError: Training there would not carry on what it holds. Nothing was written.
    """
    hint = f"arbiter doctor {directory.shown()} says what is whole; sweep --fresh starts anew"
    if not directory.ledger.exists():
        if (directory.path / "trials").exists():
            raise StorageError(Problem("ledger.db is missing", directory.shown(), hint))
        return
    plan = read_plan(directory)
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        described = ledger.sweep()
        ids = ledger.ids()
    if described.get("hash") != plan["hash"] or ids != _ids(plan):
        message = "plan.json and ledger.db are of two different sweeps"
        raise StorageError(Problem(message, directory.shown(), hint))


@dataclass(frozen=True)
class Examination:
    """What was looked at in a run directory, and what is damaged or disagrees with the ledger."""

    problems: list[Problem]
    summary: str = ""


def find_damage(directory: RunDirectory) -> Examination:
    """Look at everything in a run directory.

    Reads only. A sweep that is being written to is looked at as it stands.
    """
    try:
        plan = read_plan(directory)
        with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
            if broken := ledger.damage():
                return Examination([Problem(f"damaged: {line}", "ledger.db") for line in broken])
            sweep, trials, events = ledger.sweep(), ledger.trials(), ledger.events()
            rows = {trial.id: ledger.rows(trial.id) for trial in trials}
    except StorageError as error:
        return Examination(error.problems)
    live = directory.writer() is not None
    problems = [*_plan(plan, sweep, trials), *_identity(directory, trials)]
    checkpoints = 0
    for trial in trials:
        problems += _rows(trial, rows[trial.id])
        problems += [] if live else _snapshot(directory, trial)
        found = complete_checkpoints(directory.trial(trial.id) / "checkpoints")
        problems += _checkpoints(directory, trial, found)
        checkpoints += len(found)
    problems += _events(directory, events, live)
    if not live:
        problems += _leftovers(directory)
        problems += _leaderboard(directory, trials, sweep)
    count = sum(map(len, rows.values()))
    what = f"{len(trials)} trials, {count} rows, {checkpoints} checkpoints, {len(events)} events"
    still = "; a process is writing, so what it renews was left out" if live else ""
    return Examination(problems, f"whole ({what}{still})")


def _ids(plan: dict[str, Any]) -> list[str]:
    return [str(trial["id"]) if isinstance(trial, dict) else "" for trial in plan["trials"]]


def _plan(
    plan: dict[str, Any], sweep: dict[str, Any], trials: Sequence[TrialRecord]
) -> Iterator[Problem]:
    ids = [trial.id for trial in trials]
    if ids != _ids(plan):
        yield Problem("its trials are not those of the ledger", "plan.json")
    made = sweep_hash(ids, sweep["objective"], sweep.get("baseline"))
    for name, found in (("plan.json", plan["hash"]), ("ledger.db", sweep["hash"])):
        if found != made:
            yield Problem(f"the sweep's hash is {found[:10]}, its trials give {made[:10]}", name)


def _identity(directory: RunDirectory, trials: Sequence[TrialRecord]) -> Iterator[Problem]:
    """Make the trials' ids anew from their configs; the data is known by its hash."""
    try:
        made_with = json.loads(directory.provenance.read_text(encoding="utf-8"))
        version, data = made_with["code_version"], list(made_with["data_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        yield Problem("missing or damaged", "provenance.json")
        return
    if version != CODE_VERSION:
        return  # ids of another version of the trainer can be made by that version only
    for trial in trials:
        config = RunConfig.model_validate(trial.config)
        made = [trial_and_point_id(config, content) for content in data]
        if (trial.id, trial.point_id) not in made:
            yield Problem(f"trial {trial.id} has a config that gives another id", "ledger.db")


def _rows(trial: TrialRecord, rows: Sequence[tuple[int, dict[str, float]]]) -> Iterator[Problem]:
    place = f"ledger.db, trial {trial.id}"
    steps = [step for step, _ in rows]
    planned = int(trial.config["training"]["steps"])
    if steps != sorted(set(steps)) or (steps and not 1 <= steps[0] <= steps[-1] <= planned):
        yield Problem(f"rows are not at ascending steps from 1 to {planned}", place)
    if trial.reason is Reason.FINISHED and (not steps or steps[-1] != trial.step):
        last = steps[-1] if steps else "none"
        yield Problem(f"finished at step {trial.step}, its last row is at {last}", place)
    if (trial.state is State.ENDED) != (trial.reason is not None):
        yield Problem(f"state {trial.state} with reason {trial.reason}", place)


def _snapshot(directory: RunDirectory, trial: TrialRecord) -> Iterator[Problem]:
    path = directory.config(trial.id)
    if not path.exists():
        if trial.attempts:
            yield Problem("missing", str(path.relative_to(directory.path)))
        return
    try:
        same = RunConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        if same == RunConfig.model_validate(trial.config) or trial.pending:
            return
        message = "differs from the config in the ledger"
    except (OSError, ValueError, yaml.YAMLError):
        message = "damaged"
    yield Problem(message, str(path.relative_to(directory.path)))


def _checkpoints(
    directory: RunDirectory, trial: TrialRecord, paths: Sequence[Path]
) -> Iterator[Problem]:
    for path in paths:
        try:
            verify(path, trial.id)
        except FileNotFoundError:
            if path.exists():  # else retired while we looked
                yield Problem("a file of it is missing", str(path.relative_to(directory.path)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield Problem(f"damaged: {error}", str(path.relative_to(directory.path)))


def _events(directory: RunDirectory, events: Sequence[Event], live: bool) -> Iterator[Problem]:
    """The file is derived: it may lag behind the ledger, and say nothing else."""
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        yield Problem("the events are not numbered one after the other", "ledger.db")
    try:
        lines = directory.events.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    complete = lines[:-1]
    for number, line in enumerate(complete, start=1):
        expected = to_line(events[number - 1]).encode().rstrip() if number <= len(events) else b""
        if line != expected and not (live and number > len(events)):
            yield Problem("is not what the ledger says", f"events.jsonl:{number}", _MEND)
            return
    if lines[-1] and not live:
        yield Problem("the last line is cut", f"events.jsonl:{len(lines)}", _MEND)


_MEND = "arbiter resume writes it anew from the ledger"


def _leftovers(directory: RunDirectory) -> Iterator[Problem]:
    for path in sorted(directory.path.rglob(".*")):
        if path.name == ".executor" or path.suffix == ".tmp" or path.name.startswith(_DRAFTS):
            shown = str(path.relative_to(directory.path))
            yield Problem("left by a process that was killed", shown, f"rm -r {path}")


_DRAFTS = (".tmp-", ".ledger.db.draft")


def _leaderboard(
    directory: RunDirectory, trials: Sequence[TrialRecord], sweep: dict[str, Any]
) -> Iterator[Problem]:
    if any(trial.pending for trial in trials):
        return  # written again when they have ended
    path = directory.path / "leaderboard.json"
    hint = f"arbiter resume {directory.shown()} writes it anew; nothing is trained"
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        where = there["run_directory"]
    except FileNotFoundError:
        yield Problem("missing", path.name, hint)
        return
    except (OSError, ValueError, KeyError, TypeError):
        yield Problem("damaged", path.name, hint)
        return
    board = build(
        trials,
        Objective(**sweep["objective"]),
        title=directory.path.name,
        run_directory=str(where),
        comparison=Comparison.of(sweep),
    )
    if json.loads(render(board, "json")) != there:
        yield Problem("is not what the ledger gives", path.name, hint)

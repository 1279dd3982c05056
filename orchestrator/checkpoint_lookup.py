"""Which checkpoint a person means, what it was trained with, and where its evaluation is kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from orchestrator.errors import COMMAND_LINE, Problem, UsageError, nearest
from orchestrator.layout import RunDirectory, all_runs, find_run, runs_root, write_whole
from orchestrator.leaderboard import build
from orchestrator.ledger import Ledger
from orchestrator.lookup import find_trial
from orchestrator.objective import Objective
from orchestrator.revision import PATHS, Revision
from trainer.checkpoint_files import complete_checkpoints
from trainer.config import RunConfig
from trainer.errors import InputError
from trainer.evaluation.manifest import config_of, describe
from trainer.identity import trial_id
from trainer.tasks import data_hash

USAGE = "a step-… folder, a trial's folder or id, or a run"


@dataclass(frozen=True)
class Found:
    """A checkpoint, and how it was found.

    Args:
        path: The `step-…` folder, as a person would type it here.
        note: What was chosen where several were meant; empty where the folder was named.
    """

    path: Path
    note: str = ""

    @property
    def trial(self) -> Path | None:
        """The folder of its trial; None where it lies elsewhere."""
        return self.path.absolute().parents[1] if self.path.parent.name == "checkpoints" else None


def find_checkpoint(given: str) -> Found:
    """Return the checkpoint of a path, of a trial (the newest one) or of a run (its leader's).

    Args:
        given: A `step-…` folder, the folder of a trial or of its checkpoints, the folder or the
            name of a run, or a trial's id or the beginning of it.

    Raises:
        UsageError: There is none.
        StorageError: The ledger of the run is damaged.
    """
    path = Path(given).expanduser()
    with contextlib.suppress(OSError):  # a name too long for the file system
        if (path / "manifest.json").exists() or (path.is_dir() and path.name.startswith("step-")):
            return _found(path)
        if (path / "ledger.db").is_file() or (runs_root() / given / "ledger.db").is_file():
            return _leader(find_run(given))
        if path.is_dir():
            return _newest(path if path.name == "checkpoints" else path / "checkpoints", given)
        if path.is_file():
            hint = f"{path.parent} is the checkpoint that it is part of"
            raise UsageError(
                Problem(f"got the file {given!r}, expected {USAGE}", COMMAND_LINE, hint)
            )
    if os.sep in given or given.startswith("step-"):
        there = [p.name for p in complete_checkpoints(path.parent)]
        hint = f"there are {', '.join(there)}" if there else f"expected {USAGE}"
        message = f"no checkpoint {given!r}{nearest(path.name, there)}"
        raise UsageError(Problem(message, COMMAND_LINE, hint))
    root = runs_root()
    names = [run.path.name for run in all_runs(root)]
    try:
        directory, trial = find_trial(given, root, None)
    except UsageError as error:
        _, none, near = error.problems[0].message.partition(f"no trial {given!r}")
        if not none:  # several begin so
            raise
        message = f"no checkpoint, trial or run {given!r}{nearest(given, names) or near}"
        raise UsageError(Problem(message, f"runs folder {root}", f"expected {USAGE}")) from error
    return _newest(directory.trial(trial) / "checkpoints", f"trial {trial}")


def _found(path: Path, note: str = "") -> Found:
    with contextlib.suppress(ValueError):
        path = path.absolute().relative_to(Path.cwd())
    return Found(path, note)


def _newest(folder: Path, what: str) -> Found:
    there = complete_checkpoints(folder)
    if not there:
        message = f"{what} has no checkpoint"
        hint = f"expected {USAGE}; a trial with checkpoint.enable=false keeps none"
        raise UsageError(Problem(message, str(folder), hint))
    return _found(there[-1], f"the newest of {len(there)}" if len(there) > 1 else "")


def _leader(directory: RunDirectory) -> Found:
    """Return the newest checkpoint of the first seed of the point that ranks first."""
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        trials, objective = ledger.trials(), Objective(**ledger.sweep()["objective"])
    if len(trials) == 1:
        return _newest(directory.trial(trials[0].id) / "checkpoints", f"trial {trials[0].id}")
    board = build(trials, objective, title="", run_directory=directory.shown())
    if not board.entries or board.entries[0].rank is None:
        hint = f"arbiter eval TRIAL; arbiter status {directory.shown()} lists them"
        raise UsageError(Problem("no trial of it is ranked yet", directory.shown(), hint))
    leader = board.entries[0].trial_ids[0]
    found = _newest(directory.trial(leader) / "checkpoints", f"the leader, trial {leader},")
    of = f" (the first of {n} seeds)" if (n := len(board.entries[0].trial_ids)) > 1 else ""
    return Found(found.path, f"the leader of {len(trials)} trials, {leader}{of}")


def config_for(found: Found, revision: Revision, sections: Sequence[str]) -> RunConfig:
    """Return what a checkpoint was trained with, with the settings of a revision on top.

    Args:
        found: The checkpoint.
        revision: What was typed. Where data lie may be typed as well: their content is compared.
        sections: The sections that may be changed; they decide nothing of what was learned.

    Raises:
        UsageError: The revision changes what was learned, or nothing says how it was trained.
    """
    typed = {key: place for key, (_, place) in revision.settings.items()}
    typed |= {key: place for key, (_, _, place) in revision.deferred.items()}
    free = " and ".join(f"{section}.*" for section in sections)
    problems = [
        Problem(
            f"{key} cannot be changed here: a checkpoint is looked at as it was trained",
            place,
            f"{free} may be given, and the paths of data that moved",
        )
        for key, place in typed.items()
        if key.partition(".")[0] not in sections and key not in PATHS
    ]
    if problems:
        raise UsageError(*problems)
    try:
        manifest = describe(found.path)
        own = config_of(manifest, found.path)
    except InputError as error:
        raise refused(error, found) from error
    if own is not None:
        return revision.over(own)
    config = revision.over(_beside(found))
    try:
        same = trial_id(config, data_hash(config)) == manifest["trial_id"]
    except InputError as error:
        raise refused(error, found) from error
    if not same:
        message = (
            f"{found.path} is of trial {manifest['trial_id']}: the config beside it, with its"
            " data, gives another id"
        )
        hint = "the data or the config are not what they were when it was trained"
        raise UsageError(Problem(message, "", hint))
    return config


def _beside(found: Found) -> RunConfig:
    """Return the `config.yaml` of the trial: older checkpoints do not hold their config."""
    path = None if found.trial is None else found.trial / "config.yaml"
    if path is None or not path.is_file():
        message = f"{found.path} does not say how it was trained: an older version wrote it"
        hint = "put it back into trials/<id>/checkpoints/, beside the config.yaml of its trial"
        raise UsageError(Problem(message, "", hint))
    try:
        return RunConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError, yaml.YAMLError) as error:
        raise UsageError(Problem("damaged: it is no run config", str(path))) from error


def keep(found: Found, document: str) -> Path | None:
    """Write an evaluation beside its trial's checkpoints, whole; return where, or None."""
    if found.trial is None:
        return None
    path = found.trial / "evaluations" / f"{found.path.name}.json"
    path.parent.mkdir(exist_ok=True)
    write_whole(path, document)
    return path


def refused(error: InputError, found: Found) -> UsageError:
    """Return what the trainer refuses as an error of the command line."""
    place = "" if found.path.name in str(error) else str(found.path)
    return UsageError(Problem(str(error), place, error.hint))

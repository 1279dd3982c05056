"""`run_hash_summary_v50.json`: each time a run was trained or read, and what it was made of."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.layout import write_whole

FILE = "run_hash_summary_v50.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One command that trained or read a run; `docs/artifacts.md` describes each field.

    What is only known at the end is None until then, and stays None where the process was killed.
    """

    invocation: str
    run_id: str
    command: str
    started_at: str
    finished_at: str | None
    duration_seconds: float | None
    exit_code: int | None
    config_hash: str
    data_hash: str
    git_commit: str | None
    python_version: str
    platform: str
    run_directory: str
    configs: Sequence[dict[str, str]]


def put(path: Path, entry: Entry) -> Path | None:
    """Write an entry, in the place of the earlier one of the same run by the same command.

    The caller holds the lock. The file is written whole under another name.

    Args:
        path: The summary; made where it is missing.
        entry: To write.

    Returns:
        Where a summary that was damaged is now; None where none was.

    Raises:
        OSError: It cannot be read or written.
    """
    runs, aside = [], None
    if path.exists():
        try:
            runs = _read(path)
        except ValueError:
            aside = path.rename(_beside(path))
    own = asdict(entry)
    for n, other in enumerate(runs):
        if (other.get("invocation"), other.get("run_id")) == (entry.invocation, entry.run_id):
            runs[n] = own
            break
    else:
        runs.append(own)
    document = {"schema_version": SCHEMA_VERSION, "runs": runs}
    write_whole(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return aside


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a summary.

    Raises:
        ValueError: It is damaged, or of another version.
    """
    try:
        document = json.loads(path.read_bytes())
        runs = document["runs"]
        if document["schema_version"] != SCHEMA_VERSION or not isinstance(runs, list):
            raise ValueError
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError from error
    if not all(isinstance(run, dict) for run in runs):
        raise ValueError
    return runs


def _beside(path: Path) -> Path:
    for n in itertools.count(1):
        other = path.with_name(f"{path.stem}.damaged-{n}{path.suffix}")
        if not other.exists():
            return other
    raise AssertionError("unreachable")

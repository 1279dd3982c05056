"""Which trial a person means: its id, or as much of it as is unique."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from orchestrator.errors import Problem, StorageError, UsageError, nearest
from orchestrator.layout import RunDirectory, all_runs
from orchestrator.ledger import Ledger

MOST_NAMED = 4


def find_trial(given: str, root: Path, run: RunDirectory | None) -> tuple[RunDirectory, str]:
    """Find a trial by its id or the beginning of it.

    Args:
        given: What was typed.
        root: The runs folder.
        run: Where to look; None looks in all runs, and the newest one that has it counts.

    Raises:
        UsageError: There is none, or several.
        StorageError: The ledger of `run` is damaged.
    """
    places: dict[str, RunDirectory] = {}
    for directory in all_runs(root) if run is None else [run]:
        with contextlib.ExitStack() as stack:
            if run is None:
                stack.enter_context(contextlib.suppress(StorageError))
            ledger = stack.enter_context(contextlib.closing(Ledger.read(directory.ledger)))
            for trial_id in ledger.ids():
                places.setdefault(trial_id, directory)
    place = f"runs folder {root}" if run is None else run.shown()
    hint = f"arbiter status{'' if run is None else f' {run.shown()}'} lists trials"
    found = find_id(places, given, place, hint)
    return places[found], found


def find_id(ids: Collection[str], given: str, place: str, hint: str) -> str:
    """Return the one id that begins with what was given.

    Args:
        ids: All there are.
        given: As typed.
        place: Where they are, for the error.
        hint: What shows them all.

    Raises:
        UsageError: There is none, or more than one.
    """
    found = sorted(name for name in ids if given and name.startswith(given.lower()))
    if len(found) == 1:
        return found[0]
    if found:
        message = f"{len(found)} trials begin with {given!r}"
        more = ", …" if len(found) > MOST_NAMED else ""
        raise UsageError(
            Problem(message, place, f"more of it: {', '.join(found[:MOST_NAMED])}{more}")
        )
    raise UsageError(Problem(f"no trial {given!r}{nearest(given, ids)}", place, hint))

"""Which trial a person means: its id, or as much of it as is unique."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from orchestrator.errors import Problem, UsageError, nearest


class _Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)

MOST_NAMED = 5


def find_trial(trials: Sequence[T], given: str, place: str) -> T:
    """Return the one trial whose id begins with what was given.

    Args:
        trials: Of a plan or of a ledger.
        given: As typed.
        place: Where they are, for the error.

    Raises:
        UsageError: There is none, or more than one.
    """
    found = [trial for trial in trials if given and trial.id.startswith(given)]
    if len(found) == 1:
        return found[0]
    ids = [trial.id for trial in trials]
    if found:
        shown = ", ".join(trial.id for trial in found[:MOST_NAMED])
        more = ", …" if len(found) > MOST_NAMED else ""
        message = f"{given!r} begins the ids of {len(found)} trials: {shown}{more}"
        raise UsageError(Problem(message, place, "one more character of the id"))
    shown = ", ".join(ids[:MOST_NAMED]) + (", …" if len(ids) > MOST_NAMED else "")
    message = f"no trial {given!r}{nearest(given, ids)}"
    raise UsageError(Problem(message, place, f"its trials are {shown}"))

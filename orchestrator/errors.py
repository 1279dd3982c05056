"""Errors a user can mend, each with an exit code; anything else is a bug in the program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time
from enum import IntEnum
from typing import Any

COMMAND_LINE = "command line"
"""The place of what was typed."""
LONGEST_SHOWN = 200
"""Characters of a wrong value that are shown; where it stands is said as well."""


class Exit(IntEnum):
    """What the exit status says."""

    OK = 0
    BUG = 1
    USAGE = 2  # usage or configuration; nothing was written
    FAILED_TRIALS = 3  # the sweep ended, some of its trials failed; or a gate of an evaluation did
    STORAGE = 4  # the disk, or a file of ours that is damaged
    LOCKED = 5  # another process writes to the directory
    INTERRUPTED = 75  # stopped by a limit or a signal; `arbiter resume` goes on
    SECOND_INTERRUPT = 130


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        message: What failed: what was got, what was expected.
        place: Where the value came from (`sweep_templates/a.toml [space]`), or empty.
        hint: What to type, or empty.
    """

    message: str
    place: str = ""
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class ArbiterError(Exception):
    """Base of the errors that are printed without a traceback.

    Args:
        problems: All that is wrong, at once.
        exit_code: The process's exit status.
    """

    exit_code = Exit.USAGE

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = [Problem(p) if isinstance(p, str) else p for p in problems]
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(ArbiterError):
    """A command or a configuration that cannot be carried out."""


class StorageError(ArbiterError):
    """A disk that is full or a file of ours that is damaged."""

    exit_code = Exit.STORAGE


class LockedError(ArbiterError):
    """Another process writes to the run directory."""

    exit_code = Exit.LOCKED


@contextmanager
def gathering() -> Iterator[Gather]:
    """Collect usage errors over several steps and raise them all at once at the end.

    Raises:
        UsageError: At least one step of `Gather.step` failed.
    """
    gather = Gather()
    yield gather
    if gather.problems:
        raise UsageError(*gather.problems)


class Gather:
    """The problems found so far."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run one step; what it finds wrong is kept, not raised."""
        try:
            yield
        except UsageError as error:
            self.problems += error.problems


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` - did you mean X?` for the nearest known name, or an empty string."""
    plain = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), list(plain), n=1, cutoff=0.6)
    return f" - did you mean {plain[close[0]]}?" if close else ""


def shown(value: Any) -> str:
    """Return a value that a person gave as they may have written it, in one line, cut if long."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list):
        text = f"[{', '.join(map(shown, value[:LONGEST_SHOWN]))}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key} = {shown(item)}' for key, item in value.items())}}}"
    elif value is None:
        text = "none"
    elif isinstance(value, date | time):
        text = value.isoformat()
    else:
        text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def check_choice(option: str, given: str, known: Sequence[str]) -> None:
    """Refuse a value that an option does not have.

    Raises:
        UsageError: It is none of the known ones.
    """
    if given not in known:
        raise UsageError(
            Problem(
                f"no {option} {given!r}{nearest(given, known)}",
                f"--{option}",
                f"one of {', '.join(known)}",
            )
        )

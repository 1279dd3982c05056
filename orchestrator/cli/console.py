"""The only printer. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from orchestrator.errors import ArbiterError

if TYPE_CHECKING:
    from orchestrator.cli.live_table import LiveTable
    from orchestrator.watch import Audience

_quiet = False
_table: LiveTable | None = None
_lock = threading.RLock()  # a signal may be told of while its thread is printing


def be_quiet() -> None:
    """Say nothing but errors."""
    global _quiet
    _quiet = True


def say(text: str) -> None:
    """Tell a person something; one write a line, from any thread."""
    if not _quiet:
        _write(text)


def out(text: str) -> None:
    """Print data. Where the reader has left (`| head`), nobody is told."""
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # what is left in the buffer goes nowhere, also at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(error: ArbiterError) -> None:
    """Print what is wrong."""
    for problem in error.problems:
        _write(f"error: {problem}")


@contextlib.contextmanager
def following() -> Iterator[Audience]:
    """Show how far a sweep is while it runs: a live table on a terminal, else a line at times.

    What is said meanwhile appears above the table; its last state stays.
    """
    global _table
    if _quiet:
        from orchestrator.watch import Nobody

        yield Nobody()
    elif is_terminal():
        from orchestrator.cli.live_table import LiveTable

        with LiveTable(sys.stderr, ascii_only=not shows_unicode(sys.stderr)) as _table:
            try:
                yield _table
            finally:
                _table = None
    else:
        from orchestrator.cli.interval_lines import IntervalLines

        yield IntervalLines(say)


@dataclass(frozen=True)
class Page:
    """What data is printed on: its columns, None where lines may be of any length."""

    width: int | None
    ascii_only: bool


def page() -> Page:
    """Return what stdout is."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return Page(width, not shows_unicode(sys.stdout))


def shows_unicode(file: TextIO) -> bool:
    """Return whether a file takes every character."""
    return "utf" in (file.encoding or "").lower()


def is_terminal() -> bool:
    """Return whether what is said goes to a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


def _write(text: str) -> None:
    printable = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    with _lock, contextlib.suppress(OSError):  # a terminal that was closed ends no sweep
        if _table is not None:
            _table.say(printable)
            return
        sys.stderr.write(printable + "\n")
        sys.stderr.flush()

"""The only printer. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from orchestrator.cli.door import here
from orchestrator.errors import ArbiterError

if TYPE_CHECKING:
    from orchestrator.cli.live_table import LiveTable
    from orchestrator.watch import Audience

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that act on a terminal or reorder its text, without tabs and the ends of lines."""

_quiet = False
_table: LiveTable | None = None
_lock = threading.RLock()  # a signal may be told of while its thread is printing


def open_streams() -> None:
    """Give the standard streams that are closed a place that keeps nothing, the others any text.

    Else the first file that is opened, which may be a ledger, would be what a library prints to.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def close_streams() -> bool:
    """Write what is left, and return whether all data could be written or nobody reads it."""
    try:
        sys.stderr.flush()
    except OSError:
        _drop(sys.stderr)
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop(sys.stdout)
        return isinstance(error, BrokenPipeError)
    return True


def _drop(stream: TextIO) -> None:
    """Let a stream that cannot be written to go nowhere, with what is in its buffer."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def be_quiet() -> None:
    """Say nothing but errors."""
    global _quiet
    _quiet = True


def say(text: str) -> None:
    """Tell a person something; one write a line, from any thread.

    Commands in it are named as they are typed at the door that was taken.
    """
    spoken = here().spoken(text)
    here().journal.heard(spoken)
    if not _quiet:
        _write(spoken)


def out(text: str) -> None:
    """Print data. Where the reader has left (`| head`), nobody is told.

    What would act on a terminal is left out of it, whoever wrote it.
    """
    shown = CONTROL.sub("?", text)
    here().journal.heard(shown)
    try:
        sys.stdout.write(shown if shown.endswith("\n") else shown + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _drop(sys.stdout)


def can_ask() -> bool:
    """Return whether a person is there to answer."""
    return not _quiet and sys.stdin.isatty() and sys.stderr.isatty()


def ask(prompt: str) -> str | None:
    """Ask a person and return the line that was typed; None where the input has ended."""
    with _lock:
        sys.stderr.write(prompt)
        sys.stderr.flush()
    answer = sys.stdin.readline()
    return answer.rstrip("\n") if answer else None


def fail(error: ArbiterError) -> None:
    """Print what is wrong."""
    for problem in error.problems:
        spoken = here().spoken(f"error: {problem}")
        here().journal.heard(spoken)
        _write(spoken)


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

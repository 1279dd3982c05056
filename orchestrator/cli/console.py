"""The only printer. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading

from orchestrator.errors import ArbiterError

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that act on a terminal or reorder its text, without tabs and the ends of lines."""

_quiet = False
_lock = threading.Lock()


def be_quiet() -> None:
    """Say nothing but errors."""
    global _quiet
    _quiet = True


def say(text: str) -> None:
    """Tell a person something; one write a line, from any thread."""
    if not _quiet:
        _write(text)


def out(text: str) -> None:
    """Print data. Where the reader has left (`| head`), nobody is told.

    What would act on a terminal is left out of it, whoever wrote it.
    """
    shown = CONTROL.sub("?", text)
    try:
        sys.stdout.write(shown if shown.endswith("\n") else shown + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # what is left in the buffer goes nowhere, also at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
        _write(f"error: {problem}")


def _write(text: str) -> None:
    printable = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    with _lock, contextlib.suppress(OSError):  # a terminal that was closed ends no sweep
        sys.stderr.write(printable + "\n")
        sys.stderr.flush()

"""The program: its commands, its exit codes, and what happens to an error."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from pathlib import Path

import typer

from orchestrator.cli import console, debugging, plans, runs, tools, training
from orchestrator.errors import ArbiterError, Exit, Problem, StorageError, UsageError
from orchestrator.preflight import shadowed

STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES}

app = typer.Typer(
    name="arbiter",
    help="Train many models to answer one question, and rank them honestly.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
training.add_to(app)
debugging.add_to(app)
plans.add_to(app)
runs.add_to(app)
tools.add_to(app)


def run() -> None:
    """Run the program and exit with one of `orchestrator.errors.Exit`."""
    console.open_streams()
    try:
        status = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):  # outside of training, which stops by itself
        console.say("stopped")
        status = Exit.SECOND_INTERRUPT
    except ArbiterError as error:
        if os.environ.get("ARBITER_FULL_ERROR"):
            traceback.print_exc()
        console.fail(error)
        status = error.exit_code
    except Exception as error:
        status = _usage_or_bug(error)
    if not console.close_streams() and not status:
        status = Exit.STORAGE  # data that was asked for is not where it was to go
    sys.exit(int(status or 0))


def _usage_or_bug(error: Exception) -> int:
    """Print a wrong command line as such, anything else as a bug in the program."""
    show = getattr(error, "show", None)  # the parser's own usage errors print themselves
    if callable(show):
        with contextlib.suppress(OSError):
            show()
        return int(getattr(error, "exit_code", Exit.USAGE))
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        place = str(error.filename or "")
        console.fail(StorageError(Problem(f"the disk refused: {error.strerror}", place)))
        return Exit.STORAGE
    if not _has_folder():
        console.fail(UsageError(Problem("the current folder is gone", "", "cd to one that exists")))
        return Exit.USAGE
    if found := shadowed(with_workers=False):  # then it is not our code that failed
        console.fail(UsageError(*found))
        return Exit.USAGE
    traceback.print_exc()
    console.fail(ArbiterError("this is a bug in arbiter: please report the lines above"))
    return Exit.BUG


def _has_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True

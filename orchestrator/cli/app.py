"""The program: its commands, its exit codes, and what happens to an error."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli import (
    complete,
    console,
    debugging,
    evaluation,
    pipeline,
    plans,
    runs,
    tokenizer,
    tools,
    training,
)
from orchestrator.errors import COMMAND_LINE, ArbiterError, Exit, Problem, StorageError, UsageError
from orchestrator.preflight import shadowed

STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES}

IN_OUR_WORDS = {
    "Input should be greater than or equal to": "expected at least",
    "Input should be less than or equal to": "expected at most",
    "Input should be a valid integer, unable to parse string as an integer": "expected a whole number",
}
"""What the parser says of a value, and what all other errors say."""

app = typer.Typer(
    name="arbiter",
    help="Train many models to answer one question, and rank them honestly.",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
training.add_to(app)
debugging.add_to(app)
pipeline.add_to(app)
plans.add_to(app)
runs.add_to(app)
evaluation.add_to(app)
tools.add_to(app)
tokenizer.add_to(app)


def run() -> None:
    """Run the program and exit with one of `orchestrator.errors.Exit`."""
    console.open_streams()
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
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


def _mistyped(error: Any) -> Problem:
    """Return what the parser did not understand, in the form of all errors."""
    message = str(error.format_message()).rstrip(".")
    for said, ours in IN_OUR_WORDS.items():
        message = message.replace(said, ours)
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} -h lists what there is" if context is not None else ""
    if getattr(getattr(error, "param", None), "name", "") == "strategy":
        names = ", ".join(complete.templates(""))
        hint = f"--strategy NAME: one of {names}, or the path of a TOML file"
    return Problem(message[:1].lower() + message[1:], COMMAND_LINE, hint)


def _usage_or_bug(error: Exception) -> int:
    """Print a wrong command line as such, anything else as a bug in the program."""
    if hasattr(error, "format_message"):  # one of the parser's own errors
        console.fail(UsageError(_mistyped(error)))
        return Exit.USAGE
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

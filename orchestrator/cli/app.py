"""The program: its commands, its exit codes, and what happens to an error."""

from __future__ import annotations

import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable
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
from orchestrator.cli.door import FIRST, Door, enter
from orchestrator.errors import COMMAND_LINE, ArbiterError, Exit, Problem, StorageError, UsageError
from orchestrator.preflight import shadowed

STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES}

IN_OUR_WORDS = {
    "Input should be greater than or equal to": "expected at least",
    "Input should be less than or equal to": "expected at most",
    "Input should be a valid integer, unable to parse string as an integer": "expected a whole number",
}
"""What the parser says of a value, and what all other errors say."""


def program(name: str, purpose: str) -> typer.Typer:
    """Return a program without commands.

    Args:
        name: As it is typed.
        purpose: What it is for, the first line of its help.
    """
    return typer.Typer(
        name=name,
        help=purpose,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


app = program(FIRST, "Train many models to answer one question, and rank them honestly.")
training.add_to(app)
debugging.add_to(app)
pipeline.add_to(app)
plans.add_to(app)
runs.add_to(app)
evaluation.add_to(app)
tools.add_to(app)
tokenizer.add_to(app)


def run() -> None:
    """Run `arbiter` and exit with one of `orchestrator.errors.Exit`."""
    run_at(Door(), app)


def run_at(door: Door, app: typer.Typer) -> None:
    """Run a program that was entered by a door, and exit with one of `orchestrator.errors.Exit`."""
    console.open_streams()
    enter(door)
    status: int = Exit.BUG
    try:
        status = _carry_out(door, app)
        if not console.close_streams() and not status:
            status = Exit.STORAGE  # data that was asked for is not where it was to go
    finally:
        door.journal.end(int(status))
    sys.exit(int(status))


def _carry_out(door: Door, app: typer.Typer) -> int:
    """Carry out what was typed; return the exit status."""
    try:
        command = typer.main.get_command(app)
        _tell(door.journal.begin, command)
        words = sys.argv[1:] or ["--help"]
        return int(command(words, prog_name=door.name, standalone_mode=False) or Exit.OK)
    except (KeyboardInterrupt, typer.Abort):  # outside of training, which stops by itself
        console.say("stopped")
        return Exit.SECOND_INTERRUPT
    except ArbiterError as error:
        if os.environ.get("ARBITER_FULL_ERROR"):
            traceback.print_exc()
        console.fail(error)
        return error.exit_code
    except Exception as error:
        return _usage_or_bug(error, door)


def _tell(begin: Callable[[], None], command: Any) -> None:
    """Call `begin` before any of the commands: once its arguments are understood, not for its help."""
    if hasattr(command, "commands"):
        for below in command.commands.values():
            _tell(begin, below)
        return

    @functools.wraps(command.callback)
    def told(*given: Any, **named: Any) -> Any:
        begin()
        return callback(*given, **named)

    callback, command.callback = command.callback, told


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


def _usage_or_bug(error: Exception, door: Door) -> int:
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
    door.journal.heard(traceback.format_exc())
    console.fail(ArbiterError("this is a bug in arbiter: please report the lines above"))
    return Exit.BUG


def _has_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True

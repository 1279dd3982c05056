"""The command that judges a submission before it is sent: validate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.errors import Exit, Problem, UsageError


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(validate)


def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A submission.csv.")],
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            metavar="FILE",
            help="The challenge's sample_submission.csv: its planets must be there.",
            show_default=False,
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> int:
    """Say what the challenge would refuse in a submission.

    Exit 2 if there is something, each with its line and column.
    """
    if quiet:
        console.be_quiet()
    from trainer.errors import InputError
    from trainer.tasks.ariel.submission import COLUMNS, submission_faults

    try:
        faults = submission_faults(file, sample)
    except InputError as error:
        raise UsageError(Problem(str(error), "", error.hint)) from error
    if faults:
        raise UsageError(*(Problem(str(fault), str(file)) for fault in faults))
    with file.open(encoding="utf-8") as lines:
        planets = sum(1 for line in lines if line.strip()) - 1
    like = f", the planets of {sample}" if sample is not None else ""
    console.out(
        f"{file}: valid: {planets} planet{'s' if planets != 1 else ''}, {len(COLUMNS)} columns{like}"
    )
    console.say("next: spectramind leaderboard")
    return Exit.OK

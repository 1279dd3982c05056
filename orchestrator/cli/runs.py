"""Commands that look at a sweep: leaderboard, status. They take no lock."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import typer

from orchestrator.cli import complete, console, options
from orchestrator.errors import check_choice

FORMATS = ("table", "md", "csv", "json", "html")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(leaderboard)
    app.command()(status)


def leaderboard(
    run: options.Run = None,
    output: Annotated[
        str,
        typer.Option(
            "--format",
            help="table, md, csv, json or html.",
            autocompletion=complete.among("table", "md", "csv", "json", "html"),
        ),
    ] = "table",
    quiet: options.Quiet = False,
) -> int:
    """Print the leaderboard of a sweep, also while it runs."""
    if quiet:
        console.be_quiet()
    from orchestrator.layout import find_run
    from orchestrator.leaderboard import Comparison, build, command_of, render
    from orchestrator.ledger import Ledger
    from orchestrator.objective import Objective

    check_choice("format", output, FORMATS)
    directory = find_run(run)
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        trials, sweep = ledger.trials(), ledger.sweep()
    board = build(
        trials,
        Objective(**sweep["objective"]),
        title=directory.path.name,
        run_directory=directory.shown(),
        comparison=Comparison.of(sweep),
    )
    console.out(render(board, output, console.page().width))
    if any(trial.pending for trial in trials):
        console.say(f"next: arbiter status {directory.shown()}")
    elif board.entries and board.entries[0].rank is not None:
        console.say(f"next: {command_of(board, board.entries[0])}")
    return 0


def status(
    run: options.Run = None,
    output: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    quiet: options.Quiet = False,
) -> int:
    """Print how far each trial is, also while they run."""
    if quiet:
        console.be_quiet()
    from orchestrator.layout import find_run
    from orchestrator.ledger import Ledger
    from orchestrator.status import FORMATS as STATUS_FORMATS
    from orchestrator.status import render_status
    from orchestrator.watch import survey

    check_choice("format", output, STATUS_FORMATS)
    directory = find_run(run)
    writer = directory.writer()
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        progress = survey(ledger, time.time() if writer else None)
    page = console.page()
    console.out(render_status(progress, output, writer, page.width, ascii_only=page.ascii_only))
    if writer is not None:
        console.say(f"process {writer.pid} on {writer.host} trains it")
    elif progress.done < progress.planned:
        console.say("no process trains it")
        console.say(f"next: arbiter resume {directory.shown()}")
        return 0
    console.say(f"next: arbiter leaderboard {directory.shown()}")
    return 0

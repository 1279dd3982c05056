"""The command that draws what the trials of a run did: diagnose."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.preflight import check_ready

FOLDER_HINT = "--out a folder you may write to"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(diagnose)


def diagnose(
    run: options.Run = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Folder of the leaderboard; diagnostics/ablation/ is put there."
        ),
    ] = Path("outputs"),
    quiet: options.Quiet = False,
) -> int:
    """Draw what the trials of a run did, also while it runs.

    Loss curves, residuals, scores by wavelength, z-scores and rule violations: a page each, which
    works offline, and the numbers as CSV. Prints the overview's path.
    """
    check_ready(with_workers=False)
    if quiet:
        console.be_quiet()
    from orchestrator.diagnostics import write_diagnostics
    from orchestrator.layout import check_writable, find_run
    from orchestrator.ledger import Ledger
    from orchestrator.objective import Objective

    directory = find_run(run)
    check_writable(out.absolute(), "folder", FOLDER_HINT)
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        trials, objective = ledger.trials(), Objective(**ledger.sweep()["objective"])
    pages = write_diagnostics(directory, trials, objective, out, notify=console.say)
    console.out(str(out / pages[0][1]))
    console.say(f"next: arbiter leaderboard {shlex.quote(directory.shown())}")
    return 0

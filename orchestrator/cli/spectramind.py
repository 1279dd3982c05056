"""The second door: `spectramind`, for spectra of exoplanets.

The commands are those of `arbiter`, and those that only spectra need. Where nothing says which task
is meant it is `ariel`, and each command is written down in the current folder
(`orchestrator.journal`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.cli import (
    ablation,
    console,
    debugging,
    diagnostics,
    plans,
    runs,
    spectra_data,
    spectra_predict,
    spectra_simulate,
    spectra_validate,
    tools,
    training,
)
from orchestrator.cli.app import program, run_at
from orchestrator.cli.door import Door
from orchestrator.journal.journal import Journal
from orchestrator.journal.record import NoJournal, Record

NAME, TASK = "spectramind", "ariel"

app = program(
    NAME, "Learn the spectra of exoplanets, and find out which loss terms and rules help."
)
app.command()(training.train)
app.command()(training.sweep)
app.command()(training.resume)
ablation.add_to(app)
diagnostics.add_to(app)
spectra_predict.add_to(app)
spectra_validate.add_to(app)
spectra_data.add_to(app)
spectra_simulate.add_to(spectra_data.app)
plans.add_to(app)
runs.add_to(app)
debugging.add_to(app)
app.command()(tools.schema)
app.command()(tools.doctor)


def run() -> None:
    """Run `spectramind` and exit with one of `orchestrator.errors.Exit`."""
    names = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    run_at(Door(NAME, frozenset(names), TASK, _journal()), app)


def _journal() -> Record:
    try:
        return Journal(Path.cwd(), [NAME, *sys.argv[1:]], console.say)
    except FileNotFoundError:  # the folder is gone: there is nowhere to write to
        return NoJournal()

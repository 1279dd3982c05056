"""Commands about data sets of the Ariel challenge: data check, data calibrate."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.errors import Exit, Problem, UsageError, check_choice

INTERVAL_S = 10.0
"""Seconds between two lines of progress."""

app = typer.Typer(help="Check, calibrate and simulate data sets of the Ariel challenge.")

Directory = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="Folder with train.csv (2025) or train_labels.csv (2024)."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes. Default: one a core.", show_default=False),
]


def add_to(program: typer.Typer) -> None:
    """Register the commands."""
    program.add_typer(app, name="data")


@app.command()
def check(
    directory: Directory,
    quick: Annotated[
        bool, typer.Option("--quick", help="Look at shapes only: leave the signals unread.")
    ] = False,
    workers: Workers = None,
    output: options.TableFormat = "table",
    quiet: options.Quiet = False,
) -> int:
    """Say what is missing or malformed in a data set, by file. Writes nothing."""
    if quiet:
        console.be_quiet()
    from orchestrator.data_table import FORMATS, render_faults
    from trainer.errors import InputError
    from trainer.tasks.ariel.inspection import check as look

    check_choice("format", output, FORMATS)
    try:
        report = look(
            directory, quick=quick, workers=_processes(workers), progress=_Lines("checked").show
        )
    except InputError as error:
        raise UsageError(Problem(str(error), "", error.hint)) from error
    if report.faults or output in ("csv", "json"):
        console.out(render_faults(report.faults, output))
    calibrate_it = shlex.join(["spectramind", "data", "calibrate", str(directory)])
    looked_at = f"{_counted(report.planets, 'planet')}, {_counted(report.visits, 'whole visit')}"
    if report.faults:
        console.say(f"{_counted(len(report.faults), 'fault')} in {looked_at}")
        console.say(f"next: mend them; {calibrate_it} leaves out what can be left out")
        return Exit.USAGE
    console.say(f"nothing is missing or malformed: {looked_at}, edition {report.edition}")
    console.say(f"next: {calibrate_it}")
    return Exit.OK


@app.command()
def calibrate(
    directory: Directory,
    frames: Annotated[
        int, typer.Option("--frames", min=1, help="Points in time, as data.frames of the runs.")
    ] = 187,
    workers: Workers = None,
    output: options.TableFormat = "table",
    quiet: options.Quiet = False,
) -> int:
    """Calibrate a data set into the cache, so that runs find its light curves there.

    What is there already is not made again. Visits that cannot be read are left out and listed; then
    the exit status is 3.
    """
    if quiet:
        console.be_quiet()
    from orchestrator.data_table import FORMATS, render_faults
    from trainer.errors import InputError
    from trainer.tasks.ariel import cache
    from trainer.tasks.ariel.dataset import open_dataset, read_visits

    check_choice("format", output, FORMATS)
    faults, kept = [], 0
    try:
        parts = [part for part in ("train", "test") if (directory / part).is_dir()] or ["train"]
        for part in parts:
            dataset = open_dataset(directory, "test" if part == "test" else "train")
            visits = read_visits(
                dataset,
                dataset.planets,
                frames,
                workers=_processes(workers),
                progress=_Lines(f"{part}: calibrated").show,
            )
            kept += len(visits.planet_ids)
            faults += [*dataset.faults, *visits.faults]
    except InputError as error:
        raise UsageError(Problem(str(error), "", error.hint)) from error
    if faults or output in ("csv", "json"):
        console.out(render_faults(faults, output))
    console.say(f"{_counted(kept, 'visit')} of {frames} frames in {cache.folder()}")
    setting = shlex.quote(f"data.dataset_path={directory}")
    also = "" if frames == 187 else f" data.frames={frames}"
    console.say(f"next: spectramind train task=ariel {setting}{also}")
    return Exit.FAILED_TRIALS if faults else Exit.OK


class _Lines:
    """Says how far it is, at times and at the end.

    Args:
        what: Was done, as the line begins.
    """

    def __init__(self, what: str) -> None:
        self._what, self._began_s = what, time.monotonic()
        self._said_s = self._began_s

    def show(self, done: int, total: int) -> None:
        """Say a line, if it is time to."""
        now_s = time.monotonic()
        if done < total and now_s - self._said_s < INTERVAL_S:
            return
        self._said_s = now_s
        console.say(f"{self._what} {done:,} of {total:,} visits in {now_s - self._began_s:.0f} s")


def _processes(workers: int | None) -> int:
    return workers or len(os.sched_getaffinity(0))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")

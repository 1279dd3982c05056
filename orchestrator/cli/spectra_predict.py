"""The command that predicts spectra with a trained network: predict."""

from __future__ import annotations

import gc
import shlex
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import complete, console, options
from orchestrator.cli.door import here
from orchestrator.errors import Exit, Problem, UsageError, check_choice
from orchestrator.preflight import check_ready


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(predict)


def predict(
    run: options.Run = None,
    trial: Annotated[
        str | None,
        typer.Option(
            "--trial",
            help="Its id or the beginning of it. Default: the leader of the run.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Folder in the challenge's layout. Default: the data of the run.",
            show_default=False,
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            "--part",
            help="Planets of DIR: test or train. Default: test, and where DIR has none, those that"
            " the run held out.",
            show_default=False,
            autocompletion=complete.among("test", "train"),
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("submission.csv"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    output: options.TableFormat = "table",
    quiet: options.Quiet = False,
) -> int:
    """Predict spectra with the best trial of a run, and write a submission.

    The score is printed where the true spectra are known.
    """
    check_ready(with_workers=False)
    if quiet:
        console.be_quiet()
    from orchestrator import spectra_prediction as spectra
    from orchestrator.journal.run import read_run
    from orchestrator.layout import find_run
    from orchestrator.spectra_table import FORMATS, render_judged
    from orchestrator.sweep import counted
    from trainer.errors import InputError
    from trainer.tasks.ariel.submission import write_submission

    check_choice("format", output, FORMATS)
    if part is not None:
        check_choice("part", part, spectra.PARTS)
    _check_free(out, force)
    chosen = spectra.choose(find_run(run), trial, anywhere=run is None)
    here().journal.works_on(lambda: read_run(chosen.directory))
    gc.enable()
    try:
        planets = spectra.planets_of(chosen.data, data, part)
        who = f"trial {chosen.trial_id}"
        if chosen.note:
            who = f"{chosen.note}," if chosen.trial_id in chosen.note else f"{who} ({chosen.note})"
        console.say(f"{who} predicts {planets.words}")
        predicted = spectra.predict(chosen, planets)
        for line in predicted.left_out:
            console.say(f"note: left out: {line}")
        judged = spectra.judge(chosen, predicted)
        write_submission(out, predicted.planet_ids.tolist(), predicted.mu, predicted.sigma)
    except InputError as error:
        raise spectra.refused(error) from error
    if judged:
        console.out(render_judged(judged, output))
    console.say(f"wrote {out}: {counted(len(predicted.planet_ids), 'planet')}")
    console.say(f"next: spectramind validate {shlex.quote(str(out))}")
    return Exit.OK


def _check_free(out: Path, force: bool) -> None:
    """Refuse a file that exists, and a place where none can be.

    Raises:
        UsageError: It is one of these.
    """
    if out.is_dir():
        raise UsageError(
            Problem(f"got the folder {out}, expected a file", "--out", "--out FILE.csv")
        )
    if out.exists() and not force:
        hint = "--force replaces it, --out FILE writes another one"
        raise UsageError(Problem(f"{out} exists", "--out", hint))
    if not out.parent.is_dir():
        raise UsageError(
            Problem(f"no folder {out.parent}", "--out", f"mkdir -p {shlex.quote(str(out.parent))}")
        )

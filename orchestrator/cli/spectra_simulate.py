"""The command that makes data sets: data simulate."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import complete, console, options
from orchestrator.errors import Exit, Problem, UsageError, check_choice

if TYPE_CHECKING:
    from trainer.tasks.ariel.simulation import Recipe

EDITIONS = ("2025", "2024")
PLACES = {
    name: f"--{name.replace('_', '-')}"
    for name in ("planets", "seed", "exposures", "rows", "fgs1_side", "visits", "test_planets")
}
"""What a recipe calls a setting to where it was typed."""
TOLD_OF = 10
"""Times that a person is told how far it is."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(simulate)


def simulate(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet, or is empty.")
    ],
    planets: Annotated[int, typer.Option("--planets", help="Planets with labels.")] = 40,
    test_planets: Annotated[
        int, typer.Option("--test-planets", help="Planets without labels, in DIR/test.")
    ] = 0,
    visits: Annotated[
        float, typer.Option("--visits", help="Mean visits a planet: 1.3 sees 3 in 10 twice.")
    ] = 1.0,
    exposures: Annotated[
        int,
        typer.Option(
            "--exposures", help="AIRS exposures of a visit, at most 5625; they span 7.5 hours."
        ),
    ] = 187,
    rows: Annotated[int, typer.Option("--rows", help="Pixel rows of AIRS, at most 32.")] = 4,
    fgs1_side: Annotated[
        int, typer.Option("--fgs1-side", help="Pixel rows and columns of FGS1, at most 32.")
    ] = 4,
    spectra: Annotated[
        Path | None,
        typer.Option(
            "--spectra",
            help="Spectra to use: a file like train.csv. Default: molecular bands.",
            show_default=False,
        ),
    ] = None,
    systems: Annotated[
        Path | None,
        typer.Option(
            "--systems",
            help="Stars and orbits to use: a file like train_star_info.csv. Default: drawn.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of every random number.")] = 0,
    edition: Annotated[
        str,
        typer.Option(
            "--edition",
            help="Layout of the challenge of 2025 or 2024.",
            autocompletion=complete.among(*EDITIONS),
        ),
    ] = "2025",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Processes. Default: one a core.", show_default=False
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> int:
    """Write a data set in the challenge's layout: transits, drift, jitter, noise, raw counts.

    As published: --exposures 5625 --rows 32 --fgs1-side 32, about 310 MB a visit. DIR/truth holds the
    light curves before noise.
    """
    if quiet:
        console.be_quiet()
    check_choice("edition", edition, EDITIONS)
    from trainer.errors import InputError
    from trainer.tasks.ariel.simulation import Recipe
    from trainer.tasks.ariel.simulation import simulate as write

    settings: dict[str, Any] = {
        "planets": planets,
        "seed": seed,
        "exposures": exposures,
        "rows": rows,
        "fgs1_side": fgs1_side,
        "visits": visits,
        "test_planets": test_planets,
        "spectra": spectra,
        "systems": systems,
        "edition": edition,
    }
    try:
        recipe = Recipe(**settings)
        write(directory, recipe, workers=workers or len(os.sched_getaffinity(0)), progress=_told())
    except InputError as error:
        hint = error.hint
        raise UsageError(*(_typed(line, hint) for line in str(error).splitlines())) from error
    console.say(f"wrote {directory}: {_summary(directory, recipe)}")
    place = shlex.quote(str(directory))
    console.say(f"next: spectramind train data.dataset_path={place}")
    return Exit.OK


def _told() -> Callable[[int, int], None]:
    """Return what says, some times in all, how many planets are written."""

    def tell(done: int, total: int) -> None:
        if total >= 2 * TOLD_OF and done * TOLD_OF // total > (done - 1) * TOLD_OF // total:
            console.say(f"wrote {done} of {total} planets")

    return tell


def _summary(directory: Path, recipe: Recipe) -> str:
    size_mb = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6
    signals = sum(1 for _ in directory.glob("*/*/AIRS-CH0_signal*.parquet"))
    tests = f" and {recipe.test_planets} without labels" if recipe.test_planets else ""
    planets = f"{recipe.planets} planet{'' if recipe.planets == 1 else 's'}"
    return f"{planets}{tests}, {signals} visit{'' if signals == 1 else 's'}, {size_mb:,.0f} MB"


def _typed(line: str, hint: str) -> Problem:
    """Return what a recipe refuses, with the place where it was typed."""
    key, _, message = line.partition(": ")
    if key in PLACES:
        return Problem(message, PLACES[key], hint)
    return Problem(line, "", hint)

"""The command that finds out what of a configuration helps: ablate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import complete, console, options, training
from orchestrator.cli.door import here
from orchestrator.preflight import check_ready

if TYPE_CHECKING:
    from orchestrator.sweep import Outcome

TRAINER = "trainer=ablation"
"""The preset that is meant where none is typed."""
OUTPUTS = "outputs"
OUTPUTS_HINT = "cd to a folder you may write to: the leaderboard is written there too"
STEM = "ablation_leaderboard"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(ablate)


def ablate(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Axes (loss.composite.smoothness.weight=0.0,0.1), ablation.KEY=VALUE, settings,"
            " groups.",
            show_default=False,
            autocompletion=complete.ablation,
        ),
    ] = None,
    multirun: Annotated[
        bool,
        typer.Option(
            "-m",
            "--multirun",
            help="Hydra's word for it; several values make an axis with and without it.",
        ),
    ] = False,
    base_config: options.BaseConfig = None,
    gpus: options.Gpus = None,
    tier: options.Tier = None,
    executor: options.ExecutorName = "ray_tune",
    cohort: options.CohortSize = None,
    dashboard: options.Dashboard = False,
    address: options.Address = None,
    name: options.Name = None,
    reuse: options.Reuse = None,
    strict: options.Strict = False,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
) -> int:
    """Train variants of a configuration, and say which differ from its baseline.

    Each variant is trained with the same seeds, and compared with the baseline seed by seed. The
    same command again goes on where it was.
    """
    check_ready(with_workers=executor != "inline")
    from orchestrator.executors import Execution
    from orchestrator.layout import check_writable
    from orchestrator.request import Request

    check_writable(Path(OUTPUTS).absolute(), "outputs folder", OUTPUTS_HINT)
    words = tuple(overrides or ())
    request = Request(
        task=here().task,
        base_config=base_config,
        tier=tier,
        overrides=words if _names_trainer(words) else (TRAINER, *words),
        name=name or "ablation",
        ablation=True,
    )
    execution = Execution(executor, cohort, dashboard, address)
    return training.start(request, gpus, execution, fresh, quiet, reuse=reuse, strict=strict)


def _names_trainer(words: Sequence[str]) -> bool:
    return any(word.startswith("trainer=") for word in words)


def publish(outcome: Outcome) -> Path:
    """Write the leaderboard of an ablation into the current folder, and its diagnostics.

    One that was stopped has no diagnostics yet: they take time, and who stops has none.

    Returns:
        The page.

    Raises:
        StorageError: It cannot be written there.
    """
    from orchestrator.diagnostics import write_diagnostics
    from orchestrator.errors import Exit, Problem, StorageError
    from orchestrator.leaderboard import write_leaderboard

    folder = Path(OUTPUTS)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        problem = Problem(f"cannot write the leaderboard: {error.strerror}", str(folder.absolute()))
        raise StorageError(problem) from error
    board = replace(outcome.board, title=f"Ablation {outcome.board.title}")
    write_leaderboard(folder, board, STEM)
    if outcome.exit_code is not Exit.INTERRUPTED:
        links = write_diagnostics(
            outcome.directory, outcome.trials, board.objective, folder, notify=console.say
        )
        write_leaderboard(folder, replace(board, links=tuple(links)), STEM)
    return folder / f"{STEM}.html"

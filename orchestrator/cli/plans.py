"""Commands that say what a sweep would do: plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import complete, console, options
from orchestrator.errors import check_choice

if TYPE_CHECKING:
    from orchestrator.hardware import Hardware
    from orchestrator.plan import Plan
    from orchestrator.request import Request


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(plan)


def plan(
    strategy: options.Strategy,
    overrides: options.Overrides = None,
    base_config: options.BaseConfig = None,
    search: options.Search = None,
    scale: options.ScaleName = None,
    seeds: options.Seeds = None,
    max_trials: options.MaxTrials = None,
    gpus: options.Gpus = None,
    tier: options.Tier = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print every setting and where it came from.")
    ] = False,
    output: Annotated[
        str,
        typer.Option(
            "--format",
            help="table, md, csv or json.",
            autocompletion=complete.among("table", "md", "csv", "json"),
        ),
    ] = "table",
) -> int:
    """Print what a sweep would train. Nothing runs and nothing is written."""
    from orchestrator.plan import sources_of
    from orchestrator.plan_table import FORMATS, render_config, render_plan
    from orchestrator.request import Request

    check_choice("format", output, FORMATS)
    request = Request(
        base_config=base_config,
        strategy=strategy,
        search=search,
        scale=scale,
        tier=tier,
        seeds=seeds,
        max_trials=max_trials,
        overrides=tuple(overrides or ()),
    )
    made, _ = plan_of(request, gpus)
    console.out(render_config(sources_of(made)) if show_config else render_plan(made, output))
    for note in made.notes:
        console.say(f"note: {note}")
    console.say("next: the same with `arbiter sweep` trains them")
    return 0


def plan_of(request: Request, gpus: int | None) -> tuple[Plan, Hardware]:
    """Return the plan of a request, and the part of this machine it may use."""
    from orchestrator.hardware import detect
    from orchestrator.plan import make_plan

    hardware = detect().limited_to(gpus)
    return make_plan(request, hardware), hardware

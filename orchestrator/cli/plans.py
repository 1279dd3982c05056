"""Commands that say what a sweep would do, and why a trial is one of its own: plan, why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.cli.again import typed_as
from orchestrator.cli.door import here
from orchestrator.errors import Problem, UsageError, check_choice, gathering

if TYPE_CHECKING:
    from orchestrator.forecast import Forecast
    from orchestrator.hardware import Hardware
    from orchestrator.plan import Plan
    from orchestrator.request import Request


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(plan)
    app.command()(why)


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
    reuse: options.Reuse = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Predict from a few steps timed here, in ~30 s.")
    ] = False,
    fail_over: Annotated[
        str | None,
        typer.Option(
            "--fail-over",
            metavar="TIME",
            help="Exit 2 if it is predicted to take longer: 8h, 30m, 1d12h.",
            show_default=False,
        ),
    ] = None,
    strict: options.Strict = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print every setting and where it came from.")
    ] = False,
    output: options.TableFormat = "table",
    quiet: options.Quiet = False,
) -> int:
    """Print what a sweep would train, and what that costs. Nothing of it runs."""
    if quiet:
        console.be_quiet()
    from orchestrator.durations import parse_duration
    from orchestrator.executors import Execution
    from orchestrator.layout import runs_root
    from orchestrator.plan import sources_of
    from orchestrator.plan_table import FORMATS, render_config, render_plan
    from orchestrator.preview import preview
    from orchestrator.request import Request
    from orchestrator.sweep import place

    check_choice("format", output, FORMATS)
    allowed_s = None if fail_over is None else parse_duration(fail_over, "--fail-over")
    request = Request(
        task=here().task,
        base_config=base_config,
        strategy=strategy,
        search=search,
        scale=scale,
        tier=tier,
        seeds=seeds,
        max_trials=max_trials,
        overrides=tuple(overrides or ()),
    )
    made, hardware = plan_of(request, gpus)
    directory = place(made, runs_root(), fresh=False)
    ahead = preview(made, hardware, directory, Execution(), reuse=reuse, calibrated=calibrate)
    if show_config:
        console.out(render_config(sources_of(made), output))
    else:
        console.out(render_plan(made, ahead.forecast, output))
    for note in ahead.notes:
        console.say(f"note: {note}")
    for problem in [] if strict else ahead.misfits:
        console.say(f"note: does not fit here: {problem}")
    with gathering() as gather:
        with gather.step():
            if strict:
                ahead.refuse_faults()
        with gather.step():
            if allowed_s is not None:
                _refuse_long(ahead.forecast, allowed_s)
    if directory.ledger.exists() and not ahead.forecast.cohorts:
        console.say(f"next: arbiter leaderboard {directory.shown()}")
    elif ahead.misfits and scale is None:
        smaller = replace(request, scale="smoke")
        console.say(f"next: {typed_as('plan', smaller, gpus=gpus, reuse=reuse, strict=strict)}")
    else:
        console.say(f"next: {typed_as('sweep', request, gpus=gpus, reuse=reuse, strict=strict)}")
    return 0


def _refuse_long(forecast: Forecast, allowed_s: float) -> None:
    from orchestrator.leaderboard.text import duration
    from orchestrator.plan_table import basis

    if forecast.wall_s > allowed_s:
        message = f"predicted {duration(forecast.wall_s)}, expected at most {duration(allowed_s)}"
        raise UsageError(Problem(message, "--fail-over", "; ".join(basis(forecast))))


def why(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Its id, or the beginning of it.")],
    run: Annotated[
        str | None,
        typer.Option(
            "--run", help="Run folder or its name. Default: all runs.", show_default=False
        ),
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    quiet: options.Quiet = False,
) -> int:
    """Print what a trial's id depends on, and what made it new."""
    if quiet:
        console.be_quiet()
    from orchestrator.layout import find_run, runs_root
    from orchestrator.lookup import find_trial
    from orchestrator.why import explain
    from orchestrator.why_table import FORMATS, render_why

    check_choice("format", output, FORMATS)
    root = runs_root()
    directory, trial_id = find_trial(trial, root, None if run is None else find_run(run))
    explanation = explain(directory, trial_id, root)
    console.out(render_why(explanation, output))
    for note in explanation.notes:
        console.say(f"note: {note}")
    console.say(f"next: arbiter leaderboard {directory.shown()}")
    return 0


def plan_of(request: Request, gpus: int | None) -> tuple[Plan, Hardware]:
    """Return the plan of a request, and the part of this machine it may use."""
    from orchestrator.hardware import detect
    from orchestrator.plan import make_plan

    hardware = detect().limited_to(gpus)
    return make_plan(request, hardware), hardware

"""Commands that look into one trial: debug, show."""

from __future__ import annotations

import gc
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import complete, console, options
from orchestrator.cli.again import typed_as
from orchestrator.cli.computation import say_computation
from orchestrator.cli.door import here
from orchestrator.cli.plans import plan_of
from orchestrator.errors import Exit, Problem, UsageError, check_choice
from orchestrator.preflight import check_ready

if TYPE_CHECKING:
    from orchestrator.hardware import Hardware
    from orchestrator.layout import RunDirectory
    from orchestrator.replay import Narrator
    from orchestrator.request import Request
    from orchestrator.trial import Trial
    from trainer.config import RunConfig
    from trainer.reporting import FitResult

RUN_AND_TRIAL = "arbiter debug [RUN] TRIAL"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(debug)
    app.command()(show)


def debug(
    words: options.TrialAndChanges = None,
    base_config: options.BaseConfig = None,
    strategy: options.AnyStrategy = None,
    trial: Annotated[
        str | None,
        typer.Option("--trial", help="Of the template: its number from 1, or its id. Default: 1."),
    ] = None,
    scale: options.ScaleName = None,
    gpus: options.Gpus = None,
    tier: options.Tier = None,
    pdb: Annotated[
        bool, typer.Option("--pdb", help="Stop in the debugger at the line that fails.")
    ] = False,
    quiet: options.Quiet = False,
) -> int:
    """Train one trial in this process, and tell each row.

    Nothing is kept or ranked.

    With RUN TRIAL: train that trial of a sweep again from its first step, and compare its rows
    with the ledger's. The sweep is not touched.
    """
    check_ready(with_workers=False)
    from orchestrator.request import Request

    if quiet:
        console.be_quiet()
    names, settings = options.split_words(words, most_names=2, usage=RUN_AND_TRIAL)
    if not names:
        request = Request(
            task=here().task,
            base_config=base_config,
            strategy=strategy,
            scale=scale,
            tier=tier,
            max_trials=1 if trial is None else None,
            overrides=tuple(settings),
        )
        return _debug_planned(request, trial, gpus, pdb)
    own = {"--base-config": base_config, "--strategy": strategy, "--trial": trial, "--scale": scale}
    if given := [name for name, value in own.items() if value is not None]:
        message = f"got {' '.join(names)} and {', '.join(given)}, expected one of them"
        hint = f"{RUN_AND_TRIAL} replays a trial; --strategy NAME takes one of a template"
        raise UsageError(Problem(message, "command line", hint))
    if len(names) == 1 and names[0] in complete.templates(names[0]):
        message = f"got {names[0]}, which is a template, expected {RUN_AND_TRIAL}"
        raise UsageError(Problem(message, "command line", f"arbiter debug --strategy {names[0]}"))
    return _replay(names, [*settings, *([f"tier={tier}"] if tier else [])], gpus, pdb)


def show(
    words: options.RunAndTrial,
    output: Annotated[
        str,
        typer.Option(
            "--format", help="table or json.", autocompletion=complete.among("table", "json")
        ),
    ] = "table",
    quiet: options.Quiet = False,
) -> int:
    """Print all there is to know of one trial."""
    if quiet:
        console.be_quiet()
    from orchestrator.trial_page import FORMATS, read_trial_page, render_trial

    check_choice("format", output, FORMATS)
    if len(words) > 2:
        message = f"got {' '.join(words)}, expected arbiter show [RUN] TRIAL"
        raise UsageError(Problem(message, "command line"))
    directory, trial_id = _found(words)
    page = read_trial_page(directory, trial_id)
    console.out(render_trial(page, output))
    console.say(f"next: arbiter debug {directory.shown()} {page.trial.id}")
    return Exit.OK


def _debug_planned(request: Request, which: str | None, gpus: int | None, pdb: bool) -> int:
    from orchestrator.leaderboard.table import settings_of
    from orchestrator.replay import Narrator

    if which is not None and request.strategy is None:
        raise UsageError(Problem("a single run has one trial", "--trial", "--strategy TEMPLATE"))
    plan, hardware = plan_of(request, gpus)
    chosen = _chosen(plan.trials, which)
    for note in plan.notes:
        console.say(f"note: {note}")
    what = settings_of(chosen.changed, chosen.seed)
    console.say(f"trial {chosen.id} {what} {_size(chosen.config)}")
    narrator = Narrator(chosen.config.training.steps, console.out)
    result = _train(chosen.id, chosen.config, hardware, narrator, pdb)
    command = "train" if request.strategy is None else "sweep"
    console.say(f"next: {typed_as(command, replace(request, max_trials=None), gpus=gpus)}")
    return Exit.FAILED_TRIALS if result.reason.failure else Exit.OK


def _chosen(trials: tuple[Trial, ...], which: str | None) -> Trial:
    from orchestrator.lookup import find_id

    if which is None:
        return trials[0]
    if which.isdecimal() and len(which) < len(trials[0].id):
        if 1 <= int(which) <= len(trials):
            return trials[int(which) - 1]
        message = f"got {which}, expected a number from 1 to {len(trials)}, or an id"
        raise UsageError(Problem(message, "--trial", "arbiter plan --strategy … lists them"))
    by_id = {trial.id: trial for trial in trials}
    return by_id[find_id(by_id, which, "--trial", "arbiter plan --strategy … lists them")]


def _found(names: list[str]) -> tuple[RunDirectory, str]:
    """Return the run and the id of `[RUN] TRIAL`; the newest run that has it where none is named."""
    from orchestrator.layout import find_run, runs_root
    from orchestrator.lookup import find_trial

    run = find_run(names[0]) if len(names) == 2 else None
    return find_trial(names[-1], runs_root(), run)


def _replay(names: list[str], settings: list[str], gpus: int | None, pdb: bool) -> int:
    from orchestrator.hardware import detect
    from orchestrator.replay import (
        Comparison,
        Narrator,
        other_circumstances,
        recorded,
        stepped_down,
    )
    from orchestrator.revision import changes, deciding_changes, described, read_revision
    from trainer.config import RunConfig

    hardware = detect().limited_to(gpus)
    revision = read_revision(settings, hardware)
    directory, trial_id = _found(names)
    trial, rows = recorded(directory, trial_id)
    before = RunConfig.model_validate(trial.config)
    config = revision.over(before)
    for note in [*revision.notes, *described([changes(before, config)])]:
        console.say(f"note: {note}")
    console.say(f"trial {trial.id} of {directory.shown()} from step 0 {_size(config)}")
    comparison = Comparison(dict(rows))
    narrator = Narrator(config.training.steps, console.out, comparison)
    result = _train(trial.id, config, hardware, narrator, pdb)
    console.out(comparison.verdict())
    another = deciding_changes(before, config, trial.id)
    lowered = stepped_down(directory, trial.id)
    if comparison.difference and another:
        console.say(f"it is another trial: {'; '.join(described([another]))}")
    elif comparison.difference and lowered:
        console.say(f"its first steps were taken under another tier: {lowered}")
    elif comparison.difference and (why := other_circumstances(directory)):
        console.say(f"made elsewhere: {why}")
    console.say(f"next: arbiter show {directory.shown()} {trial.id}")
    wrong = result.reason.failure or (comparison.difference and not another and not lowered)
    return Exit.FAILED_TRIALS if wrong else Exit.OK


def _train(
    trial_id: str, config: RunConfig, hardware: Hardware, narrator: Narrator, pdb: bool
) -> FitResult:
    from orchestrator.replay import train_alone

    say_computation(config, hardware)
    gc.enable()
    on_error = _stop_at if pdb else _show_traceback
    return train_alone(trial_id, config, hardware, narrator, on_error)


def _show_traceback(error: Exception) -> None:
    from trainer.errors import DivergedError, InputError

    if not isinstance(error, InputError | DivergedError):
        console.say("".join(traceback.format_exception(error)).rstrip())
        console.say("the same with --pdb stops at that line")


def _stop_at(error: Exception) -> None:
    import pdb

    console.say("".join(traceback.format_exception_only(error)).rstrip())
    pdb.post_mortem(error.__traceback__)


def _size(config: RunConfig) -> str:
    return f"({config.training.steps:,} steps on {config.tier.device})"

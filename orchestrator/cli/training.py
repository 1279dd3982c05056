"""Commands that train: sweep, train, resume."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import console, options, pipeline
from orchestrator.cli.computation import say_computation
from orchestrator.cli.door import here
from orchestrator.cli.plans import plan_of
from orchestrator.preflight import check_ready

if TYPE_CHECKING:
    from orchestrator.executors import Execution
    from orchestrator.hardware import Hardware
    from orchestrator.layout import RunDirectory
    from orchestrator.plan import Plan
    from orchestrator.request import Request
    from orchestrator.reuse import Earlier
    from orchestrator.sweep import Outcome


TOP = 5
"""Points of the leaderboard that are printed at the end."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(sweep)
    app.command()(train)
    app.command()(resume)


def sweep(
    strategy: options.Strategy,
    overrides: options.Overrides = None,
    base_config: options.BaseConfig = None,
    search: options.Search = None,
    scale: options.ScaleName = None,
    seeds: options.Seeds = None,
    max_trials: options.MaxTrials = None,
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
    """Train every trial of a sweep template and rank them.

    The same command again goes on where it was: trials that ended are not trained again.
    """
    check_ready(with_workers=executor != "inline")
    from orchestrator.executors import Execution
    from orchestrator.request import Request

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
        name=name,
    )
    execution = Execution(executor, cohort, dashboard, address)
    return start(request, gpus, execution, fresh, quiet, reuse=reuse, strict=strict)


def train(
    overrides: options.Overrides = None,
    base_config: options.BaseConfig = None,
    scale: options.ScaleName = None,
    gpus: options.Gpus = None,
    tier: options.Tier = None,
    name: options.Name = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
) -> int:
    """Train a single run in this process."""
    check_ready(with_workers=False)
    from orchestrator.executors import Execution
    from orchestrator.request import Request

    request = Request(
        task=here().task,
        base_config=base_config,
        scale=scale,
        tier=tier,
        overrides=tuple(overrides or ()),
        name=name or "train",
        max_trials=1,
    )
    if quiet:
        console.be_quiet()
    if tier is None and not any(word.startswith("tier=") for word in overrides or ()):
        request = _with_tier(request, gpus)
    return start(request, gpus, Execution("inline"), fresh, quiet)


def _with_tier(request: Request, gpus: int | None) -> Request:
    """Ask for the tier where a person is there and nothing says it yet."""
    if not console.can_ask():
        return request
    made, hardware = plan_of(request, gpus)  # what is wrong is said before anything is asked
    from orchestrator.tier_question import is_settled, tier_question

    if is_settled(made.sources, hardware):
        return request
    question = tier_question(hardware)
    console.say("\n".join(question.lines))
    while True:
        answer = console.ask(question.prompt)
        if answer is None:
            raise typer.Abort
        tier, why = question.read(answer)
        if tier is not None:
            return replace(request, tier=tier)
        console.say(why)


def resume(
    words: options.RunAndChanges = None,
    gpus: options.Gpus = None,
    executor: options.AnyExecutor = None,
    cohort: options.CohortSize = None,
    fork: Annotated[
        bool, typer.Option("--fork", help="Start a new sweep of its trials with the changes.")
    ] = False,
    dashboard: options.Dashboard = False,
    address: options.Address = None,
    quiet: options.Quiet = False,
) -> int:
    """Carry on a sweep or a pipeline that was interrupted.

    Settings that decide no result may be changed: limits, tier, checkpoint, logging.
    """
    from orchestrator.pipeline.record import find_pipeline

    names, settings = options.split_words(words, most_names=1, usage="arbiter resume [RUN]")
    long = find_pipeline(names[0] if names else None)
    executor = executor or ("ray_tune" if long is None else "inline")
    check_ready(with_workers=executor != "inline")
    from orchestrator import sweep as sweeps
    from orchestrator.executors import Execution, check_execution, find_hardware
    from orchestrator.fork import fork as forked
    from orchestrator.journal.run import read_run
    from orchestrator.layout import check_folders, find_run, runs_root
    from orchestrator.revision import read_revision

    if quiet:
        console.be_quiet()
    execution = Execution(executor, cohort, dashboard, address)
    check_execution(execution)
    if long is not None:
        if fork:
            pipeline.refuse_fork(long)
        return pipeline.resume(long, settings, execution, gpus)
    directory = find_run(names[0] if names else None)
    hardware = find_hardware(execution, gpus)
    revision = read_revision(settings, hardware)
    if fork:
        check_folders()
        plan = forked(directory, revision)
        place = sweeps.place(plan, runs_root(), fresh=False)
        name = directory.path.name
        return _run(plan, place, hardware, execution, plan.notes, forked_from=name)
    for note in revision.notes:
        console.say(f"note: {note}")
    here().journal.works_on(lambda: read_run(directory))
    gc.enable()
    with console.following() as audience:
        outcome = sweeps.resume(
            directory, hardware, execution, revision, notify=console.say, audience=audience
        )
    return _close(outcome)


def start(
    request: Request,
    gpus: int | None,
    execution: Execution,
    fresh: bool,
    quiet: bool,
    *,
    reuse: str | None = None,
    strict: bool = False,
) -> int:
    """Plan what was asked for, and train it."""
    from orchestrator import sweep as sweeps
    from orchestrator.executors import check_execution, find_hardware
    from orchestrator.layout import check_folders, runs_root
    from orchestrator.plan import make_plan
    from orchestrator.preview import preview

    if quiet:
        console.be_quiet()
    check_execution(execution)
    check_folders()
    hardware = find_hardware(execution, gpus)
    made = make_plan(request, hardware)
    if made.ablation is not None:
        execution = replace(execution, most_cohorts=made.ablation.parallel_runs)
    directory = sweeps.place(made, runs_root(), fresh)
    with directory.locked() if directory.path.exists() else contextlib.nullcontext():
        ahead = preview(made, hardware, directory, execution, reuse=reuse)
    if strict:
        ahead.refuse_faults()
    ahead.refuse_misfits()
    return _run(made, directory, hardware, execution, ahead.notes, reused=ahead.reused)


def _run(
    plan: Plan,
    directory: RunDirectory,
    hardware: Hardware,
    execution: Execution,
    notes: Sequence[str],
    *,
    reused: Mapping[str, Earlier] | None = None,
    forked_from: str | None = None,
) -> int:
    from orchestrator import sweep as sweeps
    from orchestrator.journal.run import run_of

    for note in notes:
        console.say(f"note: {note}")
    here().journal.works_on(lambda: run_of(plan, directory))
    console.say(f"{plan.name}: {sweeps.counted(len(plan.trials), 'trial')} in {directory.shown()}")
    if execution.executor == "inline" and len(plan.trials) == 1:
        say_computation(plan.trials[0].config, hardware)
    gc.enable()
    with console.following() as audience:
        outcome = sweeps.run(
            plan,
            directory,
            hardware,
            execution,
            command=[here().name, *sys.argv[1:]],
            notify=console.say,
            audience=audience,
            reused=reused,
            forked_from=forked_from,
        )
    return _close(outcome)


def _close(outcome: Outcome) -> int:
    """Say how it ended and name the next command."""
    from orchestrator.errors import Exit
    from orchestrator.leaderboard import render_top
    from orchestrator.spectra_table import judged_at_the_end, render_judged

    shown = outcome.directory.shown()
    done = sum(not trial.pending for trial in outcome.trials)
    page = f"{shown}/leaderboard.html"
    if outcome.ablation:
        from orchestrator.cli.ablation import publish

        page = str(publish(outcome))
    if outcome.exit_code is Exit.INTERRUPTED:
        console.say(f"stopped: {done} of {len(outcome.trials)} trials ended")
        console.say(f"next: arbiter resume {shown}")
        return outcome.exit_code
    failed = sum(t.reason is not None and t.reason.failure for t in outcome.trials)
    if not outcome.trained and not failed:
        console.say("nothing to train: every trial had ended before (--fresh trains anew)")
    if failed:
        console.say(f"{failed} of {len(outcome.trials)} trials failed: the leaderboard says why")
        again = "; ablation.retry_failed=N says how often" if outcome.ablation else ""
        console.say(f"a failed trial is not tried again{again}; --fresh starts the sweep anew")
    console.say("")
    if len(outcome.trials) == 1 and (judged := judged_at_the_end(outcome.trials[0].final)):
        console.out(render_judged(judged, "table"))  # of one trial there is nothing to rank
        console.say("")
        console.say(f"config and checkpoints: {shown}/trials/{outcome.trials[0].id}")
        console.say(f"leaderboard: {page}")
        console.say(f"next: spectramind predict {shown}")
        return outcome.exit_code
    most = outcome.board.most_shown or TOP
    console.out(render_top(outcome.board, most, console.page().width))
    console.say("")
    console.say(f"leaderboard: {page}")
    first = outcome.board.entries[0]
    if outcome.ablation and first.rank is not None:
        console.say(f"next: arbiter show {shown} {first.trial_ids[0]}")
    else:
        console.say(f"next: arbiter leaderboard {shown}")
    return outcome.exit_code

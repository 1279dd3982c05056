"""Commands that train: sweep, train, resume."""

from __future__ import annotations

import contextlib
import gc
import sys
from typing import TYPE_CHECKING

import typer

from orchestrator.cli import console, options

if TYPE_CHECKING:
    from orchestrator.executors import Execution
    from orchestrator.request import Request
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
    from orchestrator.executors import Execution
    from orchestrator.request import Request

    request = Request(
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
    return _start(request, gpus, execution, fresh, quiet, reuse=reuse, strict=strict)


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
    from orchestrator.executors import Execution
    from orchestrator.request import Request

    request = Request(
        base_config=base_config,
        scale=scale,
        tier=tier,
        overrides=tuple(overrides or ()),
        name=name or "train",
        max_trials=1,
    )
    return _start(request, gpus, Execution("inline"), fresh, quiet)


def resume(
    run: options.Run = None,
    gpus: options.Gpus = None,
    executor: options.ExecutorName = "ray_tune",
    cohort: options.CohortSize = None,
    dashboard: options.Dashboard = False,
    address: options.Address = None,
    quiet: options.Quiet = False,
) -> int:
    """Carry an interrupted sweep on from its ledger and checkpoints."""
    from orchestrator import sweep as sweeps
    from orchestrator.executors import Execution, check_execution, find_hardware
    from orchestrator.layout import find_run

    if quiet:
        console.be_quiet()
    execution = Execution(executor, cohort, dashboard, address)
    check_execution(execution)
    directory = find_run(run)
    gc.enable()
    with console.following() as audience:
        outcome = sweeps.resume(
            directory,
            find_hardware(execution, gpus),
            execution,
            notify=console.say,
            audience=audience,
        )
    return _close(outcome)


def _start(
    request: Request,
    gpus: int | None,
    execution: Execution,
    fresh: bool,
    quiet: bool,
    *,
    reuse: str | None = None,
    strict: bool = False,
) -> int:
    from orchestrator import sweep as sweeps
    from orchestrator.executors import check_execution, find_hardware
    from orchestrator.layout import check_writable, runs_root
    from orchestrator.plan import make_plan
    from orchestrator.preview import preview

    if quiet:
        console.be_quiet()
    check_execution(execution)
    check_writable(runs_root())
    hardware = find_hardware(execution, gpus)
    made = make_plan(request, hardware)
    directory = sweeps.place(made, runs_root(), fresh)
    with directory.locked() if directory.path.exists() else contextlib.nullcontext():
        ahead = preview(made, hardware, directory, execution, reuse=reuse)
    if strict:
        ahead.refuse_faults()
    for note in ahead.notes:
        console.say(f"note: {note}")
    console.say(f"{made.name}: {sweeps.counted(len(made.trials), 'trial')} in {directory.shown()}")
    gc.enable()
    with console.following() as audience:
        outcome = sweeps.run(
            made,
            directory,
            hardware,
            execution,
            command=sys.argv[1:],
            notify=console.say,
            audience=audience,
            reused=ahead.reused,
        )
    return _close(outcome)


def _close(outcome: Outcome) -> int:
    """Say how it ended and name the next command."""
    from orchestrator.errors import Exit
    from orchestrator.leaderboard import render_top

    shown = outcome.directory.shown()
    done = sum(not trial.pending for trial in outcome.trials)
    if outcome.exit_code is Exit.INTERRUPTED:
        console.say(f"stopped: {done} of {len(outcome.trials)} trials ended")
        console.say(f"next: arbiter resume {shown}")
        return outcome.exit_code
    if not outcome.trained:
        console.say("nothing to train: every trial had ended before")
    failed = sum(t.reason is not None and t.reason.failure for t in outcome.trials)
    if failed:
        console.say(f"{failed} of {len(outcome.trials)} trials failed: the leaderboard says why")
        console.say("a failed trial is not tried again; --fresh starts the sweep anew")
    console.say("")
    console.out(render_top(outcome.board, TOP))
    console.say("")
    console.say(f"leaderboard: {shown}/leaderboard.html")
    console.say(f"next: arbiter leaderboard {shown}")
    return outcome.exit_code

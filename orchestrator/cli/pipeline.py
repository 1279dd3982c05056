"""The command that goes from a text to a report: pipeline."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.errors import Problem, UsageError
from orchestrator.preflight import check_ready

if TYPE_CHECKING:
    from orchestrator.executors import Execution
    from orchestrator.hardware import Hardware
    from orchestrator.layout import RunDirectory
    from orchestrator.pipeline.record import Record
    from orchestrator.pipeline.stages import Outcome


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(pipeline)


def pipeline(
    corpus: Annotated[
        str, typer.Option("--corpus", help="UTF-8 text file, plain or .xz; or kjv, shakespeare.")
    ],
    overrides: options.Overrides = None,
    base_config: options.BaseConfig = None,
    vocab_size: Annotated[
        str | None,
        typer.Option(
            "--vocab-size",
            metavar="N,N,…",
            help="Vocabularies to compare. Default: the config's, or 1024,2048,4096.",
            show_default=False,
        ),
    ] = None,
    phrases: Annotated[
        int, typer.Option("--phrases", min=0, help="Entries of several words to find.")
    ] = 0,
    phrases_file: Annotated[
        Path | None, typer.Option("--phrases-file", help="Entries of several words, one a line.")
    ] = None,
    evaluations: Annotated[
        int, typer.Option("--evaluations", min=0, help="Evaluations before the final one.")
    ] = 4,
    scale: options.ScaleName = None,
    gpus: options.Gpus = None,
    tier: options.Tier = None,
    executor: options.ExecutorName = "inline",
    name: options.Name = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
) -> int:
    """Go from a text to a report: tokenizer, training, evaluations.

    The same command again goes on where it was, in whichever stage that is.
    """
    check_ready(with_workers=executor != "inline")
    from orchestrator.executors import Execution, check_execution, find_hardware
    from orchestrator.layout import check_folders, runs_root
    from orchestrator.pipeline.request import (
        PipelineRequest,
        notes_of,
        place,
        read_pipeline_request,
    )
    from orchestrator.request import Request

    if quiet:
        console.be_quiet()
    execution = Execution(executor)
    check_execution(execution)
    check_folders()
    hardware = find_hardware(execution, gpus)
    words = tuple(overrides or ())
    run = Request(base_config=base_config, scale=scale, tier=tier, overrides=words, name=name)
    asked = PipelineRequest(corpus, vocab_size, phrases, phrases_file, evaluations, run)
    record, plan = read_pipeline_request(asked, hardware)
    directory, record = place(record, plan, runs_root(), fresh)
    if not record.complete:
        for note in dict.fromkeys([*notes_of(plan, hardware, directory, execution), *record.notes]):
            console.say(f"note: {note}")
    return _run(directory, record, hardware, execution)


def resume(
    directory: RunDirectory, settings: Sequence[str], execution: Execution, gpus: int | None
) -> int:
    """Carry a pipeline on, as `arbiter resume` does for every run.

    Args:
        directory: The pipeline's.
        settings: `key=value` to change of how it is run.
        execution: How.
        gpus: To use; all where None.
    """
    from orchestrator.executors import find_hardware
    from orchestrator.pipeline.record import read_record
    from orchestrator.pipeline.request import revise

    hardware = find_hardware(execution, gpus)
    record = read_record(directory)
    for note in revise(record, directory, settings, hardware):
        console.say(f"note: {note}")
    return _run(directory, record, hardware, execution)


def refuse_fork(directory: RunDirectory) -> None:
    """Refuse to fork a pipeline: its tokenizer is of its own text and settings.

    Raises:
        UsageError: Always.
    """
    hint = "arbiter pipeline --corpus FILE … with the settings starts another one"
    raise UsageError(Problem("a pipeline cannot be forked", directory.shown(), hint))


def _run(directory: RunDirectory, record: Record, hardware: Hardware, execution: Execution) -> int:
    from orchestrator.pipeline import stages

    console.say(f"{record.name}: pipeline in {directory.shown()}")
    gc.enable()
    outcome = stages.run(
        directory,
        record,
        hardware,
        execution,
        command=sys.argv[1:],
        notify=console.say,
        audience=console.following,
    )
    return _close(outcome)


def _close(outcome: Outcome) -> int:
    """Say how it ended and name the next command."""
    from orchestrator.pipeline.summary import summary

    shown = outcome.directory.shown()
    if outcome.stopped:
        console.say(f"stopped: {outcome.stopped}")
        console.say(f"next: arbiter resume {shown}")
        return outcome.exit_code
    if not outcome.worked:
        console.say("nothing to do: it came to its report before; --fresh starts anew")
    if outcome.failed:
        console.say(f"failed: {outcome.failed}")
    elif outcome.exit_code:
        console.say("a gate of the final evaluation failed")
    console.out(summary(outcome))
    console.say(f"report: {shown}/report.html")
    following = "status" if outcome.failed else "sample"
    console.say(f"next: arbiter {following} {shown}")
    return outcome.exit_code

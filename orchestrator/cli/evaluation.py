"""Commands that look at what a checkpoint has learned: eval, sample."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import complete, console, options
from orchestrator.errors import Exit, Problem, UsageError, check_choice
from orchestrator.preflight import check_ready

if TYPE_CHECKING:
    from orchestrator.checkpoint_lookup import Found
    from trainer.config import RunConfig

USAGE = "arbiter eval CHECKPOINT"
SAMPLE_FORMATS = ("text", "json")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(name="eval")(evaluate)
    app.command()(sample)


Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A step-… folder, a trial (its folder or id: the newest), or a run (its leader).",
        autocompletion=complete.run_and_trial,
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings of evaluation and tier (evaluation.windows=4, tier=cpu).",
        show_default=False,
        autocompletion=complete.settings,
    ),
]
TierChanges = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings of the tier (tier=cpu).",
        show_default=False,
        autocompletion=complete.settings,
    ),
]


def evaluate(
    checkpoint: Checkpoint,
    changes: Changes = None,
    output: Annotated[
        str,
        typer.Option(
            "--format",
            help="table, md or json.",
            autocompletion=complete.among("table", "md", "json"),
        ),
    ] = "table",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it to this file, not to stdout.")
    ] = None,
    gpus: options.Gpus = None,
    quiet: options.Quiet = False,
) -> int:
    """Evaluate a checkpoint in bounded time.

    Likelihood, memorisation, probes, activations and attention; exit 3 if a gate of [evaluation]
    fails. Kept as JSON in the evaluations folder of its trial.
    """
    check_ready(with_workers=False)
    if quiet:
        console.be_quiet()
    from orchestrator.evaluation_page import FORMATS

    check_choice("format", output, FORMATS)
    if out is not None and not (out.parent.is_dir() and not out.is_dir()):
        hint = "a file in a folder that exists"
        raise UsageError(Problem(f"cannot write {str(out)!r}", "--out", hint))
    found, config = _chosen(checkpoint, changes, gpus, ("evaluation", "tier"))
    from orchestrator.checkpoint_lookup import keep, refused
    from orchestrator.evaluation_page import document, render_evaluation
    from orchestrator.layout import write_whole
    from trainer.errors import InputError
    from trainer.evaluation import evaluate as quick

    try:
        evaluation = quick(found.path, config, notify=console.say)
    except InputError as error:
        raise refused(error, found) from error
    kept = keep(found, document(evaluation, str(found.path)))
    page = render_evaluation(evaluation, str(found.path), output)
    if out is None:
        console.out(page)
    else:
        try:
            write_whole(out, page)
        except OSError as error:
            message, hint = (
                f"cannot write {str(out)!r}: {error.strerror}",
                "a file in another folder",
            )
            raise UsageError(Problem(message, "--out", hint)) from error
        console.say(f"wrote {out}")
    where = "not kept: it does not lie in the folder of a trial" if kept is None else _short(kept)
    console.say(f"evaluation: {where}")
    failed = [gate.name for gate in evaluation.gates if not gate.passed]
    if failed:
        console.say(f"{len(failed)} of {len(evaluation.gates)} gates failed: {', '.join(failed)}")
    command = "sample" if config.data.task == "corpus" else "show"
    what = str(found.path) if command == "sample" else evaluation.checkpoint["trial_id"]
    console.say(f"next: arbiter {command} {shlex.quote(str(what))}")
    return Exit.FAILED_TRIALS if failed else Exit.OK


def sample(
    checkpoint: Checkpoint,
    changes: TierChanges = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="Text to go on with. Default: a line of held-out text."),
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens to add.")] = 128,
    temperature: Annotated[
        float,
        typer.Option("--temperature", min=0.0, max=100.0, help="0 takes the likeliest token."),
    ] = 0.8,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", min=1, help="Draw from that many likeliest tokens. Default: all."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the draws: the same seed, the same text.")
    ] = 0,
    count: Annotated[int, typer.Option("--count", min=1, help="Continuations.")] = 1,
    output: Annotated[
        str,
        typer.Option(
            "--format", help="text or json.", autocompletion=complete.among("text", "json")
        ),
    ] = "text",
    gpus: options.Gpus = None,
    quiet: options.Quiet = False,
) -> int:
    """Print how a checkpoint goes on with a text."""
    check_ready(with_workers=False)
    if quiet:
        console.be_quiet()
    check_choice("format", output, SAMPLE_FORMATS)
    if prompt == "":
        hint = "leave it out to start from the held-out text"
        raise UsageError(Problem("got no text, expected some", "--prompt", hint))
    if math.isnan(temperature):
        raise UsageError(Problem("got nan, expected a number", "--temperature"))
    found, config = _chosen(checkpoint, changes, gpus, ("tier",))
    if config.data.task != "corpus":
        message = f"task {config.data.task} has no text to go on with"
        raise UsageError(Problem(message, str(found.path), f"arbiter eval {found.path}"))
    from orchestrator.checkpoint_lookup import refused
    from trainer.errors import InputError
    from trainer.evaluation.continuation import continue_text

    try:
        texts = continue_text(
            found.path,
            config,
            prompt,
            tokens,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            count=count,
        )
    except InputError as error:
        raise refused(error, found) from error
    if output == "json":
        fields = {"checkpoint": str(found.path), "seed": seed, "temperature": temperature}
        samples = [{"prompt": said, "continuation": more} for said, more in texts]
        console.out(json.dumps({**fields, "top_k": top_k, "samples": samples}, indent=1))
    else:
        for number, (said, more) in enumerate(texts, start=1):
            if count > 1:
                console.out(f"[{number} of {count}]")
            console.out(said + more)
    console.say(f"next: arbiter eval {shlex.quote(str(found.path))}")
    return Exit.OK


def _chosen(
    checkpoint: str, changes: list[str] | None, gpus: int | None, sections: tuple[str, ...]
) -> tuple[Found, RunConfig]:
    """Return the checkpoint that was meant, and what it was trained with."""
    from orchestrator.checkpoint_lookup import config_for, find_checkpoint
    from orchestrator.hardware import detect
    from orchestrator.revision import read_revision

    names, settings = options.split_words(changes, most_names=0, usage=f"{USAGE} key=value")
    assert not names
    hardware = detect().limited_to(gpus)
    revision = read_revision(settings, hardware)
    found = find_checkpoint(checkpoint)
    config = config_for(found, revision, sections)
    if refusal := hardware.refuse(config.tier):
        raise UsageError(Problem(refusal, str(found.path), "tier=cpu computes on the CPU"))
    for note in revision.notes:
        console.say(f"note: {note}")
    if found.note:
        console.say(f"{found.path}: {found.note}")
    return found, config


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

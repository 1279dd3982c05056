"""Commands about tokenizers: tokenizer train."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.cli.again import setting
from orchestrator.errors import Exit, Problem, UsageError, check_choice

if TYPE_CHECKING:
    from trainer.tasks.corpus.vocabularies import Study

PLACES = {
    "data.dataset_path": "CORPUS",
    "vocab_size": "--vocab-size",
    "phrases": "--phrases",
    "choose": "--choose",
    "train_frac": "--train-frac",
    "out": "--out",
}
"""What the trainer calls a setting to where it was typed."""

group = typer.Typer(help="Make vocabularies for a text.")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(group, name="tokenizer")


@group.command()
def train(
    corpus: Annotated[
        str,
        typer.Argument(metavar="CORPUS", help="kjv, shakespeare, or a UTF-8 file, plain or .xz."),
    ],
    vocab_size: Annotated[
        str,
        typer.Option("--vocab-size", metavar="N[,N]...", help="Sizes to train, at least 257."),
    ] = "1024,2048,4096",
    phrases: Annotated[
        int,
        typer.Option(
            "--phrases", min=0, help="Phrases to find in the text; each becomes one token."
        ),
    ] = 0,
    phrases_file: Annotated[
        Path | None,
        typer.Option(
            "--phrases-file", help="Phrases that become one token, one a line.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for the files. Default: tokenizers/CORPUS-HASH.",
            show_default=False,
        ),
    ] = None,
    choose: Annotated[
        int | None,
        typer.Option("--choose", help="The size to take. Default: by rule.", show_default=False),
    ] = None,
    train_frac: Annotated[
        float, typer.Option("--train-frac", help="As data.train_frac of the runs to come.")
    ] = 0.9,
    val_frac: Annotated[
        float, typer.Option("--val-frac", help="As data.val_frac of the runs to come.")
    ] = 0.05,
    output: options.TableFormat = "table",
    quiet: options.Quiet = False,
) -> int:
    """Train byte-level BPE vocabularies on a text's train split, and choose one.

    Any UTF-8 text can be written with each. The choice is the smallest size from which a doubling
    gains less than 5% bytes a token on held-out text.
    """
    if quiet:
        console.be_quiet()
    from orchestrator.tokenizer_table import FORMATS, render_study
    from trainer.errors import InputError
    from trainer.tasks.corpus.vocabularies import carry_out
    from trainer.tasks.corpus.vocabulary_order import Order

    check_choice("format", output, FORMATS)
    sizes = _sizes(vocab_size)
    try:
        order = Order(corpus, sizes, phrases, phrases_file, train_frac, val_frac)
        folder = out or Path("tokenizers") / order.name
        made = carry_out(order, folder, choose=choose, notify=console.say)
    except InputError as error:
        raise UsageError(_typed(error)) from error
    console.out(render_study(made, output))
    console.say(f"chosen: {made.chosen.path}, because {made.reason}")
    console.say(f"next: {_next(made, corpus, train_frac, val_frac)}")
    return Exit.OK


def _sizes(given: str) -> list[int]:
    """Return the sizes of `1024,2048`."""
    words = [word.strip() for word in given.split(",")]
    if wrong := [word for word in words if not (word.isascii() and word.isdecimal())]:
        message = f"got {wrong[0]!r}, expected whole numbers with commas between them"
        raise UsageError(Problem(message, "--vocab-size", "--vocab-size 1024,2048,4096"))
    return [int(word) for word in words]


def _typed(error: Exception) -> Problem:
    """Return what the trainer refuses, with the place where it was typed."""
    key, _, message = str(error).partition(": ")
    hint = getattr(error, "hint", "")
    return Problem(message, PLACES[key], hint) if key in PLACES else Problem(str(error), "", hint)


def _next(made: Study, corpus: str, train_frac: float, val_frac: float) -> str:
    """Return the command that trains with the chosen vocabulary, on the same shares."""
    settings = {
        "data.dataset_path": corpus,
        "data.tokenizer": "bpe",
        "data.tokenizer_path": made.chosen.path,
    }
    if (train_frac, val_frac) != (0.9, 0.05):
        settings |= {"data.train_frac": train_frac, "data.val_frac": val_frac}
    return shlex.join(["arbiter", "train", *(setting(*item) for item in settings.items())])

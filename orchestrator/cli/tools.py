"""Commands about the installation and its files: init, schema, doctor."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import complete, console, options
from orchestrator.errors import Exit, StorageError, UsageError, check_choice


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(init)
    app.command()(schema)
    app.command()(doctor)


def init(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="A name that does not exist yet.")
    ] = Path("sweep.toml"),
    quiet: options.Quiet = False,
) -> int:
    """Write a commented sweep template to start from."""
    if quiet:
        console.be_quiet()
    from orchestrator.starter import write_starter

    write_starter(file)
    console.say(f"wrote {file}")
    console.say(f"next: arbiter plan --strategy {shlex.quote(str(file))}")
    return Exit.OK


def schema(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[template|config]", autocompletion=complete.among("template", "config")
        ),
    ] = "template",
    quiet: options.Quiet = False,
) -> int:
    """Print the JSON schema of a template or base config."""
    if quiet:
        console.be_quiet()
    from orchestrator.schema import KINDS, schema_of

    check_choice("kind", kind, KINDS)
    console.out(schema_of(kind))
    console.say("an editor checks a file whose first line is `#:schema ./arbiter.json`")
    console.say(f"next: arbiter schema {kind} > arbiter.json")
    return Exit.OK


def doctor(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="Run folder or its name.",
            show_default=False,
            autocompletion=complete.runs,
        ),
    ] = None,
    gpus: options.Gpus = None,
    quiet: options.Quiet = False,
) -> int:
    """Look at this machine, or prove that a run is sound.

    Without RUN: exit 2 if a sweep could not be trained here. With RUN: exit 4 if something of it
    is damaged or disagrees with its ledger. Nothing is written.
    """
    if quiet:
        console.be_quiet()
    if run is not None:
        return _examine_run(run)
    from orchestrator.doctor import examine, problems_of
    from orchestrator.hardware import detect

    findings = examine(detect().limited_to(gpus))
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        hint = f"  ({finding.hint})" if finding.hint else ""
        console.out(f"{finding.verdict:<5}  {finding.subject:<{width}}  {finding.text}{hint}")
    if problems := problems_of(findings):
        raise UsageError(*problems)
    console.say("next: arbiter plan --strategy grid --scale smoke")
    return Exit.OK


def _examine_run(run: str) -> int:
    from orchestrator.layout import find_run
    from orchestrator.verify import find_damage

    directory = find_run(run)
    examined = find_damage(directory)
    if examined.problems:
        raise StorageError(*examined.problems)
    console.out(f"{directory.shown()}: {examined.summary}")
    console.say(f"next: arbiter leaderboard {directory.shown()}")
    return Exit.OK

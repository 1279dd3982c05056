"""The command line's surface, frozen: a change of it is a change of a golden file.

`ARBITER_UPDATE_GOLDEN=1 pytest tests/test_cli_help.py` writes them anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from orchestrator.cli.app import app

GOLDEN = Path(__file__).parent / "golden"


def commands_of(program: Typer, above: str = "") -> list[str]:
    """Return the commands of a program, and those below them, as they are typed."""
    found = [
        f"{above}{c.name or getattr(c.callback, '__name__', '')}"
        for c in program.registered_commands
    ]
    for group in program.registered_groups:
        assert group.typer_instance is not None
        name = f"{above}{group.name}"
        found += [name, *commands_of(group.typer_instance, f"{name} ")]
    return found


COMMANDS = sorted(commands_of(app))


@pytest.mark.parametrize("command", ["", *COMMANDS], ids=lambda name: name or "arbiter")
def test_help_is_as_it_was(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    arguments = [*command.split(), "--help"]
    shown = CliRunner().invoke(app, arguments, env=environment, prog_name="arbiter")
    assert shown.exit_code == 0, shown.output
    path = GOLDEN / f"help_{command.replace(' ', '_') or 'arbiter'}.txt"
    if os.environ.get("ARBITER_UPDATE_GOLDEN"):
        path.write_text(shown.output, encoding="utf-8")
    assert shown.output == path.read_text(encoding="utf-8")


def test_no_golden_file_is_left_of_a_command_that_went() -> None:
    kept = {path.stem.removeprefix("help_") for path in GOLDEN.glob("help_*.txt")}
    assert kept == {"arbiter", *(command.replace(" ", "_") for command in COMMANDS)}

"""The command lines' surface, frozen: a change of it is a change of a golden file.

`ARBITER_UPDATE_GOLDEN=1 pytest tests/test_cli_help.py` writes them anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from orchestrator.cli import app, spectramind

GOLDEN = Path(__file__).parent / "golden"
PROGRAMS = {"arbiter": app.app, "spectramind": spectramind.app}


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


COMMANDS = sorted(
    f"{name} {command}".strip()
    for name, program in PROGRAMS.items()
    for command in ("", *commands_of(program))
)


def golden_name(command: str) -> str:
    """Return the file of a command: `sweep` for `arbiter sweep`, and `arbiter` for the program."""
    return f"help_{command.removeprefix('arbiter ').replace(' ', '_')}.txt"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_as_it_was(command: str) -> None:
    environment = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    name, *words = command.split()
    shown = CliRunner().invoke(PROGRAMS[name], [*words, "--help"], env=environment, prog_name=name)
    assert shown.exit_code == 0, shown.output
    path = GOLDEN / golden_name(command)
    if os.environ.get("ARBITER_UPDATE_GOLDEN"):
        path.write_text(shown.output, encoding="utf-8")
    assert shown.output == path.read_text(encoding="utf-8")


def test_no_golden_file_is_left_of_a_command_that_went() -> None:
    assert {path.name for path in GOLDEN.glob("help_*.txt")} == set(map(golden_name, COMMANDS))

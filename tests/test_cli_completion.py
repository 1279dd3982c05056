"""What the shell offers at a tab, as the shell asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from tests.program import Program
from tests.sweeps import run_plan, tiny_plan, trials_of


def offered(line: str) -> list[str]:
    words = line.split(" ")
    asked = {
        "_ARBITER_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    shown = CliRunner().invoke(app, [], env=asked, prog_name="arbiter")
    assert shown.exit_code == 0, shown.output
    return shown.output.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("arbiter sw", ["sweep"]),
        ("arbiter sweep --strategy g", ["grid", "grokking_regime"]),
        ("arbiter sweep --tier c", ["cpu"]),
        (
            "arbiter train trainer=",
            [f"trainer={name}" for name in ("ablation", "ci_fast", "defaults", "kaggle_safe")],
        ),
        ("arbiter train training.lea", ["training.learning_rate="]),
        ("arbiter leaderboard --format h", ["html"]),
        ("arbiter sweep --executor i", ["inline"]),
        ("arbiter schema t", ["template"]),
    ],
)
def test_names_are_completed(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_runs_and_trials_are_completed(program: Program) -> None:
    assert offered("arbiter resume ") == [
        "task=",
        "model=",
        "trainer=",
        "tier=",
        "loss=",
        "symbolic=",
    ]
    run_plan(tiny_plan(program.folder, steps=2, seeds=1), program.folder / "runs" / "tiny")
    assert offered("arbiter status ti") == ["tiny"]
    assert offered("arbiter doctor ti") == ["tiny"]
    trial = trials_of(program.folder / "runs" / "tiny")[1]
    assert offered(f"arbiter show {trial.id[:6]}") == [trial.id]
    assert offered(f"arbiter debug tiny {trial.id[:6]}") == [trial.id]
    Path("runs/tiny/ledger.db").write_text("no database")
    assert offered(f"arbiter show {trial.id[:6]}") == []

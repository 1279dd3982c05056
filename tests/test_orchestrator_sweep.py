from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path

import pytest

from orchestrator.errors import Exit
from orchestrator.layout import RunDirectory, find_same_sweep
from orchestrator.ledger import Ledger
from orchestrator.plan import make_plan
from orchestrator.request import Request
from orchestrator.sweep import place
from tests.sweeps import (
    CPU_ONLY,
    events_of,
    ranking_of,
    rows_of,
    run_plan,
    tiny_plan,
    trials_of,
)
from trainer.reporting import Reason


def test_a_sweep_leaves_what_the_design_names(tmp_path: Path) -> None:
    run_plan(tiny_plan(tmp_path, seeds=1), tmp_path / "run")
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"plan.json", "ledger.db", "events.jsonl", "provenance.json", "trials"} <= left
    assert {f"leaderboard.{name}" for name in ("md", "html", "csv", "json")} <= left
    trial = trials_of(tmp_path / "run")[0]
    folder = tmp_path / "run" / "trials" / trial.id
    assert {"config.yaml", "checkpoints"} <= {path.name for path in folder.iterdir()}
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert sum(event["kind"] == "ended" for event in events) == 2


def test_the_command_of_a_row_trains_it_again_bit_for_bit(tmp_path: Path) -> None:
    run_plan(tiny_plan(tmp_path), tmp_path / "run")
    entry = json.loads((tmp_path / "run" / "leaderboard.json").read_text())["entries"][0]
    program, command, option, path = shlex.split(entry["command"])
    assert (program, command, option) == ("arbiter", "train", "--base-config")
    plan = make_plan(Request(base_config=Path(path), max_trials=1), CPU_ONLY)
    assert plan.trials[0].id == entry["trial_ids"][0]
    run_plan(plan, tmp_path / "again")
    assert rows_of(tmp_path / "again").items() <= rows_of(tmp_path / "run").items()


def test_the_same_plan_goes_on_in_the_directory_it_has(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    plan = tiny_plan(tmp_path, seeds=1)
    directory = place(plan, root, fresh=False)
    run_plan(plan, directory.path)
    assert place(plan, root, fresh=False) == directory
    assert find_same_sweep(root, plan.hash) == directory
    other = tiny_plan(tmp_path, seeds=2)
    assert find_same_sweep(root, other.hash) is None


def test_a_limit_ends_resumable_and_does_not_move_the_schedule(tmp_path: Path) -> None:
    run_plan(tiny_plan(tmp_path, seeds=1), tmp_path / "reference")
    limited = tiny_plan(tmp_path, seeds=1, extra="\n[limits]\nstop_after_steps = 25\n")
    outcome = run_plan(limited, tmp_path / "run")
    assert outcome.exit_code is Exit.INTERRUPTED
    assert {t.reason for t in trials_of(tmp_path / "run")} == {Reason.BUDGET}
    assert {t.step for t in trials_of(tmp_path / "run")} == {25}
    expected = {
        trial: [row for row in rows if row[0] <= 25]
        for trial, rows in rows_of(tmp_path / "reference").items()
    }
    assert rows_of(tmp_path / "run") == expected
    assert not [row for row in ranking_of(tmp_path / "run") if ("rank", "1") in row]


def test_a_directory_whose_start_was_cut_off_starts_again(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, seeds=1)
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    (directory.path / ".ledger.db.draft").write_bytes(b"half a ledger")
    outcome = run_plan(plan, directory.path)
    assert outcome.exit_code is Exit.OK
    assert not list(directory.path.glob(".ledger.db.draft*"))


def test_a_failed_trial_is_not_trained_again(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, seeds=1, extra='"training.learning_rate" = [1e30]\n')
    assert run_plan(plan, tmp_path / "run").exit_code is Exit.FAILED_TRIALS
    again = run_plan(plan, tmp_path / "run")
    assert (again.exit_code, again.trained) == (Exit.FAILED_TRIALS, 0)
    assert len(events_of(tmp_path / "run", "started")) == len(plan.trials)


@pytest.mark.timeout(300)
def test_language_models_learn_more_than_letter_frequencies(tmp_path: Path) -> None:
    """The path of `make sweep` at a quarter of its length: smoke scale, two depths, the shipped text."""
    request = Request(
        base_config=Path(__file__).parent.parent / "sweep_templates" / "base_config.toml",
        strategy="grid",
        scale="smoke",
        overrides=(
            "training.steps=30",
            "training.learning_rate=1e-2",
            "training.weight_decay=0.1",
            "model.n_layers=2,3",
        ),
    )
    outcome = run_plan(make_plan(request, CPU_ONLY), tmp_path / "run")
    assert outcome.exit_code is Exit.OK
    assert len(outcome.trials) == 2
    for trial in outcome.trials:
        assert trial.final["val/loss"] < 0.95 * trial.final["baseline/unigram_loss"]
        assert abs(trial.final["val/loss"] - trial.final["test/loss"]) < 0.3
    with contextlib.closing(Ledger.read(tmp_path / "run" / "ledger.db")) as ledger:
        first = [row["val/loss"] for _, row in ledger.rows(trial.id) if "val/loss" in row]
    assert first == sorted(first, reverse=True)

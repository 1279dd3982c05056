"""One trial alone: debugged, replayed against its sweep, and shown."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Exit
from orchestrator.executors import Execution
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger
from orchestrator.plan import make_plan
from orchestrator.request import Request
from orchestrator.sweep import run
from tests.program import Program
from tests.small_card import at_most, small_card
from tests.sweeps import CPU_ONLY, rows_of, run_plan, tiny_plan, trials_of
from trainer.tasks.modular import ModularTask


@pytest.fixture
def swept(program: Program) -> RunDirectory:
    """A sweep of two points that ended, in the program's runs folder."""
    directory = RunDirectory(program.folder / "runs" / "tiny")
    plan = tiny_plan(program.folder, seeds=1)
    how = Execution("inline")
    run(plan, directory, CPU_ONLY, how, command=[], notify=lambda line: None)
    return directory


def breaks_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the trainer fail at a step, in its own code."""
    working = ModularTask.batch

    def batch(task: ModularTask, at: int) -> Any:
        culprit = f"batch {at}"
        if at == step:
            raise ZeroDivisionError(culprit)
        return working(task, at)

    monkeypatch.setattr(ModularTask, "batch", batch)


def test_a_trial_of_a_template_is_told_row_by_row_and_leaves_nothing(program: Program) -> None:
    plan = tiny_plan(program.folder, steps=20)
    done = program("debug", "--strategy", "tiny.toml", "--gpus", "0")
    assert done.code == Exit.OK, done.err
    assert done.out.startswith("step 10 of 20: train/loss ")
    assert "\nfinished at step 20\n" in done.out
    assert f"trial {plan.trials[0].id} weight_decay=0.1 seed=0 (20 steps on cpu)" in done.err
    assert "next: arbiter sweep --strategy tiny.toml --gpus 0\n" in done.err
    assert [path.name for path in program.folder.iterdir()] == ["tiny.toml"]


@pytest.mark.parametrize("by_id", [False, True])
def test_another_trial_of_the_template_is_chosen(program: Program, by_id: bool) -> None:
    plan = tiny_plan(program.folder, steps=2)
    which = plan.trials[2].id if by_id else "3"
    done = program("debug", "--strategy", "tiny.toml", "--trial", which, "--gpus", "0")
    assert f"trial {plan.trials[2].id} " in done.err
    said = program.refuses("debug", "--strategy", "tiny.toml", "--trial", "5", code=Exit.USAGE)
    assert "expected a number from 1 to 4, or an id" in said


def test_a_space_too_large_to_plan_has_a_first_trial(program: Program) -> None:
    tiny_plan(program.folder, steps=2)
    many = [n / 1000 for n in range(1, 900)]
    with (program.folder / "tiny.toml").open("a") as file:
        file.write(f'"training.beta1" = {many}\n"training.beta2" = {many}\n')
    done = program("debug", "--strategy", "tiny.toml", "--gpus", "0")
    assert done.code == Exit.OK, done.err
    assert " beta1=0.001 beta2=0.001 seed=0 " in done.err


def test_a_failure_is_shown_with_its_lines(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan(program.folder)
    breaks_at(15, monkeypatch)
    monkeypatch.setattr("sys.argv", ["arbiter"])
    from orchestrator.cli.debugging import debug

    assert debug(strategy="tiny.toml", gpus=0) == Exit.FAILED_TRIALS
    said = program.capsys.readouterr()
    assert "raise ZeroDivisionError(culprit)\nZeroDivisionError: batch 15" in said.err
    assert "--pdb stops at that line" in said.err
    assert said.out.endswith("failed at step 15: ZeroDivisionError: batch 15\n")
    assert len(plan.trials) == 4


def test_the_debugger_stops_at_the_failing_line(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_plan(program.folder)
    breaks_at(15, monkeypatch)
    typed = iter(["p 'here is ' + culprit", "up", "p first, len(losses)", "q"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(typed))
    done = program("debug", "--strategy", "tiny.toml", "--pdb", "--gpus", "0")
    assert done.code == Exit.FAILED_TRIALS
    assert "'here is batch 15'" in done.out
    assert [*typed] == []


def test_a_replay_is_the_same_as_the_ledger_and_touches_nothing(
    program: Program, swept: RunDirectory
) -> None:
    before = program.tree()
    trial = trials_of(swept.path)[1]
    done = program("debug", "tiny", trial.id[:4], "--gpus", "0")
    assert done.code == Exit.OK, done.err
    assert "same as the ledger up to step 60 (6 rows, bit for bit)\n" in done.out
    assert program.tree() == before
    newest = program("debug", trial.id, "checkpoint.interval=7", "--tier", "cpu", "-q")
    assert newest.out.endswith("same as the ledger up to step 60 (6 rows, bit for bit)\n")
    assert newest.err == ""


def test_a_replay_names_the_first_row_that_differs(program: Program, swept: RunDirectory) -> None:
    trial = trials_of(swept.path)[0]
    step, row = rows_of(swept.path)[trial.id][2]
    with contextlib.closing(Ledger.open(swept.ledger)) as ledger, ledger.transaction():
        wrong = json.dumps(row | {"train/loss": 1.25})
        ledger.connection.execute(
            "UPDATE rows SET metrics = ? WHERE trial_id = ? AND step = ?", (wrong, trial.id, step)
        )
    done = program("debug", "tiny", trial.id, "--gpus", "0")
    assert done.code == Exit.FAILED_TRIALS
    assert "differs from the ledger first at step 30: train/loss is 1." in done.out
    assert " here, 1.25 there; same up to step 20\n" in done.out


def test_a_replay_of_a_trial_that_stepped_down_says_so(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        small_card(patch, at_most(50, from_step=25))
        run_plan(tiny_plan(program.folder, seeds=1), program.folder / "runs" / "tiny")
    trial = trials_of(program.folder / "runs" / "tiny")[0]
    done = program("debug", "tiny", trial.id, "--gpus", "0")
    assert done.code == Exit.OK
    assert "differs from the ledger first at step" in done.out
    told = "under another tier: out of memory at step 26: micro-batch 84 → 42"
    assert told in done.err


def test_a_replay_with_another_setting_is_another_trial(
    program: Program, swept: RunDirectory
) -> None:
    trial = trials_of(swept.path)[0]
    done = program("debug", "tiny", trial.id, "learning_rate=0.5", "--gpus", "0")
    assert done.code == Exit.OK
    assert "differs from the ledger first at step 10" in done.out
    assert "it is another trial: training.learning_rate: 0.01 → 0.5" in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["debug", "tiny", "zzz"], "no trial 'zzz'"),
        (["debug", "tiny", ""], "no trial ''"),
        (["show", "tiny", "zzz"], "hint: arbiter status runs/tiny lists trials"),
        (["show", "tiyn", "zzz"], "did you mean tiny?"),
        (["show", "a", "b", "c"], "expected arbiter show [RUN] TRIAL"),
        (["debug", "a", "b", "c"], "expected arbiter debug [RUN] TRIAL"),
        (["show", "tiny", "x", "--format", "xml"], "one of table, json"),
        (["debug", "tiny", "x", "--strategy", "grid"], "got tiny x and --strategy"),
        (["debug", "grid"], "hint: arbiter debug --strategy grid"),
        (["debug", "--trial", "2"], "a single run has one trial"),
        (["debug", "tiny", "x", "tier=cup"], "no tier 'cup' - did you mean cpu?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_exist_is_told(
    program: Program, swept: RunDirectory, arguments: list[str], told: str
) -> None:
    assert told in program.refuses(*arguments, code=Exit.USAGE)


def test_a_trial_is_shown(program: Program, swept: RunDirectory) -> None:
    trial = trials_of(swept.path)[1]
    done = program("show", trial.id[:5])
    assert done.code == Exit.OK
    for told in (
        f"{trial.id} of runs/tiny\n",
        "training.weight_decay  1\n",
        "finished, step 60 of 60, 1 attempt",
        "val/loss from ",
        "6 rows\n",
        "step-000000040, step-000000060\n",
        "test/loss ",
        f"Again: arbiter train --base-config runs/tiny/trials/{trial.id}/config.yaml\n",
    ):
        assert told in done.out, told
    assert f"next: arbiter debug runs/tiny {trial.id}" in done.err
    page = json.loads(program("show", "tiny", trial.id, "--format", "json").out)
    assert (page["id"], page["reason"], len(page["rows"])) == (trial.id, "finished", 6)
    assert page["final"] == trial.final


def test_the_end_of_a_failed_trials_log_is_shown(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_plan(program.folder, seeds=1)
    breaks_at(15, monkeypatch)
    sweep = program("sweep", "--strategy", "tiny.toml", "--executor", "inline", "--gpus", "0")
    assert sweep.code == Exit.FAILED_TRIALS
    (directory,) = (program.folder / "runs").iterdir()
    trial = trials_of(directory)[0]
    text = program("show", trial.id).out
    assert "failed, step 15 of 60" in text
    assert "The end of its log\n" in text and "ZeroDivisionError: batch 15" in text


def test_ctrl_c_ends_a_debug_run_at_once(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(task: ModularTask, at: int) -> Any:
        raise KeyboardInterrupt

    tiny_plan(program.folder)
    monkeypatch.setattr(ModularTask, "batch", interrupted)
    done = program("debug", "--strategy", "tiny.toml", "--gpus", "0")
    assert done.code == Exit.SECOND_INTERRUPT
    assert "finished" not in done.out


def test_the_command_that_is_shown_trains_the_same(program: Program, swept: RunDirectory) -> None:
    trial = trials_of(swept.path)[0]
    config = Path("runs/tiny/trials") / trial.id / "config.yaml"
    again = make_plan(Request(base_config=config), CPU_ONLY)
    assert [t.id for t in again.trials] == [trial.id]


def test_a_single_run_says_once_how_it_is_executed(program: Program) -> None:
    small = ("task=modular", "data.p=7", "model.dim=8", "model.n_layers=1", "training.steps=2")
    for command in ("debug", "train"):
        done = program(
            command, "--gpus", "0", *small, "tier.attention=efficient", "eval_interval=2"
        )
        assert done.code == Exit.OK, done.err
        said = "cpu, fp32: attention flash (not efficient: a CPU has none); recomputation off; "
        assert done.err.count(said) == 1
    done = program("train", "-q", "--gpus", "0", *small, "eval_interval=2")
    assert "attention" not in done.err

"""What another run has finished is taken over where training again would leave the same record."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from orchestrator import sweep
from orchestrator.errors import Exit, StorageError, UsageError
from orchestrator.executors import Execution
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request
from orchestrator.reuse import AUTO, Earlier, adopt, find_earlier
from tests.sweeps import CPU_ONLY, events_of, ranking_of, rows_of, run_plan, tiny_plan, trials_of
from trainer.reporting import Reason


def run(root: Path, name: str, plan: Plan, reuse: str | None = None) -> sweep.Outcome:
    found: dict[str, Earlier] = {}
    if reuse is not None:
        found, _ = find_earlier(plan.trials, reuse, root, RunDirectory(root / name))
    root.mkdir(exist_ok=True)
    return sweep.run(
        plan,
        RunDirectory(root / name),
        CPU_ONLY,
        Execution("inline"),
        command=["test"],
        notify=lambda line: None,
        reused=found,
    )


def planned(folder: Path, *overrides: str) -> Plan:
    """The plan of the template that `tiny_plan` left, with overrides."""
    return make_plan(Request(strategy=str(folder / "tiny.toml"), overrides=overrides), CPU_ONLY)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run(folder, "first", tiny_plan(folder, seeds=1))
    return folder / "first"


@pytest.fixture
def root(tmp_path: Path, trained: Path) -> Path:
    """A runs folder with one finished run, `first`, of two trials."""
    tiny_plan(tmp_path, seeds=1)
    shutil.copytree(trained, tmp_path / "runs" / "first")
    return tmp_path / "runs"


def test_finished_trials_are_taken_over_as_they_were(tmp_path: Path, root: Path) -> None:
    plan = tiny_plan(tmp_path, seeds=1, weight_decays=(1.0, 0.3, 0.1))
    outcome = run(root, "second", plan, AUTO)
    assert (outcome.trained, outcome.exit_code) == (1, Exit.OK)
    run_plan(plan, tmp_path / "whole")
    assert rows_of(root / "second") == rows_of(tmp_path / "whole")
    assert [t.final for t in trials_of(root / "second")] == [
        t.final for t in trials_of(tmp_path / "whole")
    ]
    ranks = [dict(entry)["rank"] for entry in ranking_of(root / "second")]
    assert ranks == [dict(entry)["rank"] for entry in ranking_of(tmp_path / "whole")]


def test_a_reused_trial_names_its_run_everywhere(tmp_path: Path, root: Path) -> None:
    plan = tiny_plan(tmp_path, seeds=1, weight_decays=(0.3, 1.0))
    run(root, "second", plan, str(root / "first"))
    _, reused = trials_of(root / "second")
    (there,) = [t for t in trials_of(root / "first") if t.id == reused.id]
    assert (reused.reason, reused.detail) == (Reason.FINISHED, "reused from first")
    assert (reused.position, reused.attempts) == (1, 0)
    assert (reused.step, reused.active_s) == (there.step, there.active_s)
    events = events_of(root / "second", "reused")
    assert [(e.trial_id, e.detail) for e in events] == [(reused.id, "first")]
    assert reused.id not in {e.trial_id for e in events_of(root / "second", "started")}
    assert json.loads((root / "second" / "plan.json").read_text())["reused"] == {reused.id: "first"}
    assert '"reused"' in (root / "second" / "events.jsonl").read_text()
    folder = root / "second" / "trials" / reused.id
    again = make_plan(Request(base_config=folder / "config.yaml", max_trials=1), CPU_ONLY)
    assert again.trials[0].id == reused.id


def test_a_sweep_that_is_all_reused_is_ranked_without_training(root: Path, tmp_path: Path) -> None:
    outcome = run(root, "second", tiny_plan(tmp_path, seeds=1, weight_decays=(1.0,)), AUTO)
    assert (outcome.trained, outcome.exit_code) == (0, Exit.OK)
    assert ranking_of(root / "second")
    assert (root / "second" / "events.jsonl").read_text().count("\n") == 1


def test_what_was_reused_is_named_by_the_run_that_trained_it(root: Path, tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, seeds=1, weight_decays=(1.0,))
    run(root, "second", plan, AUTO)
    outcome = run(root, "third", plan, str(root / "second"))
    assert outcome.trained == 0
    (trial,) = trials_of(root / "third")
    assert trial.detail == "reused from first"
    shutil.rmtree(root / "first")
    found, notes = find_earlier(plan.trials, AUTO, root, None)
    assert not found
    assert notes == [
        "1 finished trial is not reused: its checkpoint is gone, and checkpoint.enable is true here"
        " (run first)"
    ]


def test_an_interrupted_sweep_takes_over_what_it_has_left(tmp_path: Path, root: Path) -> None:
    plan = tiny_plan(tmp_path, seeds=1, weight_decays=(0.1, 1.0, 0.3))
    stopped = tiny_plan(
        tmp_path,
        seeds=1,
        weight_decays=(0.1, 1.0, 0.3),
        extra="\n[limits]\nstop_after_steps = 25\n",
    )
    assert run(root, "second", stopped).exit_code is Exit.INTERRUPTED
    found, _ = find_earlier(plan.trials, AUTO, root, RunDirectory(root / "second"))
    assert set(found) == {t.id for t in plan.trials[:2]}
    adopt(RunDirectory(root / "second"), found)
    assert [t.reason for t in trials_of(root / "second")] == [
        Reason.FINISHED,
        Reason.FINISHED,
        Reason.BUDGET,
    ]
    rows = rows_of(root / "second")
    assert {key: rows[key] for key in found} == {key: rows_of(root / "first")[key] for key in found}


def test_a_trial_that_failed_is_tried_again(tmp_path: Path, root: Path) -> None:
    wild = "learning_rate = [1e30]\n"
    plan = tiny_plan(tmp_path, seeds=1, extra=wild)
    assert run(root, "second", plan).exit_code is Exit.FAILED_TRIALS
    assert find_earlier(plan.trials, AUTO, root, None) == ({}, [])


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("tier.precision=bf16", "tier.precision is fp32 there, bf16 here"),
        ("tier.micro_batch=8", "tier.micro_batch is None there, 8 here"),
        ("limits.stop_when_generalised=true", "limits.stop_when_generalised is false there"),
        ("limits.stop_after_steps=59", "limits.stop_after_steps 59 ends it before its 60 steps"),
        ("logging.log_interval=5", "logging.log_interval is 10 there, 5 here: rows are missing"),
        ("logging.track_grad_norms=true", "logging.track_grad_norms is false there, true here"),
    ],
)
def test_another_record_is_not_reused_and_the_reason_is_said(
    tmp_path: Path, root: Path, override: str, why: str
) -> None:
    found, (note,) = find_earlier(planned(tmp_path, override).trials, AUTO, root, None)
    assert not found
    assert note.startswith(f"2 finished trials are not reused: {why}")
    assert note.endswith(" (run first)")


@pytest.mark.parametrize(
    "override",
    [
        "tier.cpus=2",
        "limits.stop_after_steps=60",
        "limits.wall_clock_minutes=9.0",
        "logging.log_interval=30",
        "checkpoint.interval=7",
        "model.name=other",
    ],
)
def test_what_leaves_no_trace_in_the_record_is_reused(
    tmp_path: Path, root: Path, override: str
) -> None:
    found, notes = find_earlier(planned(tmp_path, override).trials, AUTO, root, None)
    assert (len(found), notes) == (2, [])


def test_a_missing_checkpoint_matters_where_checkpoints_are_wanted(
    tmp_path: Path, root: Path
) -> None:
    shutil.rmtree(next((root / "first").glob("trials/*/checkpoints")))
    assert len(find_earlier(planned(tmp_path).trials, AUTO, root, None)[0]) == 1
    unwanted = planned(tmp_path, "checkpoint.enable=false")
    assert len(find_earlier(unwanted.trials, AUTO, root, None)[0]) == 2


@pytest.mark.parametrize("damage", ["header", "row"])
def test_a_damaged_ledger_is_passed_over_unless_it_was_named(
    tmp_path: Path, root: Path, damage: str
) -> None:
    ledger = root / "first" / "ledger.db"
    if damage == "header":
        ledger.write_bytes(b"nothing of SQLite's" * 100)
    else:
        with contextlib.closing(Ledger.open(ledger)) as opened, opened.transaction():
            opened.connection.execute("UPDATE rows SET metrics = '{\"val/loss\": '")
    trials = planned(tmp_path).trials
    found, (note,) = find_earlier(trials, AUTO, root, None)
    assert not found
    assert note.startswith(f"--reuse passes over {ledger}: ")
    with pytest.raises(StorageError, match="not a ledger, or damaged"):
        find_earlier(trials, str(root / "first"), root, None)


def test_a_config_that_was_changed_in_the_ledger_is_not_reused(tmp_path: Path, root: Path) -> None:
    ledger = root / "first" / "ledger.db"
    with contextlib.closing(Ledger.open(ledger)) as opened, opened.transaction():
        opened.connection.execute("UPDATE trials SET config = replace(config, '60', '61')")
    found, (note,) = find_earlier(planned(tmp_path).trials, AUTO, root, None)
    assert not found
    assert "are not reused: its config in the ledger is not the one of its id" in note


def test_a_run_that_is_not_there_is_refused(tmp_path: Path, root: Path) -> None:
    with pytest.raises(UsageError, match="no sweep of the path or name"):
        find_earlier(planned(tmp_path).trials, str(root / "frist"), root, None)


def test_a_sweep_is_not_reused_by_itself(tmp_path: Path, root: Path) -> None:
    own = RunDirectory(root / "first")
    assert find_earlier(planned(tmp_path).trials, AUTO, root, own) == ({}, [])

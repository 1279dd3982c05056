"""What a trial's id depends on, and which earlier trial tells what made it new."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import trainer.identity
from orchestrator import sweep
from orchestrator.errors import UsageError
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger
from orchestrator.lookup import find_trial
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request
from orchestrator.why import CODE, DATA, explain
from orchestrator.why_table import render_why
from tests.sweeps import CPU_ONLY, tiny_plan
from trainer.identity import hashed_settings, id_of

Differences = dict[str, tuple[Any, Any]]


def record(root: Path, name: str, plan: Plan) -> RunDirectory:
    """Write a run that has begun and trained nothing yet."""
    directory = RunDirectory(root / name)
    directory.path.mkdir(parents=True)
    sweep.create(plan, directory, ["test"])
    ledger = Ledger.open(directory.ledger)
    ledger.record("began", "")
    ledger.close()
    return directory


def corpus(folder: Path, text: str, *overrides: str) -> Plan:
    (folder / "text.txt").write_text(text * 400)
    overrides = (f"data.dataset_path={folder}/text.txt", *overrides)
    return make_plan(Request(overrides=overrides, max_trials=1), CPU_ONLY)


def differences(directory: RunDirectory, plan: Plan, position: int = 0) -> Differences:
    """What differs from the nearest trial of the earlier runs."""
    found = explain(directory, plan.trials[position].id, directory.path.parent).elsewhere
    return {} if found is None else found.differences


def test_the_id_follows_from_what_is_said_to_decide_it(tmp_path: Path) -> None:
    plan = corpus(tmp_path, "to be or not to be ", "model.name=ours")
    (trial,) = plan.trials
    found = explain(record(tmp_path / "runs", "a", plan), trial.id, tmp_path / "runs")
    decides = dict(found.trial.decides)
    data, code = decides.pop(DATA), decides.pop(CODE)
    assert id_of(hashed_settings(trial.config), data, code) == trial.id
    assert decides["training.learning_rate"] == 3e-4
    assert not {"data.dataset_path", "model.name", "tier.cpus"} & decides.keys()
    assert {"data.dataset_path", "model.name", "tier.cpus", "limits.stop_after_steps"} <= {
        *found.free
    }
    assert not found.free.keys() & decides.keys()
    assert (found.elsewhere, found.before, found.twins) == (None, None, ())
    assert "the first trial there is" in render_why(found, "table")


def test_the_nearest_earlier_trial_tells_what_is_new(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    record(root, "far", tiny_plan(tmp_path, seeds=1, steps=40, weight_decays=(0.7,)))
    record(root, "near", tiny_plan(tmp_path, seeds=1, weight_decays=(9.0, 0.2)))
    plan = tiny_plan(tmp_path, seeds=1, weight_decays=(0.2, 0.3), extra="dim = [24]\n")
    now = record(root, "now", plan)
    record(root, "later", tiny_plan(tmp_path, seeds=1, weight_decays=(0.3,)))
    found = explain(now, plan.trials[0].id, root)
    assert found.elsewhere is not None
    assert found.elsewhere.trial.run == "near"
    assert found.elsewhere.differences == {"model.dim": (16, 24)}
    second = explain(now, plan.trials[1].id, root)
    assert second.before is not None
    assert second.before.differences == {"training.weight_decay": (0.2, 0.3)}
    shown = render_why(second, "table")
    assert "the nearest before it in its run" in shown
    assert [line.split() for line in shown.splitlines()][-1] == [
        "training.weight_decay",
        "0.2",
        "0.3",
    ]
    data = json.loads(render_why(second, "json"))
    assert data["nearest_before_it"]["differences"] == {
        "training.weight_decay": {"there": 0.2, "here": 0.3}
    }


def test_other_data_of_the_same_name_is_named(tmp_path: Path) -> None:
    record(tmp_path / "runs", "a", corpus(tmp_path, "to be or not to be "))
    plan = corpus(tmp_path, "that is the question ")
    changed = differences(record(tmp_path / "runs", "b", plan), plan)
    assert list(changed) == [DATA]
    assert all(len(side) == 64 for side in changed[DATA])


def test_another_version_of_the_code_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "runs", "a", tiny_plan(tmp_path))
    version = trainer.identity.CODE_VERSION
    monkeypatch.setattr(trainer.identity, "CODE_VERSION", version + 1)
    monkeypatch.setattr("orchestrator.provenance.CODE_VERSION", version + 1)
    plan = tiny_plan(tmp_path)
    assert differences(record(tmp_path / "runs", "b", plan), plan) == {CODE: (version, version + 1)}


def test_the_same_trial_of_an_earlier_run_is_not_new(tmp_path: Path) -> None:
    record(tmp_path / "runs", "a", tiny_plan(tmp_path, seeds=1))
    plan = tiny_plan(tmp_path, seeds=2)
    found = explain(record(tmp_path / "runs", "b", plan), plan.trials[0].id, tmp_path / "runs")
    assert [twin.run for twin in found.twins] == ["a"]
    assert "not new: a has the same trial (waiting)" in render_why(found, "table")


@pytest.mark.parametrize(
    "provenance",
    [
        '{"data_sha256": [',
        '{"code_version": "x", "data_sha256": []}',
        '{"code_version": 1e400, "data_sha256": []}',
        '{"code_version": 1, "data_sha256": 3}',
        '{"code_version": 1}',
        "[]",
    ],
)
def test_without_provenance_the_settings_are_still_said(tmp_path: Path, provenance: str) -> None:
    plan = tiny_plan(tmp_path)
    directory = record(tmp_path / "runs", "a", plan)
    directory.provenance.write_text(provenance)
    found = explain(directory, plan.trials[0].id, tmp_path / "runs")
    assert (found.trial.decides[DATA], found.trial.decides[CODE]) == (None, None)
    assert f"{DATA}    unknown" in render_why(found, "table")


def test_a_trial_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    root, plan = tmp_path / "runs", tiny_plan(tmp_path, seeds=40)
    record(root, "old", plan)
    new = record(root, "new", tiny_plan(tmp_path))
    for age, name in enumerate(("new", "old")):
        os.utime(root / name / "ledger.db", (1e9 - age, 1e9 - age))
    trial = tiny_plan(tmp_path).trials[0]
    assert find_trial(trial.id[:9].upper(), root, None) == (new, trial.id)
    with pytest.raises(UsageError, match=r"trials begin with '\w'\n.*more of it: "):
        find_trial(plan.trials[0].id[0], root, None)
    wrong = trial.id[:8] + "xx"
    with pytest.raises(UsageError, match=f"no trial '{wrong}' - did you mean {trial.id}"):
        find_trial(wrong, root, new)
    with pytest.raises(UsageError, match="no trial ''"):
        find_trial("", root, None)


def test_a_damaged_ledger_elsewhere_is_passed_over_with_a_note(tmp_path: Path) -> None:
    root, plan = tmp_path / "runs", tiny_plan(tmp_path)
    record(root, "a", plan).ledger.write_bytes(b"nothing of SQLite's" * 100)
    directory = record(root, "b", plan)
    assert find_trial(plan.trials[1].id, root, None)[0] == directory
    (note,) = explain(directory, plan.trials[1].id, root).notes
    assert note.startswith(f"passed over {root}/a/ledger.db: not a ledger")

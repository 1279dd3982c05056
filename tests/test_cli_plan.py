"""`arbiter plan`, `arbiter why` and the options of `arbiter sweep` that look ahead, as typed."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.cli.app import run
from orchestrator.errors import Exit
from tests.sweeps import events_of, tiny_plan, trials_of


class Said(NamedTuple):
    """What a command left: its exit code, data and talk."""

    code: int
    out: str
    err: str


Arbiter = Callable[..., Said]


@pytest.fixture
def arbiter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Arbiter:
    """Types a command in a folder with a template of two trials, `tiny.toml`."""
    tiny_plan(tmp_path, seeds=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path / "runs"))

    def typed(*arguments: str) -> Said:
        monkeypatch.setattr("sys.argv", ["arbiter", *arguments])
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(int(ended.value.code or 0), said.out, said.err)

    return typed


PLAN = ("plan", "--strategy", "tiny.toml", "--gpus", "0")
SWEEP = ("sweep", "--strategy", "tiny.toml", "--gpus", "0", "--executor", "inline")


def test_the_same_sweep_is_planned_trained_planned_again_and_reused(
    arbiter: Arbiter, tmp_path: Path
) -> None:
    before = arbiter(*PLAN)
    assert "2 trials, ranked by val/loss (min): 2 new" in before.out
    assert "a rule of thumb by operations and device; --calibrate" in before.out
    assert not (tmp_path / "runs").exists()
    _, *following = shlex.split(before.err.rpartition("next: ")[2])
    assert arbiter(*following, "--executor", "inline").code == Exit.OK
    (first,) = (tmp_path / "runs").iterdir()
    after = arbiter(*PLAN)
    assert "2 finished\nnothing is left to train" in after.out
    assert f"next: arbiter leaderboard runs/{first.name}" in after.err

    more = ("training.weight_decay=1.0,0.5", "--reuse", first.name)
    ahead = arbiter(*PLAN, *more, "--format", "json")
    data = json.loads(ahead.out)
    assert [t["state"] for t in data["trials"]] == ["reused", "new"]
    assert [t["reused_from"] for t in data["trials"]] == [first.name, None]
    assert data["trials"][0]["predicted_s"] == 0 < data["trials"][1]["predicted_s"]
    assert data["forecast"]["states"] == {"reused": 1, "new": 1}
    rows = list(csv.DictReader(io.StringIO(arbiter(*PLAN, *more, "--format", "csv").out)))
    assert [row["reused_from"] for row in rows] == [first.name, ""]
    assert f"| {first.name} |" in arbiter(*PLAN, *more, "--format", "md").out

    done = arbiter(*SWEEP, *more)
    assert "1 trial reused from 1 other run" in done.err
    (second,) = {*(tmp_path / "runs").iterdir()} - {first}
    assert len(events_of(second, "started")) == 1
    shown = arbiter("status", second.name).out
    assert f"reused from {first.name}" in shown and "2 of 2 done" in shown

    trial = trials_of(second)[1].id
    why = arbiter("why", trial[:7])
    assert (why.code, "the nearest of earlier runs: " in why.out) == (Exit.OK, True)
    assert f"next: arbiter leaderboard runs/{second.name}" in why.err
    said = json.loads(arbiter("why", trial, "--run", second.name, "--format", "json").out)
    assert (said["trial"], said["seed"]) == (trial, 0)


def test_a_calibrated_plan_says_what_was_timed(arbiter: Arbiter, tmp_path: Path) -> None:
    said = arbiter(*PLAN, "--calibrate")
    assert "times: 1 of 1 shapes timed here, one at a time" in said.out
    assert " a step (" in said.out and " an evaluation (" in said.out
    assert not (tmp_path / "runs").exists()


def test_a_plan_that_takes_too_long_is_printed_and_refused(arbiter: Arbiter) -> None:
    said = arbiter(*PLAN, "training.steps=100000000", "--fail-over", "1d12h")
    assert said.code == Exit.USAGE
    assert "2 trials, ranked by val/loss (min)" in said.out
    assert "error: --fail-over: predicted " in said.err
    assert "expected at most 36 h 00 min" in said.err
    assert "next: " not in said.err
    assert arbiter(*PLAN, "--fail-over", "1d12h").code == Exit.OK
    assert arbiter(*PLAN, "--fail-over", "soon").out == ""


@pytest.mark.parametrize("command", [PLAN, SWEEP], ids=["plan", "sweep"])
def test_strict_refuses_duplicates_and_a_disk_that_is_too_small(
    arbiter: Arbiter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr("orchestrator.preview.free_bytes", lambda root: 1000)
    said = arbiter(*command, "training.weight_decay=0.1,1,1.0,1", "--strict")
    assert said.code == Exit.USAGE
    assert "error: --strict: got 2 duplicate trials, expected none" in said.err
    assert f"error: runs folder {tmp_path}/runs: checkpoints will take up to " in said.err
    assert ", 1000 bytes are free" in said.err and "checkpoint.keep=1" in said.err
    assert not (tmp_path / "runs").exists()


def test_without_strict_both_are_notes(arbiter: Arbiter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.preview.free_bytes", lambda root: 1000)
    said = arbiter(*SWEEP, "training.weight_decay=1,1.0")
    assert said.code == Exit.OK
    assert "note: 1 duplicate trial was left out" in said.err
    assert "checkpoints will take up to " in said.err


@pytest.mark.parametrize("command", [PLAN, SWEEP], ids=["plan", "sweep"])
def test_a_run_to_reuse_that_is_not_there_is_refused(
    arbiter: Arbiter, tmp_path: Path, command: tuple[str, ...]
) -> None:
    said = arbiter(*command, "--reuse", "tiny-1")
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert "no sweep of the path or name 'tiny-1'" in said.err
    assert not (tmp_path / "runs").exists()


def test_a_named_ledger_that_is_damaged_is_an_error_and_auto_passes_over_it(
    arbiter: Arbiter, tmp_path: Path
) -> None:
    other = tmp_path / "runs" / "other"
    other.mkdir(parents=True)
    (other / "ledger.db").write_bytes(b"nothing of SQLite's" * 100)
    assert arbiter(*PLAN, "--reuse", "other").code == Exit.STORAGE
    said = arbiter(*PLAN, "--reuse", "auto")
    assert said.code == Exit.OK
    assert f"note: --reuse passes over {other}/ledger.db" in said.err


def test_a_trial_that_is_not_there_has_no_why(arbiter: Arbiter) -> None:
    said = arbiter("why", "0123456789")
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert "no trial '0123456789'" in said.err

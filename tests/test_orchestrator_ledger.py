"""The ledger: what was acknowledged is there, once, and a damaged file is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Exit, StorageError
from orchestrator.ledger import Ledger, State, TrialRecord
from trainer.reporting import FitResult, Reason

SWEEP = {"name": "s", "hash": "h", "objective": {"metric": "val/loss"}}


def record(trial_id: str, position: int = 0) -> TrialRecord:
    return TrialRecord(
        id=trial_id,
        position=position,
        point_id="p",
        seed=0,
        changed={"model.dim": 8},
        config={"training": {"steps": 10}},
        parameters=3,
        flops=1e9,
    )


def made(folder: Path, *trial_ids: str) -> Path:
    path = folder / "ledger.db"
    Ledger.create(path, SWEEP, [record(t, i) for i, t in enumerate(trial_ids or ("a", "b"))])
    return path


@contextlib.contextmanager
def writer(path: Path) -> Iterator[Ledger]:
    with contextlib.closing(Ledger.open(path)) as ledger:
        yield ledger


def result(trial_id: str, reason: Reason = Reason.FINISHED, **fields: Any) -> FitResult:
    values: dict[str, Any] = {"detail": "", "step": 10, "active_s": 2.0, "final": {"val/loss": 1.0}}
    return FitResult(trial_id, reason, **values | fields)


def test_what_a_sweep_is_reads_back(tmp_path: Path) -> None:
    with contextlib.closing(Ledger.read(made(tmp_path, "b", "a"))) as ledger:
        assert ledger.sweep() == {"schema_version": 1, **SWEEP}
        assert [trial.id for trial in ledger.trials()] == ["b", "a"]
        assert ledger.trial("b") == record("b")
        assert all(trial.pending and trial.state is State.WAITING for trial in ledger.trials())
        with pytest.raises(KeyError):
            ledger.trial("c")
    assert [p.name for p in tmp_path.iterdir() if "draft" in p.name] == []


ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 8), st.floats(-9, 9)), max_size=30)


@given(rows=ROWS, cuts=st.lists(st.integers(0, 30), max_size=3))
def test_each_row_is_kept_once_and_the_first_stays(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, float]], cuts: list[int]
) -> None:
    path = made(tmp_path_factory.mktemp("ledger"))
    expected: dict[tuple[str, int], float] = {}
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), 30], strict=True):
        with writer(path) as ledger:  # opened again for each batch
            ledger.add_rows([(t, step, {"x": value}) for t, step, value in rows[first:last]])
    for trial, step, value in rows:
        expected.setdefault((trial, step), value)
    with contextlib.closing(Ledger.read(path)) as ledger:
        for trial in "ab":
            kept = ledger.rows(trial)
            assert kept == sorted(
                ((s, {"x": v}) for (t, s), v in expected.items() if t == trial), key=lambda r: r[0]
            )
            assert ledger.trial(trial).step == max([s for t, s, _ in rows if t == trial], default=0)


def test_the_life_of_a_trial(tmp_path: Path) -> None:
    with writer(made(tmp_path)) as ledger:
        ledger.started("a", 0, "")
        assert ledger.trial("a").state is State.RUNNING
        ledger.requeue(["a"], "died", "killed by signal 9")
        assert (ledger.trial("a").state, ledger.trial("a").deaths) == (State.WAITING, 1)
        ledger.started("a", 5, "from step 5")
        ledger.ended(result("a", Reason.WALL_CLOCK, detail="540 min"))
        assert ledger.trial("a").pending
        ledger.requeue(["a"], "resumed", "")
        trial = ledger.trial("a")
        assert (trial.deaths, trial.reason, trial.detail) == (1, None, "")
        ledger.started("a", 5, "")
        ledger.ended(result("a"))
        trial = ledger.trial("a")
        assert not trial.pending
        assert (trial.attempts, trial.deaths, trial.active_s, trial.final) == (
            3,
            1,
            4.0,
            {"val/loss": 1.0},
        )
        assert ledger.trial("b") == record("b", 1)
        events = ledger.events()
        assert [(e.kind, e.detail) for e in events] == [
            ("started", ""),
            ("died", "killed by signal 9"),
            ("started", "from step 5"),
            ("ended", "wall clock: 540 min"),
            ("resumed", ""),
            ("started", ""),
            ("ended", "finished"),
        ]
        assert [e.seq for e in events] == sorted({e.seq for e in events})
        assert ledger.events(events[4].seq) == events[5:]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_never_stored(tmp_path: Path, value: float) -> None:
    path = made(tmp_path)
    with writer(path) as ledger:
        with pytest.raises(ValueError, match="JSON"):
            ledger.add_rows([("a", 1, {"x": 1.0}), ("a", 2, {"x": value})])
        assert ledger.rows("a") == []
        ledger.ended(result("a", Reason.DIVERGED, final={"val/loss": value, "val/accuracy": 0.5}))
        assert ledger.trial("a").final == {"val/accuracy": 0.5}
    assert b"NaN" not in path.read_bytes()


def test_a_row_of_a_trial_that_is_not_in_the_plan_is_refused(tmp_path: Path) -> None:
    with writer(made(tmp_path)) as ledger:
        with pytest.raises(sqlite3.IntegrityError):
            ledger.add_rows([("a", 1, {"x": 1.0}), ("zz", 1, {"x": 1.0})])
        assert ledger.rows("a") == []


def test_a_reader_sees_whole_commits_and_takes_no_lock(tmp_path: Path) -> None:
    path = made(tmp_path)
    with writer(path) as ledger, contextlib.closing(Ledger.read(path)) as reader:
        seen = []
        for step in range(1, 6):
            ledger.connection.execute("BEGIN IMMEDIATE")  # a writer in the middle of its work
            ledger.connection.execute("INSERT INTO rows VALUES ('b', ?, '{}')", (step,))
            seen.append((len(reader.rows("a")), len(reader.rows("b"))))
            ledger.connection.execute("ROLLBACK")
            ledger.add_rows([("a", step, {"x": 1.0})])
        assert seen == [(n, 0) for n in range(5)]
        assert len(reader.rows("a")) == 5
        with pytest.raises(StorageError, match="readonly"):
            reader.add_rows([("a", 9, {"x": 1.0})])


WRITER = """
import sys
from pathlib import Path
from orchestrator.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]))
step = int(sys.argv[2])
while True:
    step += 1
    ledger.add_rows([("a", step, {"x": step / 2}), ("b", step, {"x": 0.0})])
    print(step, flush=True)
"""


def test_a_writer_killed_in_the_middle_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    path, acknowledged = made(tmp_path), 0
    for kill_after in (1, 7, 20, 33):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(acknowledged)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(kill_after):
            acknowledged = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
        with contextlib.closing(Ledger.read(path)) as ledger:
            a, b = ledger.rows("a"), ledger.rows("b")
        assert [step for step, _ in a] == list(range(1, len(a) + 1))
        assert len(a) >= acknowledged
        assert all(metrics == {"x": step / 2} for step, metrics in a)
        assert len(b) == len(a)  # a commit is whole
        acknowledged = len(a)
    with writer(path) as ledger:
        ledger.ended(result("a"))


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(b"not a database at all" * 99)
    elif how == "header":
        path.write_bytes(b"\x00" * 16 + content[16:])
    elif how == "cut":
        path.write_bytes(content[:100])
    elif how == "pages":
        path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    elif how == "another database":
        path.unlink()
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE t (x)")
    else:
        with contextlib.closing(sqlite3.connect(path)) as ledger:
            ledger.execute("UPDATE sweep SET value = '99' WHERE key = 'schema_version'")
            ledger.commit()


@pytest.mark.parametrize(
    "how", ["empty", "garbage", "header", "cut", "pages", "another database", "newer"]
)
@pytest.mark.parametrize("door", [Ledger.open, Ledger.read])
def test_a_file_that_is_not_ours_is_refused_and_left_alone(
    tmp_path: Path, how: str, door: Any
) -> None:
    path = made(tmp_path)
    damaged(path, how)
    before = path.read_bytes()
    with pytest.raises(StorageError) as caught:
        door(path)
    assert caught.value.exit_code is Exit.STORAGE
    assert str(caught.value).startswith(f"{path}: ")
    if how == "newer":
        assert "got a ledger of version 99, expected version 1" in str(caught.value)
    else:
        assert "not a ledger, or damaged" in str(caught.value)
    assert path.read_bytes() == before


def test_damage_deep_in_the_file_is_a_storage_error(tmp_path: Path) -> None:
    path = made(tmp_path)
    with writer(path) as ledger:
        ledger.add_rows([("a", step, {"x": float(step)}) for step in range(1, 3000)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    with contextlib.closing(Ledger.read(path)) as ledger, pytest.raises(StorageError, match="read"):
        ledger.rows("a")


def test_no_ledger_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no ledger: No such file"):
        Ledger.read(tmp_path / "ledger.db")
    with pytest.raises(StorageError, match="no ledger"):
        Ledger.open(tmp_path)


def test_a_name_with_signs_in_it_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "100% of #1? &x=y"
    folder.mkdir()
    with contextlib.closing(Ledger.read(made(folder))) as ledger:
        assert len(ledger.trials()) == 2


def test_a_creation_that_was_cut_short_leaves_no_ledger_and_is_made_again(tmp_path: Path) -> None:
    def dies() -> Iterator[TrialRecord]:
        yield record("a")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Ledger.create(tmp_path / "ledger.db", SWEEP, dies())
    assert not (tmp_path / "ledger.db").exists()
    made(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"ledger.db"}


def test_config_and_changes_are_plain_json(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(made(tmp_path))) as raw:
        config, changed = raw.execute("SELECT config, changed FROM trials").fetchone()
    assert json.loads(config) == {"training": {"steps": 10}}
    assert json.loads(changed) == {"model.dim": 8}


def test_the_axes_of_a_trial_keep_their_order(tmp_path: Path) -> None:
    changed = {"training.weight_decay": 0.1, "model.dim": 8}
    path = tmp_path / "ledger.db"
    Ledger.create(path, SWEEP, [replace(record("a"), changed=changed)])
    with contextlib.closing(Ledger.read(path)) as ledger:
        assert [*ledger.trial("a").changed] == [*changed]


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("trials", "config", "nope"),
        ("trials", "config", "{}"),
        ("trials", "config", '{"training": []}'),
        ("trials", "changed", "-1"),
        ("trials", "final", '{"val/loss": "x"}'),
        ("trials", "final", "[1]"),
        ("trials", "state", "lost"),
        ("trials", "reason", "tired"),
        ("trials", "step", "many"),
        ("trials", "active_s", "long"),
        ("rows", "metrics", "[" * 100_000),
        ("rows", "metrics", "[1]"),
    ],
)
def test_what_we_did_not_write_is_damage_and_no_bug(
    tmp_path: Path, table: str, column: str, value: str
) -> None:
    path = made(tmp_path)
    with writer(path) as ledger:
        ledger.add_rows([("a", 1, {"val/loss": 1.0})])
        ledger.connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
    with contextlib.closing(Ledger.read(path)) as ledger:
        questions = [ledger.trials, lambda: ledger.trial("a")]
        for question in questions if table == "trials" else [lambda: ledger.rows("a")]:
            with pytest.raises(StorageError, match=f"{path}: not a ledger, or damaged: .*trial a"):
                question()

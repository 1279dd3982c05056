"""Where a sweep lies: one writer, no name that leads outside, and what is found again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Exit, LockedError, UsageError
from orchestrator.layout import (
    RunDirectory,
    check_folders,
    check_writable,
    find_run,
    find_same_sweep,
    new_run_directory,
    runs_root,
    write_whole,
)

HOLDER = """
import sys
from pathlib import Path
from orchestrator.layout import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a run directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    with held(tmp_path) as other, pytest.raises(LockedError) as caught:
        RunDirectory(tmp_path).locked().__enter__()
    assert caught.value.exit_code is Exit.LOCKED
    assert f"process {other.pid} on " in str(caught.value)
    assert "hint: arbiter status" in str(caught.value)


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    with held(tmp_path) as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    with RunDirectory(tmp_path).locked():
        holder = json.loads((tmp_path / "run.lock.json").read_text())
        assert holder["pid"] == os.getpid()
    assert not (tmp_path / "run.lock.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", "3", "{broken"])
def test_who_holds_the_lock_may_be_unknown(tmp_path: Path, content: str) -> None:
    with held(tmp_path):
        (tmp_path / "run.lock.json").write_text(content)
        with pytest.raises(LockedError, match="another process writes"):
            RunDirectory(tmp_path).locked().__enter__()


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(UsageError, match="got a link to real"):
        RunDirectory(tmp_path / "link").locked().__enter__()
    assert list((tmp_path / "real").iterdir()) == []


NAMES = [
    "../x",
    "/abs/olute",
    "..",
    ".",
    "",
    "🦊",
    "a\nb",
    "x" * 300,
    "-rf",
    "a/b",
    "CON",
    "\u202egnp",
    "a\x00b",
    "*?[",
    ".hidden",
    "ü" * 99,
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_no_name_leads_outside(tmp_path: Path, name: str) -> None:
    directory = new_run_directory(tmp_path, name, "0123456789")
    assert directory.path.parent == tmp_path
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}-\d{8}-\d{6}-0123", directory.path.name), (
        directory.path.name
    )
    directory.path.mkdir()
    assert [p.name for p in tmp_path.iterdir()] == [directory.path.name]


@given(name=st.text(max_size=400))
def test_any_name_is_made_a_folder_name(name: str) -> None:
    folder = new_run_directory(Path("/root-of-runs"), name, "abcd").path
    assert folder.parent == Path("/root-of-runs")
    assert len(folder.name.encode()) < 100
    assert folder.name.isascii() and folder.name.isprintable() and folder.name[0] not in "-."


def test_two_of_one_second_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda form: "20260101-000000")
    names = []
    for _ in range(3):
        directory = new_run_directory(tmp_path, "s", "abcdef")
        directory.path.mkdir()
        names.append(directory.path.name)
    assert names == [
        "s-20260101-000000-abcd",
        "s-20260101-000000-2-abcd",
        "s-20260101-000000-3-abcd",
    ]


def sweep(root: Path, name: str, plan_hash: str, age_s: int = 0) -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "plan.json").write_text(json.dumps({"hash": plan_hash, "trials": []}))
    (path / "ledger.db").touch()
    for touched in (path / "ledger.db", path):
        os.utime(touched, (10**9 - age_s,) * 2)
    return path


def test_the_newest_directory_of_the_same_plan_is_found(tmp_path: Path) -> None:
    sweep(tmp_path, "a-1-abcd", "abcdef", age_s=50)
    newest = sweep(tmp_path, "b-2-abcd", "abcdef")
    sweep(tmp_path, "c-3-abcd", "abcd99")
    sweep(tmp_path, "d-4-ffff", "abcdef")
    (tmp_path / "e-5-abcd").mkdir()
    (tmp_path / "f-abcd").symlink_to(newest)
    found = find_same_sweep(tmp_path, "abcdef")
    assert found is not None and found.path == newest
    assert find_same_sweep(tmp_path, "aaaa") is None
    assert find_same_sweep(tmp_path / "nowhere", "abcdef") is None


def test_a_run_is_found_by_path_by_name_and_as_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    old = sweep(tmp_path / "runs", "grid-1-abcd", "x", age_s=50)
    new = sweep(tmp_path / "runs", "deep-2-abcd", "x")
    assert find_run(None).path == new
    assert find_run("grid-1-abcd").path == old
    assert find_run("runs/grid-1-abcd").path == old
    assert find_run(str(old)).path == old
    assert find_run("runs/grid-1-abcd").shown() == "runs/grid-1-abcd"
    with pytest.raises(UsageError) as caught:
        find_run("grid-1-abce")
    assert str(caught.value) == (
        f"runs folder {tmp_path}/runs: no sweep of the path or name 'grid-1-abce'"
        " - did you mean grid-1-abcd?\n  hint: the last ones are deep-2-abcd, grid-1-abcd"
    )


@pytest.mark.parametrize("given", ["nope", "", "../..", "x" * 300, "🦊", "a\nb"], ids=ascii)
def test_a_run_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path / "runs"))
    with pytest.raises(UsageError, match="no sweep"):
        find_run(given)
    with pytest.raises(UsageError, match="no sweep yet"):
        find_run(None)


def test_the_root_is_absolute_and_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBITER_RUNS", "somewhere")
    assert runs_root() == Path.cwd() / "somewhere"
    for unset in ("", None):
        monkeypatch.setenv("ARBITER_RUNS", unset) if unset == "" else monkeypatch.delenv(
            "ARBITER_RUNS"
        )
        assert runs_root() == Path.cwd() / "runs"


def test_a_folder_that_can_be_written_to_is_left_as_it_is(tmp_path: Path) -> None:
    check_writable(tmp_path)
    check_writable(tmp_path / "not" / "there" / "yet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("below", "reason"),
    [
        ("file", "is not a folder"),
        ("file/deeper", "is not a folder"),
        ("x" * 300, "too long"),
        ("link", "is a link to what is not there"),
        ("link/deeper", "is a link to what is not there"),
    ],
)
def test_a_folder_that_cannot_be_written_to_is_refused(
    tmp_path: Path, below: str, reason: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError) as caught:
        check_writable(tmp_path / below)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"runs folder {tmp_path / below}: cannot write: ")
    assert "hint: set ARBITER_RUNS" in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]


def test_the_folder_of_the_cache_is_looked_at_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path / "file" / "runs"))
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError) as caught:
        check_folders()
    runs, home = map(str, caught.value.problems)
    assert runs.startswith("runs folder ") and "hint: set ARBITER_RUNS" in runs
    assert home.startswith("ARBITER_HOME ") and "hint: set ARBITER_HOME" in home


@pytest.mark.parametrize("folder", ["/proc/x", "/proc", "/sys/runs"])
def test_the_kernels_folders_are_refused(folder: str) -> None:
    with pytest.raises(UsageError, match="belongs to the kernel"):
        check_writable(Path(folder))


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.json", "one")
    write_whole(tmp_path / "a.json", "two — ü")
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "two — ü"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]

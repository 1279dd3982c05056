"""Faults and bad inputs around a run directory, each by its number in the fault matrix.

13 folders, 22 damaged records, 23 changed settings, 24 two writers, 46 names, 47 injection,
50 data that would be code, 53 libraries.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Exit, LockedError
from orchestrator.layout import RunDirectory, new_run_directory
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request
from orchestrator.sweep import create
from tests.program import Program
from tests.sweeps import CPU_ONLY, events_of, rows_of, run_plan, tiny_plan, trials_of

INLINE = ("--executor", "inline", "--gpus", "0")


def made(program: Program, **changes: Any) -> tuple[Plan, RunDirectory]:
    """Make the directory of a sweep of which nothing was trained yet."""
    plan = tiny_plan(program.folder, **changes)
    directory = new_run_directory(program.folder / "runs", plan.name, plan.hash)
    directory.path.mkdir(parents=True)
    create(plan, directory, [])
    return plan, directory


def same_sweep(program: Program) -> tuple[str, ...]:
    return ("sweep", "--strategy", str(program.folder / "tiny.toml"), *INLINE)


# 13: a runs folder that cannot be written to


@pytest.mark.parametrize("runs", ["/proc/x", "/sys/x", "file", "file/below"])
def test_13_a_folder_that_cannot_be_written_to(
    program: Program, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, directory = made(program)
    (program.folder / "file").write_text("no folder")
    root = runs if runs.startswith("/") else str(program.folder / runs)
    monkeypatch.setenv("ARBITER_RUNS", root)
    fork = ("resume", str(directory.path), "training.steps=3", "--fork", "--gpus", "0")
    for command in (same_sweep(program), ("train", "--gpus", "0"), fork):
        said = program.refuses(*command, code=Exit.USAGE)
        assert said.startswith(f"error: runs folder {root}: cannot write: ")
        assert "hint: set ARBITER_RUNS" in said


# 22: a record that is empty, cut, or of another sweep


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def overwritten(path: Path) -> None:
    path.write_bytes(b"\x00garbage" + path.read_bytes()[8:])


DAMAGE = [emptied, cut, shortened, overwritten, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["plan.json", "ledger.db"])
def test_22_nothing_starts_on_a_damaged_record(
    program: Program, name: str, damage: Callable[[Path], None]
) -> None:
    _, directory = made(program)
    (directory.path / "trials").mkdir()
    damage(directory.path / name)
    said = program.refuses(*same_sweep(program), code=Exit.STORAGE)
    assert name in said
    gone = not directory.ledger.exists()  # a folder without a ledger is no run that has a name
    code = Exit.USAGE if gone else Exit.STORAGE
    for command in (("resume", directory.path.name, *INLINE), ("doctor", directory.path.name)):
        said = program.refuses(*command, code=code)
        assert gone or name in said or "damaged" in said


def test_22_a_plan_and_a_ledger_of_two_sweeps(program: Program) -> None:
    _, first = made(program)
    _, second = made(program, steps=30)
    second.plan.write_bytes(first.plan.read_bytes())
    said = program.refuses("resume", second.path.name, *INLINE, code=Exit.STORAGE)
    assert "plan.json and ledger.db are of two different sweeps" in said
    assert f"hint: arbiter doctor runs/{second.path.name}" in said
    said = program.refuses("doctor", second.path.name, code=Exit.STORAGE)
    assert "plan.json: its trials are not those of the ledger" in said


def test_22_a_start_that_was_cut_off_before_the_ledger_is_carried_on(program: Program) -> None:
    _, directory = made(program, steps=5, seeds=1)
    directory.ledger.unlink()
    assert program(*same_sweep(program)).code == Exit.OK
    assert [*(program.folder / "runs").iterdir()] == [directory.path]
    assert len(trials_of(directory.path)) == 2


def test_22_a_new_start_beside_a_damaged_one_is_possible_and_then_found(program: Program) -> None:
    _, directory = made(program, steps=5, seeds=1)
    emptied(directory.plan)
    os.utime(directory.path, (1, 1))
    assert program(*same_sweep(program), "--fresh").code == Exit.OK
    again = program(*same_sweep(program))
    assert again.code == Exit.OK
    assert "every trial had ended before" in again.err


# 22, the other side: what the doctor finds in a run that ended


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ended")
    run_plan(tiny_plan(folder, seeds=1), folder / "run")
    return folder / "run"


def edited(path: Path) -> None:
    path.write_text(path.read_text().replace("1", "7", 1))


def widened(path: Path) -> None:
    path.write_text(path.read_text().replace("dim: 16", "dim: 17"))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


FOUND = [
    ("events.jsonl", edited, "events.jsonl:1: is not what the ledger says"),
    ("events.jsonl", shortened, "the last line is cut"),
    ("leaderboard.json", edited, "leaderboard.json: is not what the ledger gives"),
    ("leaderboard.json", cut, "leaderboard.json: damaged"),
    ("leaderboard.json", Path.unlink, "leaderboard.json: missing"),
    ("provenance.json", cut, "provenance.json: missing or damaged"),
    ("trials/*/config.yaml", widened, "config.yaml: differs from the config in the ledger"),
    ("trials/*/config.yaml", emptied, "config.yaml: damaged"),
    ("trials/*/checkpoints/step-000000060/model.safetensors", flipped, "the hash in its manifest"),
    ("trials/*/checkpoints/step-000000060/manifest.json", flipped, "step-000000060: damaged"),
    (
        "trials/*/checkpoints/step-000000060/model.safetensors",
        Path.unlink,
        "a file of it is missing",
    ),
]


@pytest.mark.parametrize(
    ("where", "damage", "told"), FOUND, ids=[f"{d.__name__} {w}" for w, d, _ in FOUND]
)
def test_the_doctor_finds_what_is_damaged(
    program: Program, ended: Path, where: str, damage: Callable[[Path], None], told: str
) -> None:
    shutil.copytree(ended, program.folder / "runs" / "run")
    whole = program("doctor", "run")
    assert (whole.code, "whole (2 trials, 12 rows, 4 checkpoints" in whole.out) == (Exit.OK, True)
    damage(next((program.folder / "runs" / "run").glob(where)))
    assert told in program.refuses("doctor", "run", code=Exit.STORAGE)


def test_the_doctor_finds_an_id_that_is_not_that_of_its_config(program: Program) -> None:
    plan, directory = made(program)
    with contextlib.closing(Ledger.open(directory.ledger)) as ledger:
        changed = plan.trials[0].config.model_dump(mode="json")
        changed["training"]["learning_rate"] = 0.5
        ledger.revise({plan.trials[0].id: changed}, "by hand")
    said = program.refuses("doctor", directory.path.name, code=Exit.STORAGE)
    assert f"trial {plan.trials[0].id} has a config that gives another id" in said


# 23: other settings at a resume


def test_23_a_setting_that_decides_the_result_is_refused_with_a_diff(program: Program) -> None:
    _, directory = made(program)
    changes = ("training.learning_rate=0.02", "weight_decay=0.1", "limits.wall_clock_minutes=1")
    said = program.refuses("resume", directory.path.name, *changes, *INLINE, code=Exit.USAGE)
    assert "training.learning_rate: 0.01 → 0.02\n" in said
    assert "training.weight_decay: 1.0 → 0.1\n" in said
    assert "limits" not in said.partition("hint:")[0]
    assert f"arbiter resume runs/{directory.path.name} {' '.join(changes)} --fork" in said


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("training.leraning_rate=1", "did you mean training.learning_rate?"),
        ("limits.wall_clock_minutes=-1", "expected more than 0"),
        ("checkpoint.interval=1,2", "got several values, expected one"),
        ("trainer=ci_fast", "takes single settings, and tier=NAME"),
        ("tier=high_vram", "needs a GPU"),
        ("tier=huge", "no tier 'huge'"),
        ("data.p=17", "data.p: 13 → 17"),
    ],
)
def test_23_what_cannot_be_changed_is_told(program: Program, change: str, told: str) -> None:
    _, directory = made(program)
    said = program.refuses("resume", directory.path.name, change, *INLINE, code=Exit.USAGE)
    assert told in said


def test_23_what_decides_nothing_may_change_and_is_recorded(program: Program) -> None:
    _, directory = made(program, seeds=1)
    run_plan(tiny_plan(program.folder, seeds=1), program.folder / "unbroken")
    resume = ("resume", directory.path.name, *INLINE)
    stopped = program(*resume, "limits.stop_after_steps=30", "checkpoint.interval=15")
    assert stopped.code == Exit.INTERRUPTED
    assert "changed: limits.stop_after_steps: none → 30" in stopped.err
    done = program(*resume, "limits.stop_after_steps=null")
    assert done.code == Exit.OK
    assert rows_of(directory.path) == rows_of(program.folder / "unbroken")
    told = [event.detail for event in events_of(directory.path, "revised")]
    assert told == [
        "checkpoint.interval: 20 → 15; limits.stop_after_steps: none → 30",
        "limits.stop_after_steps: 30 → none",
    ]
    assert program("doctor", directory.path.name).code == Exit.OK


def test_23_the_same_command_with_another_limit_goes_on_under_it(program: Program) -> None:
    _, directory = made(program, seeds=1)
    stopped = program(*same_sweep(program), "limits.stop_after_steps=30")
    assert stopped.code == Exit.INTERRUPTED
    done = program(*same_sweep(program))
    assert done.code == Exit.OK
    assert {trial.step for trial in trials_of(directory.path)} == {60}


def test_23_a_fork_is_a_sweep_of_its_own(program: Program) -> None:
    _, directory = made(program, steps=20)
    before = program.tree()
    forked = program("resume", directory.path.name, "weight_decay=0.3", "--fork", *INLINE)
    assert forked.code == Exit.OK
    assert "2 duplicate trials were left out" in forked.err
    assert {key: program.tree()[key] for key in before if "runs/" in key} == {
        key: value for key, value in before.items() if "runs/" in key
    }
    (new,) = {*(program.folder / "runs").iterdir()} - {directory.path}
    assert json.loads((new / "provenance.json").read_text())["forked_from"] == directory.path.name
    assert [t.config["training"]["weight_decay"] for t in trials_of(new)] == [0.3, 0.3]
    for change in ("limits.wall_clock_minutes=1", "weight_decay=0.3"):
        said = program.refuses("resume", new.name, change, "--fork", *INLINE, code=Exit.USAGE)
        assert "the fork would be the same sweep" in said


# 24: two writers


def test_24_of_two_that_start_at_once_exactly_one_runs(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    for _ in range(20):
        start, finish = threading.Barrier(2), threading.Barrier(2)
        outcomes: list[str] = []

        def writer(
            start: threading.Barrier = start,
            finish: threading.Barrier = finish,
            outcomes: list[str] = outcomes,
        ) -> None:
            start.wait()
            try:
                with directory.locked():
                    finish.wait()
                    outcomes.append("ran")
            except LockedError as error:
                outcomes.append(str(error))
                finish.wait()

        threads = [threading.Thread(target=writer) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes.count("ran") == 1
        (refusal,) = [text for text in outcomes if text != "ran"]
        assert f"process {os.getpid()} on {os.uname().nodename} writes to this sweep" in refusal


def test_24_the_other_one_is_told_who_writes_and_changes_nothing(program: Program) -> None:
    _, directory = made(program)
    with directory.locked():
        for command in (same_sweep(program), ("resume", directory.path.name, *INLINE)):
            said = program.refuses(*command, code=Exit.LOCKED)
            assert f": process {os.getpid()} on " in said
            assert f"hint: arbiter status runs/{directory.path.name}" in said
        assert "a process is writing" in program("doctor", directory.path.name).out


# 46: names


NAMES = [
    "../x",
    "/abs/olute",
    "..",
    "🦊",
    "a\nb",
    "x" * 300,
    "-rf",
    "a/b",
    "CON",
    "\u202egnp.exe",
    "a\x00b",
    "*?[",
    "",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_46_no_name_leads_outside_or_reaches_the_terminal(program: Program, name: str) -> None:
    label = json.dumps(name).replace("\\ud83e\\udd8a", "🦊")
    tiny_plan(program.folder, steps=2, seeds=1, weight_decays=(0.1,))
    template = program.folder / "tiny.toml"
    text = template.read_text().replace("[model]", f"[model]\nname = {label}", 1)
    template.write_text(f"name = {label}\n{text}")
    done = program(*same_sweep(program), f"--name={name}")
    assert done.code == Exit.OK, done.err
    assert {path.name for path in program.folder.iterdir()} == {"tiny.toml", "runs"}
    (directory,) = (program.folder / "runs").iterdir()
    (trial,) = trials_of(directory)
    assert trial.config["model"]["name"] == name
    shown = program("show", trial.id).out + program("leaderboard").out + program("status").out
    for text in (done.err, shown, (directory / "leaderboard.md").read_text()):
        assert not {"\x00", "\u202e", "\x1b"} & {*text}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_46_a_run_or_a_trial_of_that_name_does_not_exist(program: Program, name: str) -> None:
    _, directory = made(program)
    run = directory.path.name
    for command in (("status",), ("leaderboard",), ("doctor",), ("resume", "--gpus", "0")):
        said = program.refuses(*command, "--", name, code=Exit.USAGE)
        assert "no sweep of the path or name" in said
    for command in (("show",), ("debug", "--gpus", "0")):
        said = program.refuses(*command, "--", run, name, code=Exit.USAGE)
        assert "no trial " in said
        assert not {"\x00", "\u202e"} & {*said}


# 47: text that would be markup, or act on a terminal


EVIL = "<script>alert(1)<\x1b[2J|](javascript:x)\u202e`\n.txt"


def test_47_what_a_path_an_axis_or_an_exception_says_stays_text(program: Program) -> None:
    good, bad = program.folder / f"good{EVIL}", program.folder / f"bad{EVIL}"
    for path in (good, bad):
        path.write_text(f"{path.name[:3]} words of a text, again. " * 80)
    template = program.folder / "evil.toml"
    template.write_text(
        f"""
        name = {json.dumps(EVIL)}
        [model]
        name = {json.dumps(EVIL)}
        dim = 4
        n_layers = 1
        n_heads = 1
        [training]
        steps = 2
        seq_len = 8
        batch_size = 2
        [space]
        "data.dataset_path" = [{json.dumps(str(good))}, {json.dumps(str(bad))}]
        """
    )
    plan = make_plan(Request(strategy=str(template)), CPU_ONLY)
    directory = new_run_directory(program.folder / "runs", plan.name, plan.hash)
    directory.path.mkdir(parents=True)
    create(plan, directory, [])
    bad.unlink()
    done = program("resume", *INLINE)
    assert done.code == Exit.FAILED_TRIALS, done.err
    trials = {trial.id: trial for trial in trials_of(directory.path)}
    failed = trials[plan.trials[1].id]
    assert str(bad) in failed.detail or EVIL[:12] in failed.detail
    shown = [done.err, program("status").out, program("doctor").out]
    shown += [program("show", trial.id).out for trial in plan.trials]
    shown += [program("leaderboard", "--format", form).out for form in ("table", "md", "html")]
    for text in shown:
        assert not {"\x1b", "\u202e"} & {*text}
    page = json.loads(program("show", failed.id, "--format", "json").out)
    assert page["detail"] == failed.detail
    for form in ("md", "html"):
        assert "<script>alert" not in (directory.path / f"leaderboard.{form}").read_text()


# 50: data that would be code


ATTACKS = {
    "base.toml": '[model]\n_target_ = "os.system"\n_args_ = ["touch hacked"]\n',
    "partial.toml": '[training]\n_partial_ = true\n"_target_" = "os.system"\n',
    "apply.yaml": 'model: !!python/object/apply:os.system ["touch hacked"]\n',
    "name.yaml": "model: !!python/name:os.system\n",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_50_a_file_runs_no_code(program: Program, name: str) -> None:
    (program.folder / name).write_text(ATTACKS[name])
    said = program.refuses("train", "--base-config", name, "--gpus", "0", code=Exit.USAGE)
    assert said.startswith(f"error: {name}")
    assert not (program.folder / "hacked").exists()


@pytest.mark.parametrize("word", ["_target_=os.system", "model._target_=os.system", "+_target_=x"])
def test_50_a_setting_runs_no_code(program: Program, word: str) -> None:
    _, directory = made(program)
    for command in (("train",), ("resume", directory.path.name), ("debug", "--strategy", "grid")):
        program.refuses(*command, word, "--gpus", "0", code=Exit.USAGE)


_unpickled: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "pickle.find_class":
        _unpickled.append(".".join(map(str, arguments)))


sys.addaudithook(_watch)  # for the life of the process: none can be taken back


@contextlib.contextmanager
def nothing_unpickled() -> Any:
    global _watching
    _watching = True
    try:
        yield
    finally:
        _watching = False
    assert _unpickled == []


PICKLE = b"cos\nsystem\n(S'touch hacked'\ntR."


def test_50_no_pickle_of_a_run_is_opened(program: Program, ended: Path) -> None:
    run = program.folder / "runs" / "run"
    shutil.copytree(ended, run)
    trial = next((run / "trials").iterdir())
    for path in (run / "tuner.pkl", trial / "log.txt", trial / "params.pkl"):
        path.write_bytes(PICKLE)
    with nothing_unpickled():
        for command in (["status"], ["leaderboard"], ["show", trial.name], ["doctor", "run"]):
            assert program(*command).code == Exit.OK
        (trial / "checkpoints" / "step-000000060" / "model.safetensors").write_bytes(PICKLE)
        (trial / "checkpoints" / "step-000000060" / "manifest.json").write_bytes(PICKLE)
        assert program("doctor", "run").code == Exit.STORAGE
    assert not (program.folder / "hacked").exists()


# 53: libraries


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("ray", "2.40.0", "ray: got version 2.40.0, expected ray>=2.54"),
        ("ray", None, "ray is not installed, expected ray>=2.54"),
        ("aiohttp", None, "aiohttp is not installed"),
        ("torch", "2.7.1", "torch: got version 2.7.1, expected torch>=2.8"),
    ],
)
def test_53_a_library_that_is_missing_or_too_old(
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    version: str | None,
    told: str,
) -> None:
    installed = importlib.metadata.version

    def lookup(asked: str) -> str:
        if asked == name and version is None:
            raise importlib.metadata.PackageNotFoundError(asked)
        return version if asked == name and version is not None else installed(asked)

    monkeypatch.setattr(importlib.metadata, "version", lookup)
    _, directory = made(program)
    for command in (same_sweep(program), ("resume", directory.path.name), ("train",)):
        said = program.refuses(*command, code=Exit.USAGE)
        assert told in said
        needed = "torch>=2.8" if name == "torch" else "ray[default,tune]>=2.54"
        assert f"-m pip install '{needed}'" in said
    assert program("doctor").code == Exit.USAGE


def test_another_package_before_ours_is_named(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's workers look in the current folder; this process looks along its own path."""
    other = program.folder / "trainer" / "__init__.py"
    other.parent.mkdir()
    other.write_text("")
    tiny_plan(program.folder, steps=2)
    strategy = ("--strategy", str(program.folder / "tiny.toml"), "--gpus", "0")
    said = program.refuses("sweep", *strategy, code=Exit.USAGE)
    assert f"error: {other}: Ray's workers would take this for arbiter's package trainer" in said
    assert "hint: start arbiter from another folder" in said
    assert program("sweep", *strategy, "--executor", "inline").code == Exit.OK
    assert program("doctor").code == Exit.USAGE
    monkeypatch.syspath_prepend(program.folder)
    monkeypatch.delitem(sys.modules, "trainer")
    said = program.refuses("train", "--gpus", "0", code=Exit.USAGE)
    assert f"error: {other}: this is not arbiter's package trainer" in said

"""Checkpoints survive what happens to files and to the process that writes them."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import trainer_help as help
from trainer import checkpoint as module
from trainer.checkpoint import Checkpoint, CheckpointStore
from trainer.checkpoint_files import read_manifest
from trainer.errors import InputError

FILES = ("model.safetensors", "optimizer.safetensors", "manifest.json")


def state(step: int, trial: str = "a") -> Checkpoint:
    draw = torch.Generator().manual_seed(step)
    weight = torch.randn(40, 30, generator=draw)
    return Checkpoint(
        trial,
        step,
        {"w": weight, "half": weight[:1].half(), "empty": torch.empty(0)},
        {"exp_avg.w": weight.T, "step.w": torch.tensor(float(step))},
        {"grokking": {"length": step}, "tiny": 5e-324, "third": 1 / 3},
        [(step - 1, {"train/loss": 0.1 + step}), (step, {"train/loss": 0.2})],
    )


def filled(folder: Path, *steps: int, keep: int = 9) -> CheckpointStore:
    store = CheckpointStore(folder / "checkpoints", keep)
    for step in steps:
        store.save(state(step))
    return store


def folder_of(store: CheckpointStore, step: int) -> Path:
    return store.directory / f"step-{step:09d}"


def assert_is(found: Checkpoint | None, step: int) -> None:
    expected = state(step)
    assert found is not None
    assert (found.trial_id, found.step, found.extra) == ("a", step, expected.extra)
    assert found.rows == expected.rows
    assert help.same_tensors(found.model, expected.model)
    assert help.same_tensors(found.optimizer, expected.optimizer)
    assert all(found.model[name].dtype == t.dtype for name, t in expected.model.items())


def test_round_trip(tmp_path: Path) -> None:
    store = filled(tmp_path, 5)
    found, notes = store.load_newest("a")
    assert_is(found, 5)
    assert notes == []
    assert sorted(p.name for p in folder_of(store, 5).iterdir()) == sorted(FILES)


def test_nothing_there(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none", 1).load_newest("a") == (None, [])


def test_a_state_without_an_optimizer(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, 1)
    store.save(Checkpoint("a", 0, {"w": torch.ones(2)}, {}))
    found, _ = store.load_newest("a")
    assert found is not None and found.optimizer == {} and found.rows == []


def test_the_newest_is_used_whatever_the_number_of_digits(tmp_path: Path) -> None:
    found, _ = filled(tmp_path, 9, 10, 100, 99).load_newest("a")
    assert_is(found, 100)


def test_retention_keeps_the_newest(tmp_path: Path) -> None:
    filled(tmp_path, *range(1, 6), keep=2)
    assert help.steps_on_disk(tmp_path) == [4, 5]


def test_the_same_step_again(tmp_path: Path) -> None:
    store = filled(tmp_path, 1, 2, 2)
    assert help.steps_on_disk(tmp_path) == [1, 2]
    assert_is(store.load_newest("a")[0], 2)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def zero_a_page(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    first = len(raw) - 512
    raw[max(0, first) :] = bytes(len(raw) - max(0, first))
    path.write_bytes(raw)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def garble(path: Path) -> None:
    path.write_bytes(b"\xff\xfe{" + os.urandom(64))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [truncate, empty, flip_a_bit, zero_a_page, Path.unlink, replace_by_folder, garble],
)
def test_a_damaged_one_is_set_aside_and_the_one_before_used(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    store = filled(tmp_path, 1, 2, 3)
    damage(folder_of(store, 3) / name)
    found, notes = store.load_newest("a")
    assert_is(found, 2)
    assert len(notes) == 1 and "step-000000003 is damaged and was set aside" in notes[0]
    assert help.steps_on_disk(tmp_path) == [1, 2]
    assert (store.directory / "damaged-step-000000003").is_dir()
    assert_is(CheckpointStore(store.directory, 2).load_newest("a")[0], 2)


@given(st.integers(0, 10**9), st.integers(0, 7), st.sampled_from(FILES))
def test_any_flipped_bit_is_seen(position: int, bit: int, name: str) -> None:
    folder = help.Path(os.environ["ARBITER_RUNS"]) / "flips"
    store = filled(folder, 1)
    path = folder_of(store, 1) / name
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] ^= 1 << bit
    path.write_bytes(raw)
    found, notes = store.load_newest("a")
    assert found is None and len(notes) == 1


@pytest.mark.parametrize(
    "manifest",
    ["[]", "3", "null", "{}", '{"manifest": 3}', '{"manifest": "{}", "sha256": "0"}'],
)
def test_a_manifest_of_another_shape_is_damage(manifest: str, tmp_path: Path) -> None:
    store = filled(tmp_path, 1, 2)
    (folder_of(store, 2) / "manifest.json").write_text(manifest)
    found, notes = store.load_newest("a")
    assert_is(found, 1)
    assert len(notes) == 1


def rewrite_manifest(path: Path, **changes: Any) -> None:
    body = json.dumps(read_manifest(path) | changes)
    digest = hashlib.sha256(body.encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps({"manifest": body, "sha256": digest}))


def test_a_format_of_another_version_is_not_read(tmp_path: Path) -> None:
    store = filled(tmp_path, 1, 2)
    rewrite_manifest(folder_of(store, 2), format=2)
    found, notes = store.load_newest("a")
    assert_is(found, 1)
    assert "format 2: this version reads 1" in notes[0]


def test_all_damaged(tmp_path: Path) -> None:
    store = filled(tmp_path, 1, 2, 3)
    for step in (1, 2, 3):
        flip_a_bit(folder_of(store, step) / "model.safetensors")
    found, notes = store.load_newest("a")
    assert found is None
    assert [note.split()[1] for note in notes] == [f"step-00000000{step}" for step in (3, 2, 1)]


def test_another_trials_checkpoint_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    with pytest.raises(InputError, match="belongs to trial a: expected b") as caught:
        store.load_newest("b")
    assert str(store.directory) in caught.value.hint
    assert_is(store.load_newest("a")[0], 1)


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("hash_agrees", [False, True])
def test_a_pickle_in_place_of_the_weights_is_not_run(hash_agrees: bool, tmp_path: Path) -> None:
    store, fired = filled(tmp_path, 1, 2), tmp_path / "fired"
    path = folder_of(store, 2)
    torch.save({"w": Bomb(fired)}, path / "model.safetensors")
    (path / "optimizer.safetensors").write_bytes(pickle.dumps(Bomb(fired)))
    if hash_agrees:
        files = {
            name: {"sha256": hashlib.sha256((path / name).read_bytes()).hexdigest()}
            for name in FILES[:2]
        }
        rewrite_manifest(path, files=files)
    found, notes = store.load_newest("a")
    assert_is(found, 1)
    assert len(notes) == 1 and not fired.exists()


def test_too_little_memory_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, 1)

    def fails(path: Path) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(module, "load_file", fails)
        with pytest.raises(MemoryError):
            store.load_newest("a")
    assert_is(store.load_newest("a")[0], 1)


def count_calls(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call `act` with a running number before everything that writes a checkpoint."""
    count = 0

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            act(count)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", wrap(os.fsync))
    monkeypatch.setattr(Path, "rename", wrap(Path.rename))
    monkeypatch.setattr(Path, "mkdir", wrap(Path.mkdir))
    monkeypatch.setattr(Path, "write_text", wrap(Path.write_text))
    monkeypatch.setattr(module, "save_file", wrap(module.save_file))


class DiskFull(OSError):
    pass


def test_an_error_at_any_step_of_writing_leaves_the_earlier_ones(tmp_path: Path) -> None:
    points = 0
    while True:
        points += 1
        folder = tmp_path / str(points)
        store = filled(folder, 1, 2, keep=2)

        def fail(count: int, point: int = points) -> None:
            if count == point:
                raise DiskFull

        with pytest.MonkeyPatch.context() as patch:
            count_calls(patch, fail)
            try:
                store.save(state(3))
                break
            except DiskFull:
                pass
        found, notes = store.load_newest("a")
        assert found is not None and notes == []
        assert_is(found, found.step)
        assert found.step in (2, 3) and {1, 2} <= set(help.steps_on_disk(folder))
        assert not list(store.directory.glob(".tmp-*"))
        store.save(state(4))
        assert_is(store.load_newest("a")[0], 4)
    assert points > 9


def _save_and_die(folder: Path, point: int) -> None:
    """Save step 3; die before the file operation number `point` of all."""
    store, count = CheckpointStore(folder / "checkpoints", 2), 0

    def die(number: int) -> None:
        nonlocal count
        count += 1
        if count == point:
            os._exit(help.KILLED)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        deletes = event in ("os.remove", "os.rmdir", "shutil.rmtree")
        if deletes or (event == "open" and str(folder) in str(args[0])):
            die(0)

    count_calls(pytest.MonkeyPatch(), die)
    sys.addaudithook(hook)
    store.save(state(3))
    os._exit(0)


def _die_everywhere(folder: Path) -> None:
    """Make a run's folder for each operation, with a process that dies there."""
    for point in range(1, 100):
        filled(folder / str(point), 1, 2, keep=2)
        if not (child := os.fork()):
            _save_and_die(folder / str(point), point)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, help.KILLED)
        if code == 0:
            return


def test_a_death_at_any_step_of_writing_leaves_whole_checkpoints_only(tmp_path: Path) -> None:
    assert help.in_process(_die_everywhere, tmp_path) == 0
    folders = sorted(tmp_path.iterdir(), key=lambda path: int(path.name))
    assert len(folders) > 15 and help.steps_on_disk(folders[-1]) == [2, 3]
    for folder in folders:
        store = CheckpointStore(folder / "checkpoints", 2)
        found, notes = store.load_newest("a")
        assert found is not None and notes == []
        assert_is(found, found.step)
        assert found.step in (2, 3)
        store.save(state(4))
        assert help.steps_on_disk(folder) == [found.step, 4]
        assert not list(store.directory.glob(".tmp-*"))


def test_everything_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    sync, rename = os.fsync, Path.rename

    def logged_sync(descriptor: int) -> None:
        log.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def logged_rename(path: Path, target: Path) -> Path:
        log.append(f"-> {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", logged_sync)
    monkeypatch.setattr(Path, "rename", logged_rename)
    filled(tmp_path, 1)
    named = log.index("-> step-000000001")
    assert set(FILES) <= set(log[:named]) and log[named - 1].startswith(".tmp-step-000000001")
    assert log[named + 1 :] == ["checkpoints"]

"""Light curves are made once, found again by content, and never read half."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.ariel_files import EXPOSURES, Set, write_set
from trainer.tasks.ariel import cache, light_curves, visits
from trainer.tasks.ariel.dataset import content_hash, open_dataset, read_visits


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return write_set(tmp_path_factory.mktemp("set") / "ariel", {11: 1, 5: 2})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def entries(home: Path, kind: str) -> list[Path]:
    return sorted((home / "ariel" / kind).glob("*.safetensors"))


def never() -> cache.Arrays:
    raise AssertionError("made again")


ARRAYS: cache.Arrays = {
    "whole": np.arange(6, dtype=np.int64).reshape(2, 3),
    "single": np.linspace(0, 1, 5, dtype=np.float32),
    "turned": np.arange(6.0).reshape(2, 3).T,
    "flag": np.array([True, False]),
    "one": np.array(3.5),
    "none": np.empty((0, 283)),
}


@pytest.mark.parametrize("memory_map", [False, True])
def test_arrays_come_back_as_they_were(memory_map: bool) -> None:
    cache.remembered("things", "a key", lambda: ARRAYS)
    found = cache.remembered("things", "a key", never, memory_map=memory_map)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
    if memory_map:
        with pytest.raises(ValueError, match="read-only"):
            found["whole"][0, 0] = 1


def test_another_key_or_kind_is_another_entry() -> None:
    for kind, key, value in (("a", "x", 1.0), ("a", "y", 2.0), ("b", "x", 3.0)):
        cache.remembered(kind, key, lambda value=value: {"v": np.array([value])})  # type: ignore[misc]
    assert cache.remembered("a", "y", never)["v"] == [2.0]
    assert cache.remembered("b", "x", never)["v"] == [3.0]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def replace_header(file: Path) -> None:
    file.write_bytes((2**40).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize("damage", [cut, flip, empty, replace_header])
@pytest.mark.parametrize("memory_map", [False, True])
def test_a_damaged_entry_is_made_anew(
    damage: Callable[[Path], None], memory_map: bool, home: Path
) -> None:
    cache.remembered("things", "k", lambda: ARRAYS)
    (file,) = entries(home, "things")
    damage(file)
    found = cache.remembered("things", "k", lambda: ARRAYS, memory_map=memory_map)
    np.testing.assert_array_equal(found["turned"], ARRAYS["turned"])
    cache.remembered("things", "k", never)


def test_what_fails_leaves_nothing(home: Path) -> None:
    def fail() -> cache.Arrays:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.remembered("things", "k", fail)
    assert [p.name for p in (home / "ariel" / "things").iterdir() if p.suffix != ".lock"] == []
    assert cache.remembered("things", "k", lambda: ARRAYS).keys() == ARRAYS.keys()


def test_a_disk_that_refuses_is_said_and_leaves_nothing(home: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="safetensors"):
            cache.remembered("things", "k", lambda: {"large": np.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in (home / "ariel" / "things").iterdir() if p.suffix != ".lock"] == []


def test_of_many_who_ask_one_makes_it() -> None:
    made, together = [], threading.Barrier(4)

    def make() -> cache.Arrays:
        made.append(1)
        return ARRAYS

    def ask() -> None:
        together.wait()
        cache.remembered("things", "k", make)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_light_curves_are_calibrated_once(
    written: Set, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(written.root)
    told: list[tuple[int, int]] = []
    first = read_visits(dataset, [5, 11], EXPOSURES, progress=lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert first.planet_ids.tolist() == [5, 5, 11] and first.visit.tolist() == [0, 1, 0]
    assert first.flux.shape == (3, EXPOSURES, 283) and first.flux.dtype == np.float32
    monkeypatch.setattr(light_curves, "read_visit", lambda *_: never())
    again = read_visits(dataset, [5, 11], EXPOSURES)
    np.testing.assert_array_equal(again.flux, first.flux)
    np.testing.assert_array_equal(again.times_h, first.times_h)
    one = read_visits(dataset, [11], EXPOSURES)
    np.testing.assert_array_equal(one.flux, first.flux[2:])
    assert len(entries(home, visits.KIND)) == 3


def test_a_memory_map_is_one_file_and_the_same(written: Set, home: Path) -> None:
    dataset = open_dataset(written.root)
    whole = read_visits(dataset, [5, 11], 10)
    mapped = read_visits(dataset, [5, 11], 10, memory_map=True)
    assert isinstance(mapped.flux, np.memmap) and not isinstance(whole.flux, np.memmap)
    np.testing.assert_array_equal(mapped.flux, whole.flux)
    assert len(entries(home, visits.KIND_MAPPED)) == 1


def test_several_processes_give_the_same(written: Set, tmp_path: Path, home: Path) -> None:
    dataset = open_dataset(written.root)
    alone = read_visits(dataset, dataset.planets, 10)
    shutil.rmtree(home)
    together = read_visits(dataset, dataset.planets, 10, workers=2)
    np.testing.assert_array_equal(together.flux, alone.flux)
    assert together.planet_ids.tolist() == alone.planet_ids.tolist()
    assert multiprocessing.active_children() == []


def test_what_was_made_before_an_interrupt_is_kept(
    written: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(written.root)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_visits(dataset, [5, 11], EXPOSURES, progress=stop)
    calibrated: list[int] = []
    real = light_curves.read_visit

    def count(*arguments: object) -> object:
        calibrated.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(light_curves, "read_visit", count)
    assert len(read_visits(dataset, [5, 11], EXPOSURES).flux) == 3
    assert calibrated == [1]


def test_the_hash_is_of_content_and_not_of_place(written: Set, tmp_path: Path, home: Path) -> None:
    shutil.copytree(written.root, tmp_path / "elsewhere")
    here, there = open_dataset(written.root), open_dataset(tmp_path / "elsewhere")
    assert content_hash(here, [5, 11]) == content_hash(there, [11, 5])
    assert content_hash(here, [5]) != content_hash(here, [5, 11])
    read_visits(here, [5], 5)
    read_visits(there, [5], 5)
    assert len(entries(home, visits.KIND)) == 2


@pytest.mark.parametrize(
    "name",
    [
        "train/5/FGS1_signal_1.parquet",
        "train/5/AIRS-CH0_calibration_0/dark.parquet",
        "axis_info.parquet",
    ],
)
def test_another_byte_is_another_hash(name: str, written: Set, tmp_path: Path) -> None:
    shutil.copytree(written.root, tmp_path / "copy")
    dataset = open_dataset(tmp_path / "copy")
    before, other = content_hash(dataset, [5]), content_hash(dataset, [11])
    file = tmp_path / "copy" / name
    content = bytearray(file.read_bytes())
    content[40] ^= 1  # as long as before
    file.write_bytes(content)
    os.utime(file, ns=(1, 1))
    assert content_hash(dataset, [5]) != before
    assert (content_hash(dataset, [11]) == other) == name.startswith("train/5")


def test_labels_systems_and_converters_are_content(written: Set, tmp_path: Path) -> None:
    before = content_hash(open_dataset(written.root), [11])
    changes = {
        "train.csv": (",0.00", ",0.01"),
        "train_star_info.csv": ("5600", "5601"),
        "adc_info.csv": ("0.4369", "0.4370"),
    }
    for name, (old, new) in changes.items():
        copy = tmp_path / name / "copy"
        shutil.copytree(written.root, copy)
        text = (copy / name).read_text()
        assert old in text
        (copy / name).write_text(text.replace(old, new))
        assert content_hash(open_dataset(copy), [11]) != before, name


def test_a_second_hash_reads_no_file(written: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(written.root)
    before = content_hash(dataset, [5, 11])
    monkeypatch.setattr("hashlib.file_digest", lambda *_: never())
    assert content_hash(dataset, [5, 11]) == before


def test_a_damaged_memo_of_hashes_costs_only_time(written: Set, home: Path) -> None:
    dataset = open_dataset(written.root)
    before = content_hash(dataset, [5])
    (memo,) = (home / "ariel" / "digests").glob("*.json")
    memo.write_text('{"train": 3')
    assert content_hash(dataset, [5]) == before

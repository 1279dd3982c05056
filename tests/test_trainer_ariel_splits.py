"""Planets are dealt out as scikit-learn does it, and counted without it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.errors import InputError
from trainer.tasks.ariel.splits import split_planets, train_planets


@pytest.mark.parametrize("folds", [3, 4, 5, 7])
def test_the_number_that_train_is_that_of_the_split(folds: int) -> None:
    for n in range(folds, folds + 12):
        for fold in range(folds):
            split = split_planets(range(100, 100 + n), folds, fold, seed=n)
            assert train_planets(n, folds, fold) == len(split["train"]), (n, fold)


@settings(max_examples=30)
@given(st.sets(st.integers(0, 2**40), min_size=5, max_size=30), st.randoms(), st.integers(0, 99))
def test_a_planet_is_on_one_side_however_it_is_listed(
    planets: set[int], random: object, seed: int
) -> None:
    ordered = sorted(planets)
    listed = ordered + ordered[::2]  # some were visited twice
    random.shuffle(listed)  # type: ignore[attr-defined]
    split = split_planets(listed, 5, 0, seed)
    assert sorted(sum(split.values(), ())) == ordered
    assert split == split_planets(ordered, 5, 0, seed)


def test_over_the_folds_each_planet_is_tested_once_and_validates_once() -> None:
    splits = [split_planets(range(23), 5, fold, seed=3) for fold in range(5)]
    for part in ("test", "val"):
        assert sorted(sum((split[part] for split in splits), ())) == list(range(23))
    for fold, split in enumerate(splits):
        assert split["val"] == splits[(fold + 1) % 5]["test"]


def test_another_seed_deals_anew() -> None:
    first, second = (split_planets(range(40), 5, 0, seed) for seed in (0, 1))
    assert first["test"] != second["test"]
    assert len(first["test"]) == len(second["test"]) == 8


def test_fewer_planets_than_folds_are_refused_with_what_to_type() -> None:
    for refuse in (lambda: train_planets(4, 5, 0), lambda: split_planets(range(4), 5, 0, 0)):
        with pytest.raises(InputError, match="5 folds of 4 planets") as refused:
            refuse()
        assert refused.value.hint == "data.folds=4"


def test_counting_loads_neither_numpy_nor_scikit_learn() -> None:
    code = (
        "import sys; from trainer.tasks.ariel.splits import train_planets;"
        " assert train_planets(240, 5, 0) == 144; assert not {'numpy', 'sklearn'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

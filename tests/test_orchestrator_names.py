"""Names for people: what sets a trial apart, in safe characters and of bounded length."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cohort import CohortQueue, pack
from orchestrator.ledger import TrialRecord
from orchestrator.names import LONGEST_NAME, label_of, merged, name_of, safe, short_name


def trial(seed: int = 0, /, **changed: Any) -> TrialRecord:
    config = {"tier": {"device": "cpu", "cpus": 1, "gpus": 1.0}, "training": {"steps": 1}}
    keyed = {f"model.{key}": value for key, value in changed.items()}
    return TrialRecord(f"id{seed}", seed, "point", seed, keyed, config)


def test_a_trial_is_known_by_what_changed() -> None:
    one = trial(1, n_layers=4, lr=0.003, kind="wide & shallow")
    assert label_of(one) == "n_layers=4 lr=0.003 kind=wide_shallow seed=1"
    assert name_of(one) == f"id1 {label_of(one)}"


def test_a_setting_that_says_nothing_alone_keeps_the_part_before() -> None:
    assert short_name("model.n_layers") == "n_layers"
    assert short_name("loss.composite.fft.weight") == "fft.weight"
    assert short_name("symbolic.molecular_fingerprint.enabled") == "molecular_fingerprint.enabled"
    assert short_name("weight") == "weight"


def test_trials_that_train_together_are_known_by_all_their_values() -> None:
    labels = [label_of(trial(seed, lr=lr)) for lr in (0.1, 1.0) for seed in range(4)]
    assert merged(labels) == "lr=0.1,1 seed=0..3"
    assert merged(labels[:1]) == labels[0]
    assert merged(labels[6:] + labels[:2]) == "lr=1,0.1 seed=2,3,0,1"
    assert merged([label_of(trial(lr=10**n + 0.5)) for n in range(6)]) == "lr=6_values seed=0"
    assert merged([]) == ""


def test_a_cohort_has_the_name_of_the_sweep_and_of_its_trials() -> None:
    trials = [trial(seed, lr=0.1) for seed in range(3)]
    first, second = pack(trials, 1, 2, "my grid")
    assert (first.name, second.name) == (
        "my_grid-0000 lr=0.1 seed=0,1",
        "my_grid-0001 lr=0.1 seed=2",
    )
    queue = CohortQueue([first, second])
    queue.split(first, ["id1"])
    assert [queue.next(), queue.next()] == [first, second]
    again = queue.next()
    assert again is not None
    assert again.name == "my_grid-0002 lr=0.1 seed=1"


@given(st.dictionaries(st.text(), st.text() | st.floats() | st.lists(st.integers())))
def test_no_value_leaves_its_place(changed: dict[str, Any]) -> None:
    label = label_of(trial(**changed))
    assert re.fullmatch(r"[A-Za-z0-9._+=-]+( [A-Za-z0-9._+=-]+)* ?", label)
    assert len(label) <= LONGEST_NAME
    assert len(merged([label, label_of(trial(1, **changed))])) <= LONGEST_NAME


@given(st.text())
def test_a_safe_word_is_one_word(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._+-]{1,24}", safe(text))

"""Packing: every trial once, in order, and never with a neighbour of another share."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cohort import (
    LONGEST_COHORT,
    WORTH_STARTING_S,
    Cohort,
    CohortQueue,
    Share,
    pack,
    predicted_s,
    workers_for,
)
from orchestrator.hardware import Hardware
from orchestrator.ledger import TrialRecord


def trial(position: int, flops: float = 0.0, steps: int = 100, **tier: Any) -> TrialRecord:
    config = {
        "tier": {"device": "cpu", "cpus": 1, "gpus": 1.0} | tier,
        "training": {"steps": steps},
    }
    return TrialRecord(
        id=f"t{position}",
        position=position,
        point_id="p",
        seed=0,
        changed={},
        config=config,
        flops=flops,
    )


TIERS = st.sampled_from(
    [{}, {"cpus": 2}, {"device": "cuda"}, {"device": "cuda", "gpus": 0.5}, {"gpus": 0.5}]
)
TRIALS = st.lists(st.tuples(st.floats(0, 1e12), st.integers(1, 5000), TIERS), max_size=60).map(
    lambda rows: [trial(i, flops, steps, **tier) for i, (flops, steps, tier) in enumerate(rows)]
)


@given(trials=TRIALS, workers=st.integers(1, 4), size=st.none() | st.integers(1, 10))
def test_packing_keeps_its_promises(
    trials: list[TrialRecord], workers: int, size: int | None
) -> None:
    cohorts = pack(trials, workers, size)
    assert [i for cohort in cohorts for i in cohort.trial_ids] == [t.id for t in trials]
    assert len({cohort.id for cohort in cohorts}) == len(cohorts)
    by_id = {t.id: t for t in trials}
    for cohort in cohorts:
        members = [by_id[i] for i in cohort.trial_ids]
        assert 1 <= len(members) <= (size or LONGEST_COHORT)
        for member in members:
            tier = member.config["tier"]
            assert cohort.share == Share(
                tier["cpus"], tier["gpus"] if tier["device"] == "cuda" else 0.0
            )
        if size is None and len(members) > 1:
            assert sum(map(predicted_s, members)) <= WORTH_STARTING_S * 1.001


@given(count=st.integers(1, 300), workers=st.integers(1, 8))
def test_each_worker_gets_three_cohorts_where_there_are_enough(count: int, workers: int) -> None:
    cohorts = pack([trial(i, steps=1) for i in range(count)], workers)
    assert max(len(cohort.trial_ids) for cohort in cohorts) <= max(
        1, math.ceil(count / (3 * workers))
    )


def test_short_trials_share_and_long_ones_are_alone() -> None:
    short = [trial(i, steps=100) for i in range(60)]
    assert {len(cohort.trial_ids) for cohort in pack(short, 1)} == {20}
    long = [trial(i, flops=1e15) for i in range(6)]
    assert [cohort.trial_ids for cohort in pack(long, 1)] == [(t.id,) for t in long]


def test_a_long_trial_on_a_gpu_may_be_a_short_one() -> None:
    both = [predicted_s(trial(0, flops=1e14, device=device)) for device in ("cpu", "cuda")]
    assert both[0] > 1000 > 10 > both[1]


def test_a_size_that_is_asked_for_is_kept() -> None:
    cohorts = pack([trial(i, flops=1e15) for i in range(7)], 2, 3)
    assert [cohort.trial_ids for cohort in cohorts] == [
        ("t0", "t1", "t2"),
        ("t3", "t4", "t5"),
        ("t6",),
    ]


def test_a_trial_of_several_processes_is_alone_and_has_the_share_of_all() -> None:
    trials = [
        trial(0, cpus=2, workers=2),
        trial(1, cpus=2, workers=2),
        trial(2, device="cuda", cpus=3, gpus=4.0),
        trial(3),
        trial(4),
    ]
    cohorts = pack(trials, 1, 2)
    assert [cohort.share for cohort in cohorts] == [
        *[Share(4, 0.0, 2)] * 2,
        Share(12, 4.0, 4),
        Share(1, 0.0),
    ]
    assert workers_for(trials[0], Hardware(cpus=9)) == 2
    assert workers_for(trials[2], Hardware(cpus=24, gpus=(80.0,) * 8)) == 2


def test_what_is_left_of_a_dead_cohort_comes_again_alone_and_last() -> None:
    first, second = pack([trial(i) for i in range(4)], 1, 2)
    queue = CohortQueue([first, second])
    assert queue.next() == first
    queue.split(first, ["t0", "t1"])
    assert queue.next() == second
    again = [queue.next(), queue.next()]
    assert [cohort and cohort.trial_ids for cohort in again] == [("t0",), ("t1",)]
    ids = {cohort.id for cohort in (first, second, *again) if isinstance(cohort, Cohort)}
    assert len(ids) == 4
    assert queue.next() is None

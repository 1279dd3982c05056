"""What a person following a sweep is told, from events and rows made by hand."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from orchestrator.ledger import Event, Standing, State, TrialRecord
from orchestrator.objective import Objective
from orchestrator.pace import remaining_s
from orchestrator.progress import Progress
from orchestrator.progress_table import Style, clock, lines, plain, roughly
from orchestrator.sparkline import ASCII, BLOCKS, Curve, sparkline
from trainer.reporting import Reason

STEPS = 1000
WORK_S = 2.0
"""Predicted seconds of each trial here: 1,000 steps and no operations to speak of."""


def trials(n: int, **changed: Any) -> list[TrialRecord]:
    config = {"tier": {"device": "cpu"}, "training": {"steps": STEPS}}
    return [
        TrialRecord(f"t{i}", i, f"p{i}", i, changed or {"model.dim": i}, config) for i in range(n)
    ]


class Sweep:
    """A sweep whose ledger is written by hand."""

    def __init__(self, n: int, objective: Objective | None = None, **changed: Any) -> None:
        self.progress = Progress("hand", objective or Objective(), trials(n, **changed))
        self.seq = 0

    def event(self, kind: str, trial_id: str | None = None, detail: str = "") -> None:
        self.seq += 1
        self.progress.take([Event(self.seq, 0.0, kind, trial_id, detail)])

    def start(self, *ids: str, note: str = "") -> None:
        self.event("placed", None, f"cohort-0000 on process 1: {' '.join(ids)}")
        for trial_id in ids:
            self.event("started", trial_id, note)
            self.stand(trial_id, self.progress.tracks[trial_id].step)

    def stand(
        self,
        trial_id: str,
        step: int,
        reason: Reason | None = None,
        value: float | None = None,
    ) -> None:
        state = State.RUNNING if reason is None else State.ENDED
        final = {} if value is None else {self.progress.objective.metric: value}
        self.progress.settle([Standing(trial_id, state, reason, "", step, 0.0, final)])

    def finish(self, trial_id: str, value: float = 1.0) -> None:
        self.event("ended", trial_id, "finished")
        self.stand(trial_id, STEPS, Reason.FINISHED, value)


def test_the_rest_is_shared_by_the_workers_but_for_the_last_cohort() -> None:
    assert remaining_s(left=12, lanes=[3, 1], workers=2, pace=2) == 6
    assert remaining_s(left=4, lanes=[4], workers=2, pace=2) == 4


@pytest.mark.parametrize("warm_up_s", [10.0, 1000.0])
def test_the_eta_counts_the_queue_and_leaves_out_the_start(warm_up_s: float) -> None:
    sweep = Sweep(6)  # 12 s of work
    progress, begin = sweep.progress, 50.0 + warm_up_s
    progress.observe(50.0, 0.0)
    sweep.start("t0", "t1")
    sweep.start("t2")
    progress.observe(begin, 0.0)
    assert progress.eta_s is None and not progress.begun

    sweep.stand("t0", 500)
    sweep.stand("t2", 500)
    progress.observe(begin + 2, 0.0)  # the first steps: 2 s of work are done, the clock starts
    assert progress.begun and progress.eta_s is None

    sweep.finish("t0")
    sweep.finish("t2")
    sweep.stand("t1", 500)
    progress.observe(begin + 6, 0.0)  # 3 s of work in 4 s: 0.75 a second, 7 of 12 are left
    assert progress.eta_s == pytest.approx(7 / 0.75)
    progress.observe(begin + 7, 0.0)  # nothing new: it counts down
    assert progress.eta_s == pytest.approx(7 / 0.75 - 1)
    assert progress.elapsed_s == warm_up_s + 7

    for trial_id in ("t3", "t4", "t5"):
        sweep.start(trial_id)
        sweep.finish(trial_id)
    progress.observe(begin + 14, 0.0)  # 9 s of work in 12 s; t1 is alone, on one of two workers
    assert progress.eta_s == pytest.approx(1 / (0.75 / 2))
    progress.observe(begin + 99, 0.0)
    assert progress.eta_s is None  # overdue: there is nothing true to say
    sweep.finish("t1")
    progress.observe(begin + 100, 0.0)
    assert progress.eta_s is None and progress.done == 6


def test_a_resumed_trial_counts_what_this_attempt_does() -> None:
    sweep = Sweep(2)
    sweep.event("began")
    sweep.start("t0", note="resumes at step 900")
    sweep.progress.observe(0.0, 0.0)
    assert not sweep.progress.begun
    sweep.stand("t0", 950)
    sweep.progress.observe(10.0, 0.0)
    sweep.finish("t0")
    sweep.progress.observe(20.0, 0.0)  # 50 steps in 10 s, 1,000 are left
    assert sweep.progress.eta_s == pytest.approx(200.0)


def test_a_process_that_dies_lets_its_trials_wait_again() -> None:
    sweep = Sweep(2)
    sweep.start("t0", "t1")
    sweep.stand("t0", 500)
    sweep.event("died", "t0", "its process died")
    sweep.progress.settle([Standing("t0", State.WAITING, None, "", 500, 0.0, {})])
    assert sweep.progress.counts == {"running": 1, "waiting": 1}
    sweep.progress.close()
    assert sweep.progress.counts == {"waiting": 2} and not sweep.progress.running


@pytest.mark.parametrize(("mode", "best"), [("min", "t1"), ("max", "t3")])
def test_the_best_is_the_best_finished_trial(mode: Any, best: str) -> None:
    sweep = Sweep(6, Objective("val/accuracy", mode))
    progress = sweep.progress
    sweep.start("t4", "t5")
    progress.extend("t4", [(10, {"val/accuracy": 0.5}), (20, {"val/accuracy": 0.4})])
    progress.extend("t5", [(10, {"train/loss": 2.0})])
    assert progress.best is None
    assert progress.leading is not None and progress.leading.id == "t4"
    assert progress.tracks["t4"].best == (0.4 if mode == "min" else 0.5)
    for trial_id, value in (("t0", 0.5), ("t1", 0.1), ("t2", 0.1), ("t3", 0.9)):
        sweep.finish(trial_id, value)
    assert progress.best is not None and progress.best.id == best


def test_many_trials_are_folded_to_those_that_matter() -> None:
    sweep = Sweep(1000)
    for i in range(600):
        sweep.start(f"t{i}")
        sweep.finish(f"t{i}", value=1.0 + abs(i - 300))
    sweep.start("t600", "t601")
    shown = [track.id for track in sweep.progress.select(10)]
    assert shown == ["t299", "t300", "t301", *(f"t{i}" for i in range(595, 602))][-len(shown) :]
    assert len(shown) == 10
    text = [plain(line) for line in lines(sweep.progress, sweep.progress.select(10), 120)]
    assert text[0].startswith("hand  600 of 1000 done, 2 running, 398 waiting")
    assert text[-1] == "not shown: 398 waiting, 592 finished"
    assert len(text) == 2 + 1 + 1 + 10 + 1
    assert len(sweep.progress.select(1)) == 1
    sweep.start(*(f"t{i}" for i in range(602, 700)))
    shown = [track.id for track in sweep.progress.select(10)]
    assert shown == ["t299", "t300", "t301", *(f"t{i}" for i in range(600, 607))]


def told(**changed: Any) -> Sweep:
    """A sweep with a trial in every state, and curves."""
    sweep = Sweep(8, **changed)
    for i, reason in enumerate(Reason):
        if i < 6:
            sweep.start(f"t{i}")
            sweep.event("ended", f"t{i}", reason.value)
            sweep.stand(f"t{i}", 500, reason, 0.5)
    sweep.start("t6")
    for i in (0, 6):
        loss = [(step, {"train/loss": 5.0 / step}) for step in range(10, 500, 10)]
        sweep.progress.extend(f"t{i}", loss)
    sweep.progress.extend("t0", [(500, {"val/loss": 0.6}), (510, {"val/loss": 0.5})])
    sweep.progress.observe(3700.0, 0.0)
    return sweep


@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_is_wider_than_the_terminal(ascii_only: bool) -> None:
    label = "abc" if ascii_only else "深い🙂é"
    sweep = told(**{"model.n_layers": 12, f"model.{label}": label * 20, "a.weight_decay": 0.5})
    for width in range(20, 220):
        drawn = lines(sweep.progress, sweep.progress.select(20), width, ascii_only=ascii_only)
        assert max(cell_len(plain(line)) for line in drawn) <= width
        assert len(drawn) >= 4 + 8
        if ascii_only:
            assert all(plain(line).isascii() for line in drawn)
    wide = "\n".join(plain(line) for line in lines(sweep.progress, sweep.progress.select(20)))
    assert "weight_decay" in wide and "seed=0" in wide


def test_columns_stand_under_their_headings_and_say_what_a_curve_is() -> None:
    sweep = told(**{"training.weight_decay": 0.5})
    drawn = lines(sweep.progress, sweep.progress.select(20), 120)
    head, first = plain(drawn[3]), plain(drawn[4])
    assert head.split() == [
        "trial",
        "weight_decay",
        "seed",
        "state",
        "step",
        "curve",
        "last",
        "best",
        "time",
    ]
    assert first.split()[:5] == ["t0", "0.5", "0", "finished", "★"]
    assert head.index("weight_decay") + len("weight_decay") == first.index("0.5") + 3
    assert plain(drawn[-1]) == "curve: val/loss, faint: train/loss"
    styles = {span.text.strip(): span.style for line in drawn for span in line}
    assert styles["running"] is Style.BUSY and styles["diverged"] is Style.BAD
    narrow = plain(lines(sweep.progress, sweep.progress.select(20), 60)[3])
    assert "trial" not in narrow and "state" in narrow and "step" in narrow


def test_foreign_words_cannot_steer_the_terminal() -> None:
    evil = "\x1b[2Ja\nb\r\x07\u202e"
    sweep = told(**{f"model.{evil}": evil})
    sweep.progress.name = evil
    sweep.progress.tracks["t0"].detail = evil
    drawn = lines(sweep.progress, sweep.progress.select(20), details=True)
    assert len(drawn) == len(lines(told(x=1).progress, told(x=1).progress.select(20)))
    for line in drawn:
        for span in line:
            assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", span.text)


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([], 8, ""),
        ([1.0], 3, "▁▁▁"),
        ([2.0, 2.0], 2, "▁▁"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8, BLOCKS),
        ([0.0, 0.0, 7.0, 7.0], 2, "▁█"),
        ([7.0, 0.0], 4, "██▁▁"),
        ([1000.0, 100.0, 10.0, 1.0], 4, "█▆▃▁"),  # more than a factor of 20: logarithms
        ([-1.0, 0.0, 1.0], 0, ""),
    ],
)
def test_a_sparkline_worked_by_hand(values: list[float], width: int, expected: str) -> None:
    assert sparkline(values, width) == expected


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.integers(1, 40))
def test_a_sparkline_fills_its_width(values: list[float], width: int) -> None:
    text = sparkline(values, width, ASCII)
    assert len(text) == width and set(text) <= set(ASCII)


@given(st.integers(1, 2000))
def test_a_curve_keeps_its_shape_its_newest_value_and_little_else(n: int) -> None:
    curve = Curve(most=16)
    for i in range(n):
        curve.add(float(i))
    values = curve.values
    assert values == sorted(set(values)) and values[-1] == n - 1 and len(values) <= 17
    gaps = [b - a for a, b in pairwise(values[:-1])]
    assert len(set(gaps)) <= 1


def test_a_curve_leaves_out_what_is_not_finite() -> None:
    curve = Curve()
    for value in (1.0, float("nan"), float("inf"), 2.0):
        curve.add(value)
    assert curve.values == [1.0, 2.0]


def test_durations_have_the_digits_they_deserve() -> None:
    assert [clock(s) for s in (0.4, 65, 3661)] == ["0:00", "1:05", "1:01:01"]
    said = ["5 s", "40 s", "1 min", "59 min", "2 h 10 min", "30 h"]
    assert [roughly(s) for s in (1, 41, 58, 3530, 7700, 108_000)] == said

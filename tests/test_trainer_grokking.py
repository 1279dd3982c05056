"""When a run has memorised, generalised and lost it again, on curves drawn by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from tests import trainer_help as help
from trainer import Reason, RunConfig
from trainer.checkpoint import CheckpointStore
from trainer.grokking import (
    DELAY,
    FALL,
    FLAT,
    GENERALISED,
    GENERALISED_STEP,
    MEAN_LOSS,
    MEMORISED,
    MEMORISED_STEP,
    STATE,
    AccuracyTracker,
    GrokState,
    LossTracker,
    in_words,
    lower_bound,
)

BELOW, AT = 0.949, 0.95
Metrics = dict[str, float]


def told(values: Iterable[float], train: float = 0.0) -> list[Metrics]:
    """What is told at steps 10, 20, … of a run with these validation accuracies."""
    tracker = AccuracyTracker()
    return [
        tracker.update(10 * n, {"train/accuracy": train, "val/accuracy": value})
        for n, value in enumerate(values, start=1)
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([AT, AT, AT], [None, None, 10]),
        ([AT, AT, BELOW, AT, AT, AT], [None, None, None, None, None, 40]),
        ([BELOW, 1.0, 1.0, 1.0, 1.0], [None, None, None, 20, 20]),
        ([AT, AT, AT, BELOW, AT, AT, AT], [None, None, 10, 10, 10, 10, 10]),
        ([AT, BELOW] * 4, [None] * 8),
    ],
)
def test_a_streak_of_three_counts_from_its_first_step(
    values: list[float], expected: list[float | None]
) -> None:
    assert [row.get(GENERALISED_STEP) for row in told(values)] == expected


def test_memorised_needs_more_than_generalised() -> None:
    assert (MEMORISED, GENERALISED) == (0.99, 0.95)
    tracker = AccuracyTracker()
    for step in (1, 2, 3):
        found = tracker.update(step, {"train/accuracy": 0.98, "val/accuracy": 0.98})
    assert found == {STATE: GrokState.GENERALISED, GENERALISED_STEP: 1.0}
    for step in (4, 5, 6):
        found = tracker.update(step, {"train/accuracy": 0.99, "val/accuracy": 0.0})
    assert found == {
        STATE: GrokState.LOST,
        GENERALISED_STEP: 1.0,
        MEMORISED_STEP: 4.0,
        DELAY: 0.25,  # it generalised first: no delay
    }


def test_it_may_be_lost_and_found_again_and_the_first_step_stays() -> None:
    values = [BELOW] * 3 + [AT] * 3 + [BELOW] * 2 + [AT] + [BELOW] * 3 + [AT] * 3
    rows = told(values, train=1.0)
    none, memorised, generalised, lost = GrokState
    assert (
        [row[STATE] for row in rows]
        == [
            *[none] * 2,
            *[memorised] * 3,  # three below, two of a streak
            *[generalised] * 5,  # two misses, one hit, two misses: none of them counts
            generalised,
            lost,
            lost,
            lost,
            generalised,
        ][-len(rows) :]
    )
    assert rows[-1][GENERALISED_STEP] == 40 and rows[-1][DELAY] == 4
    assert in_words(rows[-1]) == (
        "generalised: memorised at step 10, generalised at step 40, delay 4"
    )
    assert in_words(rows[11]).startswith("lost again: ")
    assert in_words(rows[0]) == in_words({}) == ""


# Text

Curve = Callable[[int], float]


def on_text(curve: Curve, train: Curve | float = 1.0, *, every: int = 100, n: int = 200) -> Metrics:
    """What is told at the end of a run of `n` evaluations on text.

    Args:
        curve: Validation loss by step.
        train: Mean training loss by step.
        every: Steps between evaluations.
        n: Evaluations.
    """
    tracker, found = LossTracker(), {}
    for step in range(every, every * n + 1, every):
        mean = train(step) if callable(train) else train
        found = tracker.update(step, {MEAN_LOSS: mean, "val/loss": curve(step)})
    return found


def steps_down(*levels: tuple[int, float]) -> Curve:
    """A loss that jumps to a level at a step."""
    return lambda step: next(loss for first, loss in reversed(levels) if step >= first)


PLATEAU_AND_FALL = steps_down((0, 3.0), (8_000, 2.6))


@pytest.mark.parametrize("every", [20, 100, 500])
def test_a_fall_after_a_plateau_is_found_however_often_it_is_evaluated(every: int) -> None:
    found = on_text(PLATEAU_AND_FALL, every=every, n=20_000 // every)
    assert found == {
        STATE: GrokState.GENERALISED,
        MEMORISED_STEP: every,
        GENERALISED_STEP: 8_000,
        DELAY: 8_000 / every,
    }


def test_a_slow_fall_counts_from_where_it_is_deep_enough() -> None:
    # From step 8,000 on 0.001 every 10 steps: 10 % below 3 is reached 3,000 steps later, 10 %
    # below the end of the plateau, which lies up to 1 % below 3, at most 270 steps after that.
    found = on_text(lambda step: 3.0 - max(0, step - 8_000) * 1e-4, every=50, n=400)
    assert 11_000 < found[GENERALISED_STEP] <= 11_300


def test_a_loss_that_rose_meanwhile_has_to_fall_below_its_lowest() -> None:
    up = ((0, 3.0), (4_000, 5.0))
    back = on_text(steps_down(*up, (9_000, 2.9)))
    assert back[STATE] == GrokState.MEMORISED and GENERALISED_STEP not in back
    assert on_text(steps_down(*up, (9_000, 2.6)))[GENERALISED_STEP] == 9_000


@pytest.mark.parametrize(
    "curve",
    [
        lambda step: 8.0 * step**-0.1,  # 7 % a doubling
        lambda step: 8.0 * step**-0.2,
        lambda step: 5.0 - 4e-4 * step / 2,
        lambda step: 3.0 * step**-0.01,  # 0.7 % a doubling: flat, and flat it stays
        lambda step: 3.0,
        lambda step: 3.0 + 1e-4 * step,
    ],
    ids=["power law", "steeper", "straight", "flat", "constant", "rising"],
)
def test_a_steady_curve_does_not_grok(curve: Curve) -> None:
    found = on_text(curve, train=lambda step: 0.5 * curve(step))
    assert found == {STATE: GrokState.MEMORISED, MEMORISED_STEP: 100.0}


def test_a_plateau_before_memorisation_is_not_that_of_grokking() -> None:
    """A deep model that sits at the unigram loss, then learns: no gap between the splits yet."""
    curve = steps_down((0, 3.0), (8_000, 2.6))
    apart_late: Curve = lambda step: curve(step) * (0.99 if step < 8_200 else 0.5)  # noqa: E731
    found = on_text(curve, train=apart_late)
    assert found == {STATE: GrokState.MEMORISED, MEMORISED_STEP: 8_200.0}
    assert on_text(curve, train=lambda step: 0.81 * curve(step)) == {STATE: GrokState.NONE}


@pytest.mark.parametrize("lucky", [1, 2])
def test_lucky_evaluations_are_neither_a_fall_nor_a_new_level(lucky: int) -> None:
    def curve(step: int) -> float:
        if 5_000 <= step < 5_000 + 100 * lucky:
            return 2.0
        return 3.0 if step < 9_000 else 2.69

    tracker_rows = on_text(curve)
    assert tracker_rows[GENERALISED_STEP] == 9_000
    assert GENERALISED_STEP not in on_text(lambda step: curve(min(step, 8_900)))


@pytest.mark.parametrize("seed", range(5))
def test_noise_neither_groks_nor_hides_it(seed: int) -> None:
    draw = random.Random(seed)
    noise = {step: draw.gauss(1, 0.02) for step in range(100, 20_001, 100)}
    assert GENERALISED_STEP not in on_text(lambda step: 3.0 * noise[step])
    falls = on_text(lambda step: (3.0 if step < 8_000 else 2.3) * noise[step])
    assert falls[GENERALISED_STEP] == 8_000


def test_text_is_lost_again_where_its_loss_rises_above_the_fall() -> None:
    found = on_text(steps_down((0, 3.0), (8_000, 2.6), (12_000, 2.8)))
    assert found[STATE] == GrokState.LOST and found[GENERALISED_STEP] == 8_000
    found = on_text(steps_down((0, 3.0), (8_000, 2.6), (12_000, 2.8), (13_000, 2.6)))
    assert found[STATE] == GrokState.GENERALISED


def test_the_thresholds_are_as_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "grokking.md").read_text()
    for share in (MEMORISED, GENERALISED, FLAT, FALL):
        assert f"{share * 100:.0f} %" in page


# Checkpoints

ROWS: dict[type[AccuracyTracker], Sequence[Metrics]] = {
    AccuracyTracker: [
        {"train/accuracy": 0.99, "val/accuracy": value}
        for value in (AT, BELOW, AT, AT, AT, BELOW, BELOW, BELOW, AT)
    ],
    LossTracker: [
        {MEAN_LOSS: 1.0, "val/loss": 3.0 if n < 30 else 2.6 if n < 40 else 2.9} for n in range(45)
    ],
}


@pytest.mark.parametrize("kind", ROWS)
def test_it_goes_on_from_its_state_through_json(kind: type[AccuracyTracker]) -> None:
    whole = kind()
    expected = [whole.update(10 + 10 * n, row) for n, row in enumerate(ROWS[kind])]
    assert expected[-1][STATE] == GrokState.LOST
    tracker = kind()
    for n, row in enumerate(ROWS[kind]):
        again = kind()
        again.restore(json.loads(json.dumps(tracker.export())))
        tracker = again
        assert tracker.update(10 + 10 * n, row) == expected[n]
    assert tracker.export() == whole.export()


@pytest.mark.parametrize("kind", ROWS)
def test_a_state_of_the_version_before_goes_on(kind: type[AccuracyTracker]) -> None:
    """It held the two streaks, whatever the task, and no more of them than this."""
    memorised = {"threshold": 0.99, "first_step": 10, "length": 9, "reached_step": 10}
    generalised = {"threshold": 0.95, "first_step": None, "length": 0, "reached_step": None}
    tracker = kind()
    tracker.restore({"memorised": memorised, "generalised": generalised})
    found = tracker.update(100, ROWS[kind][0])
    assert found == {STATE: GrokState.MEMORISED, MEMORISED_STEP: 10.0}
    tracker.restore({"memorised": memorised, "generalised": generalised | {"reached_step": 50}})
    assert tracker.update(100, ROWS[kind][0])[STATE] == GrokState.GENERALISED


def groks(**sections: Metrics) -> RunConfig:
    return help.modular(
        model={"dim": 64},
        data={"p": 23, "train_frac": 0.8},
        training={
            "steps": 250,
            "learning_rate": 0.03,
            "schedule": "constant",
            "weight_decay": 2.0,
            "beta2": 0.98,
            "grad_clip": None,
        },
        checkpoint={"interval": 40, "keep": 1},
        **sections,
    )


def test_the_transition_is_kept_and_its_metrics_survive_a_kill(tmp_path: Path) -> None:
    result, unbroken = help.run(groks(), tmp_path / "whole")
    rows = unbroken.rows()
    seen = min(step for step, row in rows.items() if GENERALISED_STEP in row)
    assert result.reason is Reason.FINISHED and result.step == 250
    names = sorted(p.name for p in (tmp_path / "whole" / "checkpoints").glob("step-*"))
    assert names == [f"step-{seen:09d}-generalised", "step-000000250"]
    assert result.final[DELAY] == result.final[GENERALISED_STEP] / result.final[MEMORISED_STEP]
    kept = tmp_path / "whole" / "checkpoints" / names[0]
    lone = tmp_path / "lone" / "checkpoints"
    lone.mkdir(parents=True)
    kept.rename(lone / kept.name)
    found, notes = CheckpointStore(lone, 1).load_newest("a")
    assert found is not None and (found.step, notes) == (seen, [])

    rows_file = tmp_path / "rows.jsonl"
    at_the_transition = sorted(rows).index(seen)
    assert help.killed_run(groks(), tmp_path / "b", rows_file, at_row=at_the_transition)
    again, resumed = help.run(groks(), tmp_path / "b")
    assert again.final == result.final
    assert help.merge_rows([*help.read_rows(rows_file), *resumed.rows().items()]) == rows
    assert seen in help.steps_on_disk(tmp_path / "b")


def test_no_checkpoint_where_there_are_none(tmp_path: Path) -> None:
    help.run(
        groks().model_copy(
            update={
                "checkpoint": RunConfig.model_validate({"checkpoint": {"enable": False}}).checkpoint
            }
        ),
        tmp_path,
    )
    assert help.steps_on_disk(tmp_path) == []


def test_text_is_judged_by_the_mean_of_all_its_steps(tmp_path: Path) -> None:
    config = help.corpus(help.write_text(tmp_path), logging={"log_interval": 1})
    _, reporter = help.run(config, tmp_path / "run")
    rows = reporter.rows()
    for step in (5, 10, 15, 20):
        losses = [rows[s]["train/loss"] for s in range(step - 4, step + 1)]
        assert rows[step][MEAN_LOSS] == pytest.approx(sum(losses) / 5, rel=1e-12)
        assert rows[step][STATE] == GrokState.NONE
    assert MEAN_LOSS not in rows[4]


def test_what_is_known_of_a_run_that_ended_before() -> None:
    followed = {STATE: 1.0}
    assert lower_bound(GENERALISED_STEP, followed, 4_000) == 4_000
    assert lower_bound(GENERALISED_STEP, {"train/accuracy": 0.5}, 4_000) == 4_000
    assert lower_bound(GENERALISED_STEP, {"val/loss": 0.5}, 4_000) is None
    assert lower_bound(DELAY, followed | {MEMORISED_STEP: 100.0}, 4_000) == 40
    assert lower_bound(DELAY, followed, 4_000) is None
    assert lower_bound(DELAY, followed | {GENERALISED_STEP: 100.0}, 4_000) is None

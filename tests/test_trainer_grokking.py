"""When a run has memorised and when it has generalised, by hand."""

from __future__ import annotations

import json

import pytest

from trainer.grokking import GENERALISED, MEMORISED, GrokkingTracker

BELOW, AT = 0.949, 0.95


def generalised(values: list[float]) -> list[float | None]:
    tracker = GrokkingTracker()
    return [
        tracker.update(10 * n, {"train/accuracy": 0.0, "val/accuracy": value}).get(
            "grok/generalised_step"
        )
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
    assert generalised(values) == expected


def test_memorised_needs_more_than_generalised() -> None:
    assert (MEMORISED, GENERALISED) == (0.99, 0.95)
    tracker = GrokkingTracker()
    for step in (1, 2, 3):
        found = tracker.update(step, {"train/accuracy": 0.98, "val/accuracy": 0.98})
    assert found == {"grok/generalised_step": 1.0}
    for step in (4, 5, 6):
        found = tracker.update(step, {"train/accuracy": 0.99, "val/accuracy": 0.0})
    assert found == {"grok/generalised_step": 1.0, "grok/memorised_step": 4.0}


@pytest.mark.parametrize("cut", range(6))
def test_it_goes_on_from_its_state_through_json(cut: int) -> None:
    rows = [
        {"train/accuracy": 0.99, "val/accuracy": value} for value in (AT, BELOW, AT, AT, AT, AT)
    ]
    whole, first = GrokkingTracker(), GrokkingTracker()
    for step, row in enumerate(rows):
        expected = whole.update(step, row)
    for step, row in enumerate(rows[:cut]):
        first.update(step, row)
    second = GrokkingTracker()
    second.restore(json.loads(json.dumps(first.state())))
    for step, row in enumerate(rows[cut:], start=cut):
        found = second.update(step, row)
    assert found == expected and second.state() == whole.state()

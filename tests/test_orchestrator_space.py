"""A space is counted and indexed as if it were built."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.axis import Axis
from orchestrator.errors import UsageError
from orchestrator.interval import Interval
from orchestrator.space import Space, space_of

AXES = st.lists(st.lists(st.integers(), min_size=1, max_size=4, unique=True), max_size=4).map(
    lambda lists: tuple(Axis(f"a{i}", tuple(v), "test") for i, v in enumerate(lists))
)


@given(axes=AXES)
def test_points_are_the_product_of_the_axes_in_order(axes: tuple[Axis, ...]) -> None:
    space = Space(axes)
    keys = [axis.key for axis in axes]
    built = [
        dict(zip(keys, values, strict=True))
        for values in itertools.product(*(a.values for a in axes))
    ]
    assert [space.point(i) for i in range(space.size)] == built


@given(sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=5), data=st.data())
def test_index_and_point_are_one_to_one(sizes: list[int], data: st.DataObject) -> None:
    space = Space(tuple(Axis(f"a{i}", range(n), "test") for i, n in enumerate(sizes)))  # type: ignore[arg-type]
    index = data.draw(st.integers(0, space.size - 1))
    point, back = space.point(index), 0
    for key, n in zip(point, sizes, strict=True):
        back = back * n + point[key]
    assert back == index


def test_a_later_axis_of_a_key_takes_the_place_of_the_earlier_one() -> None:
    first, second = Axis("a", (1, 2), "template"), Axis("b", (3,), "template")
    typed = Axis("a", (9,), "command line")
    assert space_of([first, second, typed]).axes == (typed, second)
    assert Space().size == 1
    assert Space().point(0) == {}


def test_steps_are_the_numbers_as_they_are_written() -> None:
    assert list(Interval(0.0, 0.3, step=0.05).values) == [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]
    assert list(Interval(0.0, 0.3, step=0.2).values) == [0.0, 0.2]
    assert list(Interval(2, 12, integer=True, step=4).values) == [2, 6, 10]
    assert list(Interval(2, 5, integer=True).values) == [2, 3, 4, 5]


def test_points_are_laid_out_evenly_with_both_ends() -> None:
    assert Interval(1e-5, 1e-1, log=True, points=5).values == (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    assert Interval(0.0, 0.3, points=4).values == (0.0, 0.1, 0.2, 0.3)
    assert Interval(1, 100, log=True, integer=True, points=3).values == (1, 10, 100)
    assert Interval(1, 3, integer=True, points=9).values == (1, 2, 3)


@given(count=st.integers(1, 10**15), data=st.data())
def test_steps_are_counted_and_indexed_not_built(count: int, data: st.DataObject) -> None:
    steps = Interval(0.0, (count - 1) / 1000, step=0.001).values
    n = data.draw(st.integers(0, max(0, len(steps) - 1)))
    assert abs(len(steps) - count) <= count * 1e-15 + 1
    assert steps[n] == pytest.approx(n / 1000)


@given(share=st.floats(0, 1, exclude_max=True), log=st.booleans())
def test_a_continuous_value_lies_between_the_ends(share: float, log: bool) -> None:
    interval = Interval(1e-7, 3.0, log=log)
    assert interval.values == ()
    assert interval.low <= interval.at(share) <= interval.high


def test_zipped_axes_span_one_dimension() -> None:
    axes = (
        Axis("a", (1, 2), "t", zipped=0),
        Axis("b", (5, 6, 7), "t"),
        Axis("c", ("x", "y"), "t", zipped=0),
    )
    space = space_of(axes)
    assert space.size == 6
    assert {(p["a"], p["c"]) for p in map(space.point, range(6))} == {(1, "x"), (2, "y")}
    assert list(space.point(0)) == ["a", "b", "c"]
    with pytest.raises(UsageError, match="a has 2 values and c 3 values"):
        space_of([*axes, Axis("c", (1, 2, 3), "command line")])
    typed = space_of([*axes, Axis("c", ("v", "w"), "command line")])
    assert {(p["a"], p["c"]) for p in map(typed.point, range(6))} == {(1, "v"), (2, "w")}

"""A space is counted and indexed as if it were built."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.space import Axis, Space, space_of

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

"""What every search strategy must keep. A subclass names its class and inherits the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.space import Axis, Point, Space
from orchestrator.strategy import Strategy


def space_of_sizes(*sizes: int) -> Space:
    """A space with axes `k0`, `k1`, … of the given sizes."""
    return Space(tuple(Axis(f"k{i}", tuple(range(n)), "test") for i, n in enumerate(sizes)))


def frozen(point: Point) -> tuple[tuple[str, object], ...]:
    """A point as something that can be counted."""
    return tuple(sorted(point.items()))


inherited = settings(suppress_health_check=[HealthCheck.differing_executors])
"""Each subclass runs the test for itself."""

SIZES = st.lists(st.integers(1, 5), max_size=4)


class StrategyContract:
    """Inherit, and set `make`."""

    make: Callable[[Space, int], Strategy]
    learns = False
    """True where what it is told changes what it asks next."""

    @inherited
    @given(sizes=SIZES, seed=st.integers(0, 9), batch=st.integers(1, 7))
    def test_asks_every_point_exactly_once_and_then_none(
        self, sizes: list[int], seed: int, batch: int
    ) -> None:
        space = space_of_sizes(*sizes)
        strategy = type(self).make(space, seed)
        asked: list[Point] = []
        while points := strategy.ask(batch):
            assert len(points) <= batch
            asked += points
            assert len(asked) <= space.size
        assert Counter(map(frozen, asked)) == Counter(
            frozen(space.point(i)) for i in range(space.size)
        )
        assert strategy.ask(1) == []

    @inherited
    @given(sizes=SIZES, seed=st.integers(0, 9))
    def test_same_seed_same_points(self, sizes: list[int], seed: int) -> None:
        space = space_of_sizes(*sizes)
        assert type(self).make(space, seed).ask(9) == type(self).make(space, seed).ask(9)

    @inherited
    @given(sizes=SIZES, seed=st.integers(0, 9), first=st.integers(0, 9), then=st.integers(0, 9))
    def test_how_many_are_asked_at_once_does_not_matter(
        self, sizes: list[int], seed: int, first: int, then: int
    ) -> None:
        space = space_of_sizes(*sizes)
        parts, whole = type(self).make(space, seed), type(self).make(space, seed)
        assert parts.ask(first) + parts.ask(then) == whole.ask(first + then)

    def test_what_it_is_told_changes_nothing_unless_it_learns(self) -> None:
        if self.learns:
            return
        space = space_of_sizes(3, 4)
        told, silent = type(self).make(space, 1), type(self).make(space, 1)
        for value in (0.5, None, float("nan")):
            for point in told.ask(2):
                told.tell(point, value)
            silent.ask(2)
        assert told.ask(12) == silent.ask(12)

    def test_a_space_without_axes_has_one_point(self) -> None:
        strategy = type(self).make(Space(), 0)
        assert strategy.ask(5) == [{}]
        assert strategy.ask(5) == []

    def test_a_space_too_large_to_build_is_asked_at_once(self) -> None:
        space = space_of_sizes(*[10] * 12)
        points = type(self).make(space, 3).ask(5)
        assert len({frozen(point) for point in points}) == 5
        assert all(set(point) == {axis.key for axis in space.axes} for point in points)

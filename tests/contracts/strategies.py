"""What every search strategy must keep. A subclass names its class and inherits the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.axis import Axis
from orchestrator.interval import Interval
from orchestrator.space import Point, Space
from orchestrator.strategy import Strategy


def space_of_sizes(*sizes: int) -> Space:
    """A space with axes `k0`, `k1`, … of the given sizes."""
    return Space(tuple(Axis(f"k{i}", tuple(range(n)), "test") for i, n in enumerate(sizes)))


def over(key: str, interval: Interval, zipped: int | None = None) -> Axis:
    """An axis over an interval."""
    return Axis(key, interval.values, "test", interval, zipped=zipped)


MIXED = Space(
    (
        Axis("listed", ("a", "b", "c"), "test"),
        over("uniform", Interval(-1.0, 2.0)),
        over("log", Interval(1e-6, 1e-2, log=True)),
        over("log_integer", Interval(1, 1000, log=True, integer=True)),
        Axis("z0", (0, 1), "test", zipped=0),
        Axis("z1", (10, 11), "test", zipped=0),
    )
)
"""A space with a continuum of points."""


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
    samples = True
    """True where it takes axes with a continuum of values."""
    exhausts = True
    """True where it asks every point of a finite space."""

    def points(self, space: Space) -> list[Point]:
        """Return all that is asked of a finite space; override it where that is not every point."""
        return [space.point(i) for i in range(space.size)]

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
        assert Counter(map(frozen, asked)) == Counter(map(frozen, self.points(space)))
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

    @inherited
    @given(low=st.integers(1, 9), width=st.integers(1, 30), seed=st.integers(0, 9))
    def test_whole_numbers_of_a_logarithmic_axis_are_each_asked_once(
        self, low: int, width: int, seed: int
    ) -> None:
        space = Space((over("k", Interval(low, low + width, log=True, integer=True)),))
        asked = type(self).make(space, seed).ask(width + 9)
        expected = list(range(low, low + width + 1))
        if not self.exhausts:
            expected = [point["k"] for point in self.points(space)]
        assert sorted(point["k"] for point in asked) == expected

    def test_zipped_axes_move_together(self) -> None:
        axes = [Axis(key, (1, 2, 3), "test", zipped=7) for key in ("a", "b")]
        space = Space((*axes, Axis("c", (4, 5), "test")))
        asked = type(self).make(space, 0).ask(99)
        assert len(asked) == (6 if self.exhausts else len(self.points(space)))
        assert all(point["a"] == point["b"] for point in asked)

    def test_a_continuum_is_asked_within_its_ends_and_never_twice(self) -> None:
        if not self.samples:
            return
        strategy = type(self).make(MIXED, 5)
        asked = strategy.ask(100) + strategy.ask(156)
        assert len({frozen(point) for point in asked}) == 256
        assert asked == type(self).make(MIXED, 5).ask(256)
        for point in asked:
            assert list(point) == [axis.key for axis in MIXED.axes]
            assert -1 <= point["uniform"] <= 2
            assert 1e-6 <= point["log"] <= 1e-2
            assert point["log_integer"] in range(1, 1001)
            assert point["z1"] == point["z0"] + 10
        # Half of the draws lie in each half of a distribution.
        assert 100 < sum(point["uniform"] < 0.5 for point in asked) < 156
        assert 100 < sum(point["log"] < 1e-4 for point in asked) < 156
        assert 100 < sum(point["log_integer"] < 32 for point in asked) < 156

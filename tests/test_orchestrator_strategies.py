"""The search strategies keep their contract, and are found by name."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.axis import Axis
from orchestrator.errors import UsageError
from orchestrator.interval import Interval
from orchestrator.space import Point, Space
from orchestrator.strategy import STRATEGIES, Strategy, make_strategy, points_asked
from orchestrator.strategy.baseline_first import BaselineFirst
from orchestrator.strategy.grid import GridStrategy
from orchestrator.strategy.leave_one_out import LeaveOneOutStrategy
from orchestrator.strategy.one_at_a_time import OneAtATimeStrategy
from orchestrator.strategy.random import RandomStrategy
from orchestrator.strategy.sobol import SobolStrategy
from tests.contracts.strategies import StrategyContract, inherited, over, space_of_sizes


class TestGrid(StrategyContract):
    make = GridStrategy

    samples = False

    @inherited
    @given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5))
    @example(sizes=[3, 2, 3, 2])
    @example(sizes=[2, 2, 2, 2, 2])
    @example(sizes=[4, 6, 6, 4])
    def test_every_beginning_tries_the_values_of_an_axis_equally_often(
        self, sizes: list[int]
    ) -> None:
        space = space_of_sizes(*sizes)
        counts = [[0] * size for size in sizes]
        for point in GridStrategy(space, 0).ask(min(space.size, 500)):
            for axis, value in zip(counts, point.values(), strict=True):
                axis[value] += 1
                assert max(axis) - min(axis) <= 1

    def test_axes_of_one_size_do_not_stay_in_step(self) -> None:
        """A quarter of a grid tells each two of its axes apart."""
        first = GridStrategy(space_of_sizes(3, 3, 3, 3), 0).ask(21)
        for one, two in itertools.combinations(("k0", "k1", "k2", "k3"), 2):
            assert len({(point[one] - point[two]) % 3 for point in first}) > 1


class TestSobol(StrategyContract):
    make = SobolStrategy

    def test_it_covers_a_square_more_evenly_than_random_draws(self) -> None:
        axes = [over(key, Interval(0.0, 1.0)) for key in "ab"]
        points = SobolStrategy(Space(tuple(axes)), 0).ask(64)
        cells = {(int(p["a"] * 8), int(p["b"] * 8)) for p in points}
        assert len(cells) == 64


def _changed(space: Space, point: Point, base: Point) -> list[dict[str, object]]:
    """What differs between two points, a dimension at a time."""
    rows = [{axis.key: point[axis.key] for axis in group} for group in space.dimensions]
    return [row for row in rows if any(base[key] != value for key, value in row.items())]


class TestOneAtATime(StrategyContract):
    make = OneAtATimeStrategy
    samples = exhausts = False

    def points(self, space: Space) -> list[Point]:
        """Of the whole grid, what differs in one dimension at most from the first values."""
        grid = [space.point(i) for i in range(space.size)]
        return [point for point in grid if len(_changed(space, point, grid[0])) <= 1]

    def test_a_baseline_that_is_no_value_of_its_axes_comes_first_and_is_varied(self) -> None:
        space = replace(space_of_sizes(2, 2), baseline={"k0": 7})
        assert OneAtATimeStrategy(space, 0).ask(9) == [
            {"k0": 7},
            {"k0": 0},
            {"k0": 1},
            {"k0": 7, "k1": 0},
            {"k0": 7, "k1": 1},
        ]
        assert points_asked("one-at-a-time", space) == 5


class TestLeaveOneOut(StrategyContract):
    make = LeaveOneOutStrategy
    samples = exhausts = False

    def points(self, space: Space) -> list[Point]:
        """Of the whole grid, what differs from all on by one dimension that is off."""
        grid = [space.point(i) for i in range(space.size)]
        base = next((p for p in grid if all(p[a.key] for a in space.axes if len(a.values) > 1)), {})
        found = [(point, _changed(space, point, base)) for point in grid]
        return [
            point
            for point, changed in found
            if not changed or (len(changed) == 1 and not any(changed[0].values()))
        ]

    def test_what_is_off_in_the_baseline_or_has_no_off_is_not_varied(self) -> None:
        axes = [
            Axis("weight", (0.0, 0.1), "test"),
            Axis("rule", (True, False), "test"),
            Axis("rules", ("all", "none"), "test"),
            Axis("dim", (8, 16), "test"),
            Axis("decay", (0.1, 0.0), "test"),
        ]
        base = {"weight": 0.5, "rule": True, "rules": "all", "dim": 8, "decay": 0.0}
        space = Space(tuple(axes), baseline=base)
        assert LeaveOneOutStrategy(space, 0).ask(9) == [
            base,
            {**base, "weight": 0.0},
            {**base, "rule": False},
            {**base, "rules": "none"},
        ]
        assert points_asked("leave-one-out", space) == 4


def grid_from_its_last_point(space: Space, seed: int) -> Strategy:
    """A grid whose last point is the baseline."""
    return BaselineFirst(GridStrategy(space, seed), space.point(space.size - 1))


class TestBaselineFirst(StrategyContract):
    make = staticmethod(grid_from_its_last_point)
    samples = False

    def test_the_baseline_is_asked_first_and_once_wherever_it_lies(self) -> None:
        for baseline, count in (({"k0": 2}, 3), ({"k0": 9}, 4)):
            space = replace(space_of_sizes(3), baseline=baseline)
            asked = make_strategy("grid", space, 0, "test").ask(9)
            assert asked[0] == baseline and len(asked) == count == points_asked("grid", space)


class TestRandom(StrategyContract):
    make = RandomStrategy

    def test_another_seed_draws_another_order(self) -> None:
        space = space_of_sizes(6, 6)
        orders = {tuple(map(str, RandomStrategy(space, seed).ask(36))) for seed in range(5)}
        assert len(orders) == 5

    def test_every_point_is_as_likely_to_be_first(self) -> None:
        space = space_of_sizes(4)
        firsts = [RandomStrategy(space, seed).ask(1)[0]["k0"] for seed in range(400)]
        assert all(70 < firsts.count(k) < 130 for k in range(4)), firsts


def test_every_registered_strategy_has_a_suite() -> None:
    suites = {cls.make for cls in StrategyContract.__subclasses__()}
    for name in STRATEGIES:
        assert type(make_strategy(name, space_of_sizes(2), 0, "test")) in suites


def test_an_unknown_method_names_the_known_ones_and_its_place() -> None:
    with pytest.raises(UsageError) as caught:
        make_strategy("gird", space_of_sizes(2), 0, "sweep.toml:7")
    message = str(caught.value)
    assert "sweep.toml:7: no search method 'gird' - did you mean grid?" in message
    assert "grid, random, sobol" in message

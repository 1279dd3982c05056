"""The search strategies keep their contract, and are found by name."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.interval import Interval
from orchestrator.space import Space
from orchestrator.strategy import STRATEGIES, make_strategy
from orchestrator.strategy.grid import GridStrategy
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

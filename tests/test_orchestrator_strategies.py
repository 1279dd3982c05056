"""The search strategies keep their contract, and are found by name."""

from __future__ import annotations

import pytest

from orchestrator.errors import UsageError
from orchestrator.strategy import STRATEGIES, make_strategy
from orchestrator.strategy.grid import GridStrategy
from orchestrator.strategy.random import RandomStrategy
from tests.contracts.strategies import StrategyContract, space_of_sizes


class TestGrid(StrategyContract):
    make = GridStrategy

    def test_the_last_axis_varies_fastest(self) -> None:
        asked = GridStrategy(space_of_sizes(2, 3), 0).ask(4)
        assert [(p["k0"], p["k1"]) for p in asked] == [(0, 0), (0, 1), (0, 2), (1, 0)]


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
    assert "grid, random" in message

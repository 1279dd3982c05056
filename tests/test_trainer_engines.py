"""Each engine inherits the contract."""

from __future__ import annotations

import pytest

from tests.contracts.engines import EngineContract
from trainer.engines import ENGINES


class TestStacked(EngineContract):
    @pytest.fixture
    def engine_name(self) -> str:
        return "stacked"


class TestSolo(EngineContract):
    @pytest.fixture
    def engine_name(self) -> str:
        return "solo"


def test_every_engine_is_tested() -> None:
    tested = {name.removeprefix("Test").lower() for name in globals() if name.startswith("Test")}
    assert tested == set(ENGINES)

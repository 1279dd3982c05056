"""Reports that go to a referee together, by a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from orchestrator.executors import outbox
from orchestrator.executors.outbox import Outbox
from orchestrator.referee import Report
from trainer.reporting import GO_ON, FitResult, Reason, Verdict

STOP = Verdict(Reason.PRUNED, "at a rung")


class Referee:
    """Takes batches; waits at the gate before each."""

    def __init__(self) -> None:
        self.batches: list[list[Report]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.verdicts: dict[str, Verdict] = {}
        self.broken = False

    def take(self, reports: Sequence[Report]) -> dict[str, Verdict]:
        self.gate.wait()
        if self.broken:
            raise ConnectionError("the referee is gone")
        self.batches.append(list(reports))
        return self.verdicts

    @property
    def taken(self) -> list[Report]:
        return [report for batch in self.batches for report in batch]


def test_everything_arrives_once_and_in_order() -> None:
    referee = Referee()
    result = FitResult("a", Reason.FINISHED, "", 50, 1.0)
    with Outbox(referee.take) as box:
        box.started("a", 0, "")
        for step in range(50):
            assert box.row("a", step, {"train/loss": 1.0}) == GO_ON
        box.ended(result)
        box.flush()
        rows: list[Report] = [("row", "a", step, {"train/loss": 1.0}) for step in range(50)]
        assert referee.taken == [("started", "a", 0, ""), *rows, ("ended", result)]
        assert len(referee.batches) < 10  # they went together


def test_leaving_sends_what_waits() -> None:
    referee = Referee()
    with Outbox(referee.take) as box:
        box.row("a", 1, {})
    assert referee.taken == [("row", "a", 1, {})]


def test_training_does_not_wait_for_the_referee() -> None:
    referee = Referee()
    referee.gate.clear()
    with Outbox(referee.take) as box:
        for step in range(100):
            box.row("a", step, {})
        assert referee.batches == []
        referee.gate.set()
        box.flush()
        assert len(referee.taken) == 100


def test_it_waits_once_too_much_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 10)
    referee = Referee()
    with Outbox(referee.take) as box:
        for step in range(10):
            box.row("a", step, {})
        assert len(referee.taken) == 10


def test_a_verdict_reaches_its_member_until_it_starts_anew() -> None:
    referee = Referee()
    referee.verdicts = {"a": STOP}
    with Outbox(referee.take) as box:
        box.row("a", 1, {})
        box.flush()
        assert box.row("a", 2, {}) == STOP
        assert box.row("b", 2, {}) == GO_ON
        referee.verdicts = {}
        box.flush()
        box.started("a", 0, "")
        assert box.row("a", 1, {}) == GO_ON


def test_a_referee_that_is_gone_is_told_to_the_trainer() -> None:
    referee = Referee()
    referee.broken = True
    with Outbox(referee.take) as box:
        box.row("a", 1, {})
        with pytest.raises(ConnectionError):
            box.flush()
        with pytest.raises(ConnectionError):
            box.row("a", 2, {})

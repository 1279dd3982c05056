from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Problem, StorageError
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger, State
from orchestrator.referee import MOST_DEATHS, Referee
from orchestrator.sweep import create
from tests.sweeps import rows_of, tiny_plan, trials_of
from trainer.reporting import FitResult, Reason


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    create(tiny_plan(tmp_path, seeds=1), directory, ["test"])
    return directory


@pytest.fixture
def referee(directory: RunDirectory) -> Iterator[Referee]:
    with contextlib.closing(Referee(directory.ledger, directory.path / "trials")) as referee:
        yield referee


def ids(directory: RunDirectory) -> list[str]:
    return [trial.id for trial in trials_of(directory.path)]


def test_flushed_rows_are_there_for_any_reader(directory: RunDirectory, referee: Referee) -> None:
    first = ids(directory)[0]
    referee.started(first, 0, "")
    for step in range(1, 50):
        referee.row(first, step, {"train/loss": 1 / step})
    referee.flush()
    assert [step for step, _ in rows_of(directory.path)[first]] == list(range(1, 50))


def test_a_row_that_comes_again_is_kept_once_as_it_first_was(
    directory: RunDirectory, referee: Referee
) -> None:
    first = ids(directory)[0]
    referee.row(first, 10, {"train/loss": 1.0})
    referee.row(first, 10, {"train/loss": 2.0})
    referee.flush()
    assert rows_of(directory.path)[first] == [(10, {"train/loss": 1.0})]


def test_an_end_is_durable_with_the_rows_before_it(
    directory: RunDirectory, referee: Referee
) -> None:
    first = ids(directory)[0]
    referee.row(first, 10, {"train/loss": 1.0})
    referee.ended(FitResult(first, Reason.FINISHED, "", 10, 1.5, {"val/loss": 0.5}))
    record = trials_of(directory.path)[0]
    assert (record.state, record.reason, record.step) == (State.ENDED, Reason.FINISHED, 10)
    assert record.final == {"val/loss": 0.5}
    assert len(rows_of(directory.path)[first]) == 1


def test_what_is_not_finite_is_never_stored(directory: RunDirectory, referee: Referee) -> None:
    first = ids(directory)[0]
    final = {"val/loss": float("nan"), "test/loss": float("inf"), "val/accuracy": 0.5}
    referee.ended(FitResult(first, Reason.DIVERGED, "", 10, 1.0, final))
    assert trials_of(directory.path)[0].final == {"val/accuracy": 0.5}


def test_members_are_those_that_have_not_ended_and_are_snapshot(
    directory: RunDirectory, referee: Referee
) -> None:
    first, second = ids(directory)
    referee.ended(FitResult(first, Reason.FINISHED, "", 10, 1.0))
    (member,) = referee.members([first, second])
    assert member.id == second
    assert directory.config(second).read_text().startswith(f"# trial {second}")
    assert not directory.config(first).exists()


def test_a_trial_that_kills_its_process_again_and_again_has_failed(
    directory: RunDirectory, referee: Referee
) -> None:
    first, second = ids(directory)
    referee.ended(FitResult(second, Reason.FINISHED, "", 10, 1.0))
    for _ in range(MOST_DEATHS):
        assert referee.died([first, second], "killed") == [first]
    assert referee.died([first], "killed") == []
    record = trials_of(directory.path)[0]
    assert record.reason is Reason.FAILED
    assert f"died {MOST_DEATHS + 1} times" in record.detail
    assert trials_of(directory.path)[1].reason is Reason.FINISHED


def test_the_ledger_has_one_referee(directory: RunDirectory, referee: Referee) -> None:
    referee.close()
    again = Referee(directory.ledger, directory.path / "trials")
    again.close()
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        assert ledger.sweep()["name"] == "tiny"


def test_a_full_disk_stops_the_sweep_and_fails_no_trial(
    directory: RunDirectory, referee: Referee
) -> None:
    referee.disk_refused(Problem("the disk refused: No space left on device", "step-7"))
    for _ in range(MOST_DEATHS + 1):
        with pytest.raises(StorageError, match="step-7: the disk refused: No space"):
            referee.died(ids(directory), "gone")
    assert all(trial.pending for trial in trials_of(directory.path))

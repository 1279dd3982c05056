"""What every executor must keep. A subclass gives `executor`, its name in `EXECUTORS`."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from orchestrator.errors import Exit
from orchestrator.executors import Execution
from orchestrator.layout import RunDirectory
from orchestrator.ledger import State
from orchestrator.sweep import resume
from tests.sweeps import (
    CPU_ONLY,
    events_of,
    ranking_of,
    rows_of,
    run_plan,
    tiny_plan,
    trials_of,
    wait_until,
)
from trainer.reporting import Reason


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny sweep by the reference executor, each trial alone."""
    folder = tmp_path_factory.mktemp("reference")
    run_plan(tiny_plan(folder), folder / "run", "inline", cohort_size=1)
    return folder / "run"


class ExecutorContract:
    """Inherit and set `executor`."""

    executor: str

    def test_rows_are_those_of_the_reference_and_it_trains_once(
        self, tmp_path: Path, undisturbed: Path
    ) -> None:
        plan = tiny_plan(tmp_path)  # cohorts of three trials and of one
        outcome = run_plan(plan, tmp_path / "run", self.executor, cohort_size=3)
        assert outcome.exit_code is Exit.OK
        assert outcome.trained == 4
        assert rows_of(tmp_path / "run") == rows_of(undisturbed)
        assert ranking_of(tmp_path / "run") == ranking_of(undisturbed)
        assert not (tmp_path / "run" / ".executor").exists()
        outcome = run_plan(plan, tmp_path / "run", self.executor)
        assert outcome.trained == 0
        assert rows_of(tmp_path / "run") == rows_of(undisturbed)
        assert len(events_of(tmp_path / "run", "started")) == len(plan.trials)

    def test_a_failing_member_harms_no_other(self, tmp_path: Path, undisturbed: Path) -> None:
        # A learning rate of 1e30 overflows in the second step; its neighbours share the process.
        extra = '"training.learning_rate" = [1e-2, 1e30]\n'
        outcome = run_plan(
            tiny_plan(tmp_path, extra=extra), tmp_path / "run", self.executor, cohort_size=8
        )
        assert outcome.exit_code is Exit.FAILED_TRIALS
        trials = trials_of(tmp_path / "run")
        bad = [t for t in trials if t.changed["training.learning_rate"] > 1]
        assert {t.reason for t in bad} == {Reason.DIVERGED}
        good = {t.id for t in trials} - {t.id for t in bad}
        expected = rows_of(undisturbed)
        assert good == set(expected)
        assert {k: v for k, v in rows_of(tmp_path / "run").items() if k in good} == expected

    def test_asked_to_stop_it_checkpoints_and_goes_on_later(self, tmp_path: Path) -> None:
        plan = tiny_plan(tmp_path, steps=1_000, checkpoint=500, seeds=1)
        run_plan(plan, tmp_path / "reference", "inline")
        directory = RunDirectory(tmp_path / "run")

        def ask() -> None:
            wait_until(lambda: directory.ledger.exists() and any(rows_of(directory.path).values()))
            directory.stop_file.touch()

        asker = threading.Thread(target=ask)
        asker.start()
        outcome = run_plan(plan, directory.path, self.executor, cohort_size=2)
        asker.join()
        assert outcome.exit_code is Exit.INTERRUPTED
        begun = [t for t in trials_of(directory.path) if t.state is State.ENDED]
        assert begun and all(t.reason is Reason.INTERRUPTED for t in begun)
        for trial in begun:
            saved = directory.trial(trial.id) / "checkpoints" / f"step-{trial.step:09d}"
            assert (saved / "manifest.json").exists()
        again = resume(
            directory,
            CPU_ONLY,
            Execution(self.executor),
            notify=lambda line: None,
        )
        assert again.exit_code is Exit.OK
        assert rows_of(directory.path) == rows_of(tmp_path / "reference")
        assert ranking_of(directory.path) == ranking_of(tmp_path / "reference")

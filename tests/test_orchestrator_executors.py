from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cohort import Cohort, CohortQueue, Share
from orchestrator.errors import Exit
from orchestrator.executors import Execution, Job, make_executor
from orchestrator.hardware import Hardware
from orchestrator.layout import RunDirectory
from orchestrator.sweep import create
from tests.contracts.executors import ExecutorContract, undisturbed
from tests.sweeps import events_of, rows_of, run_plan, tiny_plan, trials_of

__all__ = ["undisturbed"]  # the contract's fixture, found by its name

FOUR_GPUS = Hardware(cpus=2, gpus=(80.0,) * 4)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray cluster for this file, with four GPUs that exist only for its scheduler."""
    from orchestrator.executors import ray_cluster  # sets the environment that Ray reads

    ray_cluster.start_cluster(FOUR_GPUS)
    yield
    ray_cluster.stop_cluster()


class TestInline(ExecutorContract):
    executor = "inline"


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("cluster")
class TestRayTune(ExecutorContract):
    executor = "ray_tune"

    def test_each_cohort_gets_its_share_of_the_gpus(self, tmp_path: Path) -> None:
        plan = tiny_plan(tmp_path)
        directory = RunDirectory(tmp_path / "run")
        directory.path.mkdir()
        create(plan, directory, ["test"])
        ids = [trial.id for trial in plan.trials]
        gpus = (0.5, 0.5, 1.0, 4.0)
        cohorts = [
            Cohort(f"share-{number}", (trial_id,), Share(1, share))
            for number, (trial_id, share) in enumerate(zip(ids, gpus, strict=True))
        ]
        make_executor("ray_tune").run(
            Job(directory, CohortQueue(cohorts), FOUR_GPUS, Execution(), directory.stop_file.exists)
        )
        assert {t.reason for t in trials_of(directory.path)} == {"finished"}
        given = {}
        for event in events_of(directory.path, "placed"):
            cohort, _, where = event.detail.partition(" on ")
            given[cohort] = where.partition("GPU ")[2].partition(":")[0].split(",")
        assert [len(given[f"share-{n}"]) for n in range(4)] == [1, 1, 1, 4]
        assert sorted(given["share-3"]) == ["0", "1", "2", "3"]
        # Each cohort on GPUs has a process of its own.
        processes = {event.detail.split()[3] for event in events_of(directory.path, "placed")}
        assert len(processes) == len(cohorts)

    def test_two_processes_train_one_model(self, tmp_path: Path) -> None:
        runs = []
        for workers, executor in ((1, "inline"), (2, "ray_tune")):
            folder = tmp_path / executor
            folder.mkdir()
            tier = f"[tier]\nworkers = {workers}\n"
            plan = tiny_plan(folder, weight_decays=(1.0,), seeds=1, extra=tier)
            assert run_plan(plan, folder / "run", executor).exit_code is Exit.OK
            runs.append(folder / "run")
        (one,), (two,) = rows_of(runs[0]).values(), rows_of(runs[1]).values()
        assert [step for step, _ in one] == [step for step, _ in two]
        for (_, ours), (_, theirs) in zip(one, two, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-4)
        (placed,) = events_of(runs[1], "placed")
        processes = placed.detail.partition("processes ")[2].partition(":")[0].split()
        assert len({*processes}) == 2


@pytest.mark.ray
def test_no_more_cohorts_run_at_once_than_it_says() -> None:
    """Asked by Ray Tune for one more, the searcher has it wait until one has ended."""
    from orchestrator.executors.ray_tune import _CohortSearcher

    cohorts = [Cohort(f"a-{n}", (f"t{n}",), Share(1, 0.0)) for n in range(4)]
    job = Job(
        RunDirectory(Path("nowhere")),
        CohortQueue(cohorts),
        FOUR_GPUS,
        Execution("ray_tune", most_cohorts=2),
        interrupted=lambda: False,
    )
    searcher = _CohortSearcher(job, referee=None)
    assert [searcher.suggest(name) is not None for name in ("x", "y", "z")] == [True, True, False]
    searcher.on_trial_complete("x")
    assert searcher.suggest("z")["cohort"] == "a-2"
    assert searcher.suggest("w") is None

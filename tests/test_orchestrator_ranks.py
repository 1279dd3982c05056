"""A trial of two processes in a sweep: its rows are those of one, also after a process was killed."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cohort import Cohort, Share, has_room
from orchestrator.errors import Exit
from orchestrator.hardware import Hardware
from orchestrator.plan import Plan
from tests.sweeps import events_of, rows_of, run_plan, tiny_plan, trials_of, wait_until

STEPS = 200


def plan_of(folder: Path, workers: int) -> Plan:
    folder.mkdir()
    tier = f"[tier]\nworkers = {workers}\n"
    return tiny_plan(folder, steps=STEPS, weight_decays=(1.0,), seeds=1, extra=tier)


def alike(one: Path, other: Path) -> None:
    """Hold the rows of two runs together, within what another order of sums makes of them."""
    (ours,), (theirs,) = rows_of(one).values(), rows_of(other).values()
    assert [step for step, _ in ours] == [step for step, _ in theirs]
    for (_, mine), (_, his) in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(his, abs=1e-3)


def test_a_killed_process_costs_a_checkpoint_interval(tmp_path: Path) -> None:
    run_plan(plan_of(tmp_path / "one", 1), tmp_path / "one" / "run")
    run = tmp_path / "two" / "run"

    def kill() -> None:
        wait_until(lambda: (run / "ledger.db").exists() and any(rows_of(run).values()))
        (follower,) = multiprocessing.active_children()
        follower.kill()

    plan = plan_of(tmp_path / "two", 2)
    killer = threading.Thread(target=kill)
    killer.start()
    outcome = run_plan(plan, run)
    killer.join()
    assert outcome.exit_code is Exit.OK
    (trial,) = trials_of(run)
    assert (trial.reason, trial.deaths) == ("finished", 1)
    (died,) = events_of(run, "died")
    assert "a process that trains the same model is gone" in died.detail
    alike(run, tmp_path / "one" / "run")
    assert multiprocessing.active_children() == []


def cohort(cpus: int, gpus: float, ranks: int) -> Cohort:
    return Cohort("c", ("t",), Share(cpus, gpus, ranks))


@pytest.mark.parametrize(
    ("running", "asked", "room"),
    [
        ([], (2, 0, 2), True),
        ([(1, 0, 1), (1, 0, 1)], (1, 0, 1), True),  # waits where it is placed
        ([(1, 0, 1)], (2, 0, 2), False),
        ([(2, 0, 2)], (1, 0, 1), False),
        ([(2, 2, 2)], (2, 2, 2), True),
        ([(2, 2, 2), (1, 0.5, 1)], (2, 2, 2), False),
    ],
)
def test_a_trial_of_several_processes_is_started_where_all_of_them_fit(
    running: list[Any], asked: Any, room: bool
) -> None:
    gpus = any(share[1] for share in [*running, asked])
    machine = Hardware(cpus=8, gpus=(80.0,) * 4) if gpus else Hardware(cpus=2)
    assert has_room([cohort(*share) for share in running], cohort(*asked), machine) is room

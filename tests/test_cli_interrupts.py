"""Signals and kills, sent to the program as a person or a machine would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.ledger import State
from orchestrator.plan import Plan
from tests.sweeps import (
    events_of,
    ranking_of,
    rows_of,
    run_plan,
    tiny_plan,
    trials_of,
    wait_until,
)

STEPS, INTERVAL, SEEDS = 900, 90, 3
WEIGHT_DECAYS = (0.1, 1.0)


def planned(folder: Path) -> Plan:
    return tiny_plan(
        folder, steps=STEPS, checkpoint=INTERVAL, weight_decays=WEIGHT_DECAYS, seeds=SEEDS
    )


def arbiter(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the program in a process group of its own, its runs under `folder`."""
    return subprocess.Popen(
        [sys.executable, "-c", "from orchestrator.cli import main; main()", *arguments],
        env=os.environ | {"ARBITER_RUNS": str(folder / "runs")},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str], timeout_s: float = 180) -> tuple[int, str]:
    _, said = process.communicate(timeout=timeout_s)
    return process.returncode, said


def run_directory(folder: Path) -> Path:
    """Return the one run directory, once its ledger is there."""
    wait_until(lambda: any((folder / "runs").glob("*/ledger.db")))
    (ledger,) = (folder / "runs").glob("*/ledger.db")
    return ledger.parent


def has_rows(directory: Path) -> bool:
    return any(rows_of(directory).values())


def worker_of_a_running_trial(directory: Path) -> int:
    """Return the process of the last cohort that was placed and has not ended."""
    running = {t.id for t in trials_of(directory) if t.state is State.RUNNING and t.step > 0}
    for event in reversed(events_of(directory, "placed")):
        if running & set(event.detail.split()):
            found = re.search(r"process (\d+)", event.detail)
            assert found is not None
            return int(found.group(1))
    return 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    run_plan(planned(folder), folder / "run", "inline")
    return folder / "run"


@pytest.mark.ray
@pytest.mark.timeout(400)
def test_killed_worker_then_killed_driver_then_ctrl_c_and_resumed(
    tmp_path: Path, undisturbed: Path
) -> None:
    planned(tmp_path)
    command = ("sweep", "--strategy", str(tmp_path / "tiny.toml"), "--cohort", "2")
    driver = arbiter(tmp_path, *command)
    directory = run_directory(tmp_path)

    wait_until(lambda: has_rows(directory) and worker_of_a_running_trial(directory) > 0)
    second, said = finished(arbiter(tmp_path, *command))
    assert second == 5 and f"process {driver.pid}" in said and "Traceback" not in said

    os.kill(worker_of_a_running_trial(directory), signal.SIGKILL)
    wait_until(lambda: bool(events_of(directory, "died")))
    wait_until(lambda: any(t.state is State.ENDED for t in trials_of(directory)))
    driver.kill()
    finished(driver)
    done_before = {t.id for t in trials_of(directory) if t.state is State.ENDED}

    resumed = arbiter(tmp_path, "resume", str(directory))
    # Once the new driver has written, the old referee is gone.
    wait_until(lambda: len(events_of(directory, "began")) == 2)
    already = len(events_of(directory, "started"))
    wait_until(lambda: len(events_of(directory, "started")) > already)
    os.killpg(resumed.pid, signal.SIGINT)  # as a terminal's Ctrl-C: the workers get it too
    status, said = finished(resumed)
    assert status == 75, said
    assert f"next: arbiter resume {directory}" in said and "Traceback" not in said

    status, said = finished(arbiter(tmp_path, "resume", str(directory)))
    assert status == 0, said
    assert rows_of(directory) == rows_of(undisturbed)
    assert ranking_of(directory) == ranking_of(undisturbed)
    starts = [event.trial_id for event in events_of(directory, "started")]
    assert done_before and all(starts.count(trial_id) == 1 for trial_id in done_before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_checkpoints_and_says_how_to_go_on(
    tmp_path: Path, undisturbed: Path, number: signal.Signals
) -> None:
    planned(tmp_path)
    command = ("sweep", "--strategy", str(tmp_path / "tiny.toml"), "--executor", "inline")
    process = arbiter(tmp_path, *command)
    directory = run_directory(tmp_path)
    wait_until(lambda: has_rows(directory))
    os.killpg(process.pid, number)
    status, said = finished(process)
    assert status == 75, said
    assert f"next: arbiter resume {directory}" in said and "Traceback" not in said
    if number is signal.SIGINT:  # once: the same command goes on as `resume` would
        status, said = finished(arbiter(tmp_path, *command))
        assert status == 0, said
        assert rows_of(directory) == rows_of(undisturbed)


def test_second_signal_ends_at_once_and_harms_nothing(tmp_path: Path, undisturbed: Path) -> None:
    planned(tmp_path)
    command = ("sweep", "--strategy", str(tmp_path / "tiny.toml"), "--executor", "inline")
    process = arbiter(tmp_path, *command)
    directory = run_directory(tmp_path)
    wait_until(lambda: has_rows(directory))
    os.kill(process.pid, signal.SIGSTOP)  # so that both signals are there when it goes on
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    status, _ = finished(process)
    assert status in (130, 143)
    status, said = finished(arbiter(tmp_path, "resume", str(directory), "--executor", "inline"))
    assert status == 0, said
    assert rows_of(directory) == rows_of(undisturbed)

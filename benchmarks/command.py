"""Run `arbiter` as a person does: a process of its own, timed from its start to its end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.ledger import Event, Ledger, TrialRecord

FLOORS = {
    "ray_tune": (
        "import torch and ray.tune, ray.init, a worker that imports torch",
        "import torch; from ray import tune; import ray; ray.init(address='local', num_cpus=2,"
        " include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000);"
        " ray.get([ray.remote(lambda: __import__('torch').__version__).remote() for _ in '12']);"
        " ray.shutdown()",
    ),
    "inline": ("import torch", "import torch; torch.ones(1)"),
}
"""Executor to what it cannot do without, and a program of it that trains nothing."""

PROGRAM = (sys.executable, "-c", "from orchestrator.cli import main; main()")


@dataclass(frozen=True)
class Ran:
    """What a command did.

    Args:
        began: Seconds since 1970 at its start.
        wall_s: Seconds until it ended.
        status: Its exit status.
        said: What it wrote to stderr.
    """

    began: float
    wall_s: float
    status: int
    said: str


def arbiter(*words: str, runs: Path) -> Ran:
    """Run a command with `runs` as the folder of all sweeps; where it failed is the caller's."""
    began, clock = time.time(), time.perf_counter()
    done = subprocess.run(
        [*PROGRAM, *words],
        text=True,
        capture_output=True,
        env=os.environ | {"ARBITER_RUNS": str(runs)},
    )
    return Ran(began, time.perf_counter() - clock, done.returncode, done.stderr)


def sweep(*words: str, runs: Path) -> tuple[Ran, list[TrialRecord], list[Event]]:
    """Run `arbiter sweep`; return also what its ledger holds.

    Raises:
        RuntimeError: It did not end with 0.
    """
    ran = arbiter("sweep", *words, "--gpus", "0", "--fresh", runs=runs)
    if ran.status:
        raise RuntimeError(f"arbiter sweep ended with {ran.status}:\n{ran.said}")
    newest = max(runs.glob("*/ledger.db"), key=lambda path: path.stat().st_mtime)
    with contextlib.closing(Ledger.read(newest)) as ledger:
        return ran, ledger.trials(), ledger.events()


def run_floor(executor: str) -> float:
    """Return the seconds of a process that does what the executor cannot do without."""
    clock = time.perf_counter()
    subprocess.run([sys.executable, "-c", FLOORS[executor][1]], check=True, capture_output=True)
    return time.perf_counter() - clock

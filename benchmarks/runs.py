"""Run a sweep template for a benchmark, in a folder of its own, and read what was measured."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator import sweep
from orchestrator.executors import Execution
from orchestrator.hardware import Hardware, detect
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.plan import make_plan
from orchestrator.request import Request


@dataclass(frozen=True)
class Measured:
    """What a benchmarked sweep left.

    Args:
        trials: As the ledger has them.
        tokens_per_s: The median row's rate, by trial id.
        wall_s: Seconds from the plan to the leaderboard.
    """

    trials: list[TrialRecord]
    tokens_per_s: dict[str, float]
    wall_s: float


def run_template(request: Request, executor: str) -> Measured:
    """Train a request on this machine's CPU and return its trials."""
    hardware = Hardware(detect().cpus)
    began = time.perf_counter()
    plan = make_plan(request, hardware)
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder) / "run")
        sweep.run(
            plan,
            directory,
            hardware,
            Execution(executor),
            command=sys.argv,
            notify=lambda line: print(line, file=sys.stderr),
        )
        wall_s = time.perf_counter() - began
        with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
            trials = ledger.trials()
            rates = {trial.id: _median_rate(ledger, trial.id) for trial in trials}
    return Measured(trials, rates, wall_s)


def _median_rate(ledger: Ledger, trial_id: str) -> float:
    rates = sorted(row["perf/tokens_per_s"] for _, row in ledger.rows(trial_id))
    return rates[len(rates) // 2]

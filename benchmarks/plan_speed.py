"""How long one waits before anything trains: help, plans, refusals, a large sweep resumed.

    python -m benchmarks.plan_speed [--trials N]

`--help` is a process of its own, beside a bare `python -c pass`. The rest is timed inside one
process after its imports. The processor's seconds suffer less from other people's load. The resumed sweep's trials are ended with made-up results: nothing is
trained, and nothing of it is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks.command import PROGRAM
from orchestrator import sweep
from orchestrator.errors import UsageError
from orchestrator.executors import Execution
from orchestrator.hardware import Hardware
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request
from trainer.reporting import Reason

T = TypeVar("T")

TEMPLATE = str(Path(__file__).with_name("tiny.toml"))
HARDWARE = Hardware(2)
HUGE = str(Path(__file__).with_name("huge.toml"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10_000)
    n = parser.parse_args().trials
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    request = Request(strategy=TEMPLATE, seeds=n // 10)
    make_plan(Request(strategy=TEMPLATE, seeds=1), HARDWARE)  # imports
    help_s = _median(lambda: subprocess.run([*PROGRAM, "--help"], check=True, capture_output=True))
    refuse_s = _median(_refuse)
    bare_s = _median(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    gc.disable()  # as the command does until something trains
    plan_s, plan = _timed(lambda: make_plan(request, HARDWARE))
    gc.enable()
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder) / "run")
        directory.path.mkdir()
        create_s, _ = _timed(lambda: sweep.create(plan, directory, sys.argv))
        _end_all(directory, plan)
        resume_s, _ = _timed(
            lambda: sweep.resume(directory, HARDWARE, Execution("inline"), notify=lambda line: None)
        )
    print(f"{'what':44}{'wall s':>9}{'cpu s':>9}  goal")
    for what, cost, goal in (
        ("arbiter --help", help_s, "<= 0.3"),
        ("  python -c pass", bare_s, ""),
        (f"planning {n:,} trials", plan_s, "<= 2"),
        ("refusing 10^8 points", refuse_s, "< 0.1"),
        (f"writing the ledger of {n:,} trials", create_s, ""),
        (f"resuming {n:,} ended trials, and ranking them", resume_s, "<= 2"),
    ):
        print(f"{what:44}{cost.wall_s:9.3f}{cost.cpu_s:9.3f}  {goal}".rstrip())


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and of processor time, children included."""

    wall_s: float
    cpu_s: float


def _timed(what: Callable[[], T]) -> tuple[Cost, T]:
    began, cpu = time.perf_counter(), sum(os.times()[:4])
    result = what()
    return Cost(time.perf_counter() - began, sum(os.times()[:4]) - cpu), result


def _median(what: Callable[[], object], times: int = 5) -> Cost:
    costs = [_timed(what)[0] for _ in range(times)]
    return Cost(median(c.wall_s for c in costs), median(c.cpu_s for c in costs))


def _refuse() -> None:
    try:
        make_plan(Request(strategy=HUGE), HARDWARE)
    except UsageError as error:
        if "100,000,000 trials" in str(error.problems[0]):
            return
        raise
    raise RuntimeError("10^8 points were not refused")


def _end_all(directory: RunDirectory, plan: Plan) -> None:
    with contextlib.closing(Ledger.open(directory.ledger)) as ledger, ledger.transaction():
        for trial in plan.trials:
            final = {"val/loss": 1.0 + trial.position / 7e5, "val/accuracy": 0.5}
            ledger.connection.execute(
                "UPDATE trials SET state = 'ended', reason = ?, final = ?, step = 50 WHERE id = ?",
                (Reason.FINISHED.value, str(final).replace("'", '"'), trial.id),
            )


if __name__ == "__main__":
    main()

"""Small sweeps for tests: a template on disk, a plan, a run, and what the ledger then says."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator import sweep
from orchestrator.executors import Execution
from orchestrator.hardware import Hardware
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Event, Ledger, TrialRecord
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request

TEMPLATE = """
[model]
kind = "quadratic_mlp"
dim = 16

[data]
task = "modular"
p = 13

[training]
batch_size = "full"
steps = {steps}
learning_rate = 1e-2
schedule = "constant"
eval_interval = 20

[checkpoint]
interval = {checkpoint}

[logging]
log_interval = 10
enable_tensorboard = false

[space]
"training.weight_decay" = {weight_decays}
seeds = {seeds}
"""

CPU_ONLY = Hardware(cpus=2)


def tiny_plan(
    folder: Path,
    *,
    steps: int = 60,
    checkpoint: int = 20,
    weight_decays: tuple[float, ...] = (0.1, 1.0),
    seeds: int = 2,
    extra: str = "",
    hardware: Hardware = CPU_ONLY,
) -> Plan:
    """Plan points x seeds of a quadratic MLP that takes well under a second each."""
    path = folder / "tiny.toml"
    path.write_text(
        TEMPLATE.format(
            steps=steps, checkpoint=checkpoint, weight_decays=list(weight_decays), seeds=seeds
        )
        + extra
    )
    return make_plan(Request(strategy=str(path)), hardware)


def run_plan(
    plan: Plan,
    directory: Path,
    executor: str = "inline",
    *,
    cohort_size: int | None = None,
    hardware: Hardware = CPU_ONLY,
) -> sweep.Outcome:
    """Run a plan to its end in `directory`."""
    return sweep.run(
        plan,
        RunDirectory(directory),
        hardware,
        Execution(executor, cohort_size),
        command=["test"],
        notify=lambda line: None,
    )


def trials_of(directory: Path) -> list[TrialRecord]:
    with contextlib.closing(Ledger.read(directory / "ledger.db")) as ledger:
        return ledger.trials()


def events_of(directory: Path, kind: str) -> list[Event]:
    with contextlib.closing(Ledger.read(directory / "ledger.db")) as ledger:
        return [event for event in ledger.events() if event.kind == kind]


def rows_of(directory: Path) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """Return the rows of every trial without what depends on the clock."""
    with contextlib.closing(Ledger.read(directory / "ledger.db")) as ledger:
        return {
            trial.id: [
                (step, {k: v for k, v in row.items() if not k.startswith(("perf/", "mem/"))})
                for step, row in ledger.rows(trial.id)
            ]
            for trial in ledger.trials()
        }


def ranking_of(directory: Path) -> list[tuple[Any, ...]]:
    """Return the leaderboard without times: rank, point, objective, spread, test metric."""
    board = json.loads((directory / "leaderboard.json").read_text())
    return [
        tuple(
            (key, json.dumps(entry[key]))
            for key in sorted(entry)
            if key not in ("active_s", "command")
        )
        for entry in board["entries"]
    ]


def wait_until(condition: Callable[[], bool], timeout_s: float = 90.0) -> None:
    """Return once `condition` holds; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"still waiting after {timeout_s} s"
        time.sleep(0.02)

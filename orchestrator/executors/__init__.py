"""Who runs the cohorts. The contract; `inline.py` is the reference.

An executor takes cohorts from a queue, trains each through `trainer.fit` under a referee and
returns when the queue is empty or somebody asked to stop. It must keep these promises, which
the suite in `tests/contracts/executors.py` tests:

- every trial of the queue ends in the ledger, unless the sweep was asked to stop;
- a member that fails harms no other, in its cohort or outside;
- the same trials give the same rows, bit for bit, under any executor on the same machine;
- once `interrupted` is true, no further cohort starts and running members are checkpointed.

An executor is one file and one line in `EXECUTORS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchestrator.cohort import CohortQueue
from orchestrator.errors import Problem, UsageError, check_choice
from orchestrator.executors import ray_environment
from orchestrator.hardware import Hardware, detect
from orchestrator.layout import RunDirectory

EXECUTORS = {
    "inline": "orchestrator.executors.inline.InlineExecutor",
    "ray_tune": "orchestrator.executors.ray_tune.RayTuneExecutor",
}


@dataclass(frozen=True)
class Execution:
    """How trials are run, whichever they are; it decides no result.

    Args:
        executor: A name in `EXECUTORS`.
        cohort_size: Trials that share a process; None goes by their length.
        dashboard: Whether Ray's dashboard is served, and gauges with it.
        address: The Ray cluster to join, `HOST:PORT` or `auto`; None starts one here.
        most_cohorts: Cohorts at once; None is as many as there is room for.
    """

    executor: str = "ray_tune"
    cohort_size: int | None = None
    dashboard: bool = False
    address: str | None = None
    most_cohorts: int | None = None


@dataclass(frozen=True)
class Job:
    """What an executor is given.

    Args:
        directory: The sweep's; its ledger holds the configs.
        queue: Cohorts to run.
        hardware: What may be used.
        execution: How.
        interrupted: True once the sweep was asked to stop. Workers in other processes look for
            `directory.stop_file` instead, which the asker makes.
        notify: Takes one line at a time for a person.
    """

    directory: RunDirectory
    queue: CohortQueue
    hardware: Hardware
    execution: Execution
    interrupted: Callable[[], bool]
    notify: Callable[[str], None] = lambda line: None


class Executor(Protocol):
    """Runs the cohorts of a job.

    Attributes:
        concurrent: Whether cohorts run side by side, as many as the machine has room for.
    """

    concurrent: bool

    def run(self, job: Job) -> None:
        """Return when every cohort has ended, or the job was interrupted."""


def check_execution(execution: Execution) -> None:
    """Refuse what cannot be run so, before anything is read or written.

    Raises:
        UsageError: All that is wrong, at once.
    """
    check_choice("executor", execution.executor, tuple(EXECUTORS))
    if execution.executor == "ray_tune":
        ray_environment.check(execution.dashboard, execution.address)
        return
    given = {"--dashboard": execution.dashboard, "--address": execution.address is not None}
    problems = [
        Problem(
            f"got {option} with --executor {execution.executor}, which uses no Ray",
            option,
            "leave out one of the two",
        )
        for option, is_given in given.items()
        if is_given
    ]
    if problems:
        raise UsageError(*problems)


def find_hardware(execution: Execution, gpus: int | None) -> Hardware:
    """Return what may be used: of this machine, or of the cluster that is joined for it.

    Args:
        execution: How trials will be run, checked.
        gpus: GPUs to use, all where None.

    Raises:
        UsageError: There are fewer, or the cluster cannot be joined.
    """
    if execution.address is None:
        return detect().limited_to(gpus)
    if gpus:
        message = f"got --gpus {gpus} with --address: the cluster says what it has"
        raise UsageError(Problem(message, "--gpus", "leave it out, or --gpus 0 for the CPUs"))
    from orchestrator.executors import ray_cluster

    ray_cluster.join_cluster(execution.address)
    return ray_cluster.cluster_hardware().limited_to(gpus)


def make_executor(name: str) -> Executor:
    """Return an executor by its name in `EXECUTORS`."""
    module, _, attribute = EXECUTORS[name].rpartition(".")
    executor: Executor = getattr(importlib.import_module(module), attribute)()
    return executor

"""A trial that trains one model on several processes: Ray Train inside the Ray Tune trial.

The trial itself holds no core and no GPU, only a little memory: Ray Train reserves what the
processes need, all of it at once or nothing, on one machine. So no trial waits for a part while it
holds another, and any number of such trials cannot block each other. That none waits long is the
searcher's doing, which hands one out only when there is room (`ray_tune`).

Ray Train starts the processes, tells them their ranks and ends them all once one has failed; its
reports and checkpoints are not used. Rank 0 leads (`trainer.engines.sharded`) and alone speaks to the
referee.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.executors import ray_environment

ray_environment.prepare()

import ray  # noqa: E402
import torch.distributed as dist  # noqa: E402
from ray import train  # noqa: E402
from ray.train.torch import TorchConfig, TorchTrainer  # noqa: E402

from trainer.distributed import CONTROL_TIMEOUT_S, Group  # noqa: E402
from trainer.engines.sharded import ShardedEngine, follow  # noqa: E402
from trainer.errors import RanksLostError  # noqa: E402

if TYPE_CHECKING:
    from trainer.engines import Engine


def train_on_ranks(
    config: dict[str, Any], scratch: Path, lead: Callable[[Engine, str], None]
) -> None:
    """Train a cohort on several processes; returns when all have ended.

    Args:
        config: `cohort`, its id; `cpus` and `gpus` of all processes together; `ranks`, how many.
        scratch: A folder for Ray Train's records.
        lead: Trains the cohort with an engine, in the process of rank 0; told where it runs.

    Raises:
        ray.train.TrainingFailedError: A process died, or could not be started.
    """
    ranks = config["ranks"]
    each = {"CPU": config["cpus"] // ranks}
    if config["gpus"]:
        each["GPU"] = config["gpus"] / ranks
    TorchTrainer(
        _rank,
        train_loop_config={"lead": lead, "device": "cuda" if config["gpus"] else "cpu"},
        # Words go over gloo; the engine makes a group for tensors, of NCCL on GPUs.
        torch_config=TorchConfig(backend="gloo", timeout_s=int(CONTROL_TIMEOUT_S)),
        scaling_config=train.ScalingConfig(
            num_workers=ranks,
            use_gpu=config["gpus"] > 0,
            resources_per_worker=each,
            placement_strategy="STRICT_PACK",
        ),
        run_config=train.RunConfig(  # type: ignore[call-arg]  # typed as Ray's older one
            name=config["cohort"],
            storage_path=str(scratch),
            failure_config=train.FailureConfig(max_failures=0, max_preemption_failures=0),  # type: ignore[call-arg]
            # All are on one machine, and gloo asks nobody who he is.
            worker_runtime_env={"env_vars": {"GLOO_SOCKET_IFNAME": "lo"}},
        ),
    ).fit()


def _rank(config: dict[str, Any]) -> None:
    """Lead or follow; runs in each process."""
    try:
        group = Group(config["device"])
        here: list[Any] = [None] * group.size
        dist.all_gather_object(here, (os.getpid(), ray.get_gpu_ids()))
        if not group.leads:
            follow(group)
            return
        engine = ShardedEngine(group)
        config["lead"](engine, _where(here))
        engine.close()
    except RanksLostError as lost:
        raise RuntimeError(str(lost)) from lost


def _where(here: list[tuple[int, list[Any]]]) -> str:
    processes = " ".join(str(pid) for pid, _ in here)
    devices = ",".join(str(gpu) for _, gpus in here for gpu in gpus)
    return f"processes {processes}" + (f", GPUs {devices}" if devices else "")

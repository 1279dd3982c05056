"""What this machine has, and whether a trial fits on it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from orchestrator.errors import Problem, UsageError
from trainer.config import TierConfig
from trainer.units import GIB

LARGEST = "of the cluster's largest node"
USABLE = 0.85
"""Share of a machine's memory for trials on its CPUs; beyond it the kernel ends processes."""
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Hardware:
    """The devices a sweep may use.

    Args:
        cpus: Cores this process may run on, or all of a cluster's.
        gpus: Memory of each GPU in GiB.
        largest_node: Most cores and most GPUs of one machine, where there are several; a
            trial has its share on one of them.
        memory_gib: What trials on a machine's CPUs may use; None where nobody has looked.
    """

    cpus: int
    gpus: tuple[float, ...] = ()
    largest_node: tuple[int, int] | None = None
    memory_gib: float | None = None

    def limited_to(self, gpus: int | None) -> Hardware:
        """Return the part that `--gpus N` asks for; all of it where nothing was asked.

        Raises:
            UsageError: There are fewer.
        """
        if gpus is None:
            return self
        if gpus < 0 or gpus > len(self.gpus):
            asked = f"asked for {gpus}" if gpus >= 0 else f"got {gpus}, expected 0 or more"
            has = f"{len(self.gpus)} GPU{'' if len(self.gpus) == 1 else 's'}"
            hint = "--gpus 0 trains on the CPU"
            if self.gpus:
                hint = f"--gpus {len(self.gpus)} uses all there are; {hint}"
            raise UsageError(Problem(f"{asked}, this machine has {has}", "--gpus", hint))
        return replace(self, gpus=self.gpus[:gpus])

    def best_tier(self) -> str:
        """Return the tier for the smallest GPU there is, or `cpu`."""
        if not self.gpus:
            return "cpu"
        smallest = min(self.gpus)
        if smallest >= 75:  # an "80 GB" card reports a little less
            return "datacenter"
        return "high_vram" if smallest >= 11 else "low_vram"

    def refuse(self, tier: TierConfig) -> str | None:
        """Return why a trial under `tier` cannot run here, or None."""
        cpus, gpus = self.largest_node or (self.cpus, len(self.gpus))
        used, has = ("in use", "here") if self.largest_node is None else (LARGEST, LARGEST)
        if tier.device == "cuda" and not self.gpus:
            return f"tier {tier.name} needs a GPU: none is in use here"
        if tier.device == "cuda" and (tier.gpus or 1) > gpus:
            return f"tier.gpus {tier.gpus:g} is more than the {gpus} {used}"
        if tier.cpus > cpus:
            return f"tier.cpus {tier.cpus} is more than the {cpus} cores {has}"
        if (cores := tier.ranks * tier.cpus) > cpus:
            key, each = ("workers", tier.workers) if tier.device == "cpu" else ("gpus", tier.ranks)
            times = f" of tier.cpus {tier.cpus}" if tier.cpus > 1 else ""
            return f"tier.{key} {each}{times} takes {cores} cores, more than the {cpus} {has}"
        return None


def detect() -> Hardware:
    """Look at this machine, without loading torch."""
    return Hardware(
        len(os.sched_getaffinity(0)),
        gpu_memory_gib(os.environ.get("CUDA_VISIBLE_DEVICES")),
        memory_gib=USABLE * host_memory_gib(),
    )


def host_memory_gib(limit: Path = CONTAINER_LIMIT) -> float:
    """Return the memory of this machine, or of the container it is seen from.

    Args:
        limit: The file in which Linux says what a container may use.
    """
    total = int(psutil.virtual_memory().total)
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        total = min(total, int(limit.read_text(encoding="ascii")))
    return total / GIB


def gpu_memory_gib(setting: str | None) -> tuple[float, ...]:
    """Return the memory of each GPU that torch would see."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()  # no driver: no GPU that torch could use
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        names = [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
        return tuple(
            pynvml.nvmlDeviceGetMemoryInfo(handles[i]).total / GIB for i in visible(setting, names)
        )
    finally:
        pynvml.nvmlShutdown()


def visible(setting: str | None, names: Sequence[str]) -> list[int]:
    """Return the devices that `CUDA_VISIBLE_DEVICES` leaves, in its order, as CUDA reads it.

    Args:
        setting: Numbers or (starts of) names, by commas; what follows one that does not exist
            is not seen. None leaves all.
        names: The UUID of each device.
    """
    if setting is None:
        return list(range(len(names)))
    found: list[int] = []
    for word in (word.strip() for word in setting.split(",")):
        matches = [i for i, name in enumerate(names) if word and name.startswith(word)]
        index = int(word) if word.isdecimal() else next(iter(matches), -1)
        if not 0 <= index < len(names):
            break
        found.append(index)
    return found

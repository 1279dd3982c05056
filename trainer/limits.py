"""What ends a run early: a clock, memory, a step count, a request from outside.

Each is looked at between two steps and ends in a checkpoint and a reason.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import torch

from trainer.config import LimitsConfig
from trainer.reporting import Reason
from trainer.units import GIB

MEMORY_CHECK_S = 0.5


class Limits:
    """The limits of one member in one attempt.

    Args:
        config: The limits section.
        device: "cpu" or "cuda".
        interrupted: True once somebody asked this process to stop.
    """

    def __init__(self, config: LimitsConfig, device: str, interrupted: Callable[[], bool]) -> None:
        self.config, self.device, self.interrupted = config, device, interrupted
        self._next_memory_check_s = 0.0

    def reached(self, step: int, active_s: float) -> tuple[Reason, str] | None:
        """Return the reason and a sentence once a limit is reached, else None.

        Args:
            step: Optimizer steps done.
            active_s: Seconds spent on this member in this attempt; the turns of its neighbours
                do not count.
        """
        limits = self.config
        if self.interrupted():
            return Reason.INTERRUPTED, f"asked to stop at step {step}"
        if limits.stop_after_steps is not None and step >= limits.stop_after_steps:
            return Reason.BUDGET, f"limits.stop_after_steps {limits.stop_after_steps} reached"
        minutes = active_s / 60
        if limits.wall_clock_minutes is not None and minutes >= limits.wall_clock_minutes:
            return (
                Reason.WALL_CLOCK,
                f"{minutes:.2f} minutes: limits.wall_clock_minutes is"
                f" {limits.wall_clock_minutes:g}",
            )
        if active_s >= self._next_memory_check_s:
            if (found := self._memory()) is not None:
                return found  # and again when asked next: who sees it first is not who ends it
            self._next_memory_check_s = active_s + MEMORY_CHECK_S
        return None

    def _memory(self) -> tuple[Reason, str] | None:
        for name, limit, used in (
            ("max_host_memory_gib", self.config.max_host_memory_gib, resident_host_gib()),
            ("max_gpu_memory_gib", self.config.max_gpu_memory_gib, peak_gpu_gib(self.device)),
        ):
            if limit is not None and used > limit:
                return Reason.BUDGET, f"{used:.2f} GiB used: limits.{name} is {limit:g}"
        return None


def resident_host_gib() -> float:
    """Return what this process holds in memory now; an earlier trial's peak does not count."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / GIB


def peak_gpu_gib(device: str) -> float:
    """Return the most GPU memory this process has reserved since it last ran out; 0 on a CPU."""
    return torch.cuda.max_memory_reserved() / GIB if device == "cuda" else 0.0

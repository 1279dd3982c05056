"""Which trials share a process, and what they get of the machine.

A cohort is one unit of scheduling: one Ray Tune trial. Short trials share one, so that the
price of starting it is paid once; long ones are alone.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.fitting import config_of, gpu_share, memory_of
from orchestrator.hardware import Hardware
from orchestrator.ledger import TrialRecord
from orchestrator.names import label_of, merged, safe
from trainer.config import RunConfig, TierConfig
from trainer.units import GIB

WORTH_STARTING_S = 20.0
"""Seconds of training that make the start of a cohort (about 0.1 to 3 s) a small matter."""

LONGEST_COHORT = 200
STEP_OVERHEAD_S = 0.002
CPU_FLOPS, GPU_FLOPS = 2e10, 1e14


@dataclass(frozen=True)
class Share:
    """What one cohort gets: CPU cores, and GPUs (a fraction of one, or whole ones).

    Args:
        cpus: Cores, of all its processes together.
        gpus: GPUs, of all its processes together.
        ranks: Processes that train one model together.
    """

    cpus: int
    gpus: float
    ranks: int = 1


@dataclass(frozen=True)
class Cohort:
    """Trials that train together in one process.

    Args:
        id: The sweep's name and a number (`grid-0003`); Ray's folders have it.
        trial_ids: In the order of the plan.
        share: What they get of the machine, together.
        labels: What each trial is to a person (`lr=0.003 seed=1`).
    """

    id: str
    trial_ids: tuple[str, ...]
    share: Share
    labels: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What Ray's dashboard shows: `grid-0003 n_layers=4 lr=0.003 seed=1`."""
        return f"{self.id} {merged(self.labels)}".strip()


def share_of(trial: TrialRecord, hardware: Hardware | None = None) -> Share:
    """Return what a trial gets: what its tier asks for, else what its predicted memory needs.

    Args:
        trial: As the ledger has it.
        hardware: What may be used; None where nobody knows its memory.
    """
    tier = TierConfig.model_validate(trial.config["tier"])
    known = None if hardware is None else config_of(trial)
    cpus, gpus = tier.cpus * tier.ranks, 0.0
    if tier.device == "cuda":
        gpus = tier.gpus or 1.0
        if known is not None and hardware is not None:
            gpus = gpu_share(*known, min(hardware.gpus, default=0.0))
    elif known is not None and hardware is not None:
        cpus = _cores(cpus, *known, hardware)
    return Share(cpus, gpus, tier.ranks)


def _cores(least: int, config: RunConfig, vocab_size: int, hardware: Hardware) -> int:
    """Return a trial's cores: so many that no more run at once than fit in the memory."""
    if not hardware.memory_gib:
        return least
    whole = config.tier.ranks * memory_of(config, vocab_size).total
    needed = whole / (hardware.memory_gib * GIB)
    return max(least, min(hardware.cpus, math.ceil(needed * hardware.cpus)))


def workers_for(trial: TrialRecord, hardware: Hardware) -> int:
    """Return how many cohorts with this trial's share the machine runs at once."""
    share = share_of(trial, hardware)
    if share.gpus:
        on_gpus = int(len(hardware.gpus) / share.gpus)
        return max(1, min(on_gpus, hardware.cpus // share.cpus))
    return max(1, hardware.cpus // share.cpus)


def has_room(running: Sequence[Cohort], cohort: Cohort, hardware: Hardware) -> bool:
    """Return whether a cohort may be started beside those that run.

    Cohorts of one process may wait where they are placed. One of several processes is started only
    when its whole share is free, and none is started into it.
    """
    together = [*running, cohort]
    if not running or all(one.share.ranks == 1 for one in together):
        return True
    cpus = sum(one.share.cpus for one in together)
    gpus = sum(one.share.gpus for one in together)
    return cpus <= hardware.cpus and gpus <= len(hardware.gpus)


def predicted_s(trial: TrialRecord) -> float:
    """Guess a trial's seconds, good enough to size cohorts by: operations plus step overhead."""
    rate = GPU_FLOPS if trial.config["tier"]["device"] == "cuda" else CPU_FLOPS
    return trial.flops / rate + int(trial.config["training"]["steps"]) * STEP_OVERHEAD_S


def pack(
    trials: Sequence[TrialRecord],
    workers: int,
    size: int | None = None,
    sweep: str = "cohort",
    hardware: Hardware | None = None,
) -> list[Cohort]:
    """Cut trials into cohorts, in the order of the plan.

    Neighbours with the same share go together until they are worth a start, but each worker
    gets at least three cohorts where there are enough trials: the last ones then end at about
    the same time. A trial of several processes is alone.

    Args:
        trials: What is left to do.
        workers: Cohorts that can run at once, at least 1.
        size: Trials per cohort, instead of the rule.
        sweep: The name that the cohorts have first.
        hardware: What may be used: as many trials share a process as fit in its share of memory.
    """
    stem = safe(sweep)
    cohorts: list[Cohort] = []
    for share, group in groupby(trials, key=lambda trial: share_of(trial, hardware)):
        same = list(group)
        longest = max(predicted_s(trial) for trial in same)
        fits = max(1, math.floor(WORTH_STARTING_S / max(longest, 1e-6)))
        fair = max(1, math.ceil(len(same) / (3 * workers)))
        n = size if size is not None else min(fits, fair, LONGEST_COHORT)
        n = 1 if share.ranks > 1 else _members(same, share, n, hardware)
        for first in range(0, len(same), n):
            some = same[first : first + n]
            ids, labels = tuple(t.id for t in some), tuple(label_of(t) for t in some)
            cohorts.append(Cohort(f"{stem}-{len(cohorts):04d}", ids, share, labels))
    return cohorts


def _members(
    trials: Sequence[TrialRecord], share: Share, most: int, hardware: Hardware | None
) -> int:
    """Return how many trials fit in one process, at least 1: the largest of them says."""
    known = config_of(max(trials, key=lambda trial: trial.parameters))
    if known is None or hardware is None:
        return most
    if share.gpus:
        memory_gib = min(hardware.gpus, default=0.0) * share.gpus
    else:
        memory_gib = (hardware.memory_gib or 0.0) * share.cpus / hardware.cpus
    n = most
    while memory_gib and n > 1 and memory_of(*known, n).total > memory_gib * GIB:
        n //= 2
    return n


class CohortQueue:
    """The cohorts that wait, in order. One thread asks."""

    def __init__(self, cohorts: Sequence[Cohort]) -> None:
        self._waiting = deque(cohorts)
        self._made = len(cohorts)

    def next(self) -> Cohort | None:
        """Return the next cohort, or None while none waits."""
        return self._waiting.popleft() if self._waiting else None

    def split(self, cohort: Cohort, trial_ids: Sequence[str]) -> None:
        """Put back what is left of a cohort whose process died, each trial alone.

        One of them may be what kills the process; alone it harms no other.
        """
        stem = cohort.id.rpartition("-")[0]
        labels = dict(zip(cohort.trial_ids, cohort.labels, strict=False))
        for trial_id in trial_ids:
            label = (labels[trial_id],) if trial_id in labels else ()
            self._waiting.append(
                Cohort(f"{stem}-{self._made:04d}", (trial_id,), cohort.share, label)
            )
            self._made += 1

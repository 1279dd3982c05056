"""What a plan will cost: seconds of each trial, wall time on this machine, disk.

Pure values. A trial's seconds are `cohort.predicted_s`, by which cohorts are sized, or what a
calibration makes of it; the wall time is that of the cohorts that would run.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.calibration import Calibration
from orchestrator.cohort import Cohort, pack, predicted_s, workers_for
from orchestrator.errors import Problem
from orchestrator.fitting import gpu_share
from orchestrator.hardware import Hardware
from orchestrator.ledger import TrialRecord
from orchestrator.trial import Trial
from trainer.config import RunConfig
from trainer.grokking import HOLD

NEW, REUSED = "new", "reused"
"""States beside those of this sweep's ledger: it does not know the trial; another run's does."""

BYTES_PER_PARAMETER = 12
"""Of a checkpoint: the weight and AdamW's two moments, each in fp32."""


@dataclass(frozen=True)
class Start:
    """Seconds before training: once a sweep, once a worker, once a cohort after its first."""

    sweep_s: float
    worker_s: float
    cohort_s: float


STARTS = {"ray_tune": Start(8.0, 2.5, 0.2), "inline": Start(0.0, 2.0, 0.0)}
"""By executor. Ray starts in 5 to 16 s; a process imports torch in about 2 s and is kept."""


@dataclass(frozen=True)
class Outlook:
    """What will become of one trial.

    Args:
        state: `NEW`, `REUSED`, or its state or reason in this sweep's ledger.
        run: The run it is reused from, or None.
        left_s: Predicted seconds of what is left to train.
        gpus: Share of a GPU that it gets, or whole ones; 0 on CPUs.
    """

    state: str
    run: str | None
    left_s: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """What a plan will cost.

    Args:
        outlooks: One a trial, in the order of the plan.
        tokens_left: Tokens that are still to be learned from.
        workers: Cohorts that run at once.
        cohorts: How many there will be.
        wall_s: Seconds from the command to the last trial's end.
        checkpoint_bytes: Most bytes that checkpoints to come will take.
        free_bytes: Bytes that are free where they will lie.
        calibration: What was timed; None where the rule of thumb predicts.
    """

    outlooks: tuple[Outlook, ...]
    tokens_left: int
    workers: int
    cohorts: int
    wall_s: float
    checkpoint_bytes: int
    free_bytes: int
    calibration: Calibration | None

    @property
    def states(self) -> Counter[str]:
        """Number of trials by state."""
        return Counter(outlook.state for outlook in self.outlooks)

    def to_dict(self) -> dict[str, Any]:
        """Return the totals as plain values."""
        return {
            "states": dict(self.states),
            "tokens_left": self.tokens_left,
            "workers": self.workers,
            "cohorts": self.cohorts,
            "wall_s": self.wall_s,
            "checkpoint_bytes": self.checkpoint_bytes,
            "free_bytes": self.free_bytes,
            "calibration": None if self.calibration is None else asdict(self.calibration),
        }


def make_forecast(
    trials: Sequence[Trial],
    hardware: Hardware,
    *,
    free_bytes: int,
    own: Mapping[str, TrialRecord] | None = None,
    reused: Mapping[str, str] | None = None,
    calibration: Calibration | None = None,
    executor: str = "ray_tune",
    cohort_size: int | None = None,
    most_cohorts: int | None = None,
) -> Forecast:
    """Predict what is left of a plan.

    Args:
        trials: The plan's.
        hardware: What may be used.
        free_bytes: Free where the runs lie.
        own: Trials by id as this sweep's ledger has them, where it exists.
        reused: Trial to the run it is reused from.
        calibration: Seconds measured here; None goes by the rule of thumb.
        executor: One that is not in `STARTS` counts as Ray.
        cohort_size: Trials that share a process; None goes by their length.
        most_cohorts: At once; None is as many as there is room for.
    """
    own, reused = own or {}, reused or {}
    left: list[TrialRecord] = []
    seconds: dict[str, float] = {}
    outlooks: list[Outlook] = []
    tokens_left = 0
    to_train: list[Trial] = []
    for trial in trials:
        record = own.get(trial.id)
        state = NEW if record is None else record.label
        if record is not None and not record.pending:
            outlooks.append(Outlook(state, None, 0.0, _gpus(trial, hardware)))
            continue
        if trial.id in reused:
            outlooks.append(Outlook(REUSED, reused[trial.id], 0.0, _gpus(trial, hardware)))
            continue
        record = record or trial.record()
        whole_s = predicted_s(record)
        if calibration is not None:
            whole_s = calibration.run_s(trial, whole_s)
        steps = trial.config.training.steps
        undone = max(0, _last_step(trial.config) - record.step)
        seconds[trial.id] = left_s = _limited(trial.config, whole_s * undone / steps)
        tokens_left += trial.tokens // steps * undone
        outlooks.append(Outlook(state, None, left_s, _gpus(trial, hardware)))
        left.append(record)
        to_train.append(trial)
    workers, cohorts, wall_s = 1, [], 0.0
    if left:
        workers = 1 if executor == "inline" else workers_for(left[0], hardware)
        workers = min(workers, most_cohorts or workers)
        cohorts = pack(left, workers, cohort_size, hardware=hardware)
        workers = min(workers, len(cohorts))
        start = STARTS.get(executor, STARTS["ray_tune"])
        wall_s = _wall_s(cohorts, seconds, workers, start, bool(hardware.gpus))
    return Forecast(
        outlooks=tuple(outlooks),
        tokens_left=tokens_left,
        workers=workers,
        cohorts=len(cohorts),
        wall_s=wall_s,
        checkpoint_bytes=_checkpoint_bytes(to_train, workers),
        free_bytes=free_bytes,
        calibration=calibration,
    )


def _gpus(trial: Trial, hardware: Hardware) -> float:
    if trial.config.tier.device == "cpu":
        return 0.0
    return gpu_share(trial.config, trial.vocab_size, min(hardware.gpus, default=0.0))


def disk_problem(forecast: Forecast, place: str) -> Problem | None:
    """Return what is wrong where checkpoints will not fit on the disk.

    Args:
        forecast: Of a plan.
        place: The folder where the runs lie.
    """
    if forecast.checkpoint_bytes <= forecast.free_bytes:
        return None
    return Problem(
        f"checkpoints will take up to {gib(forecast.checkpoint_bytes)},"
        f" {gib(forecast.free_bytes)} are free",
        place,
        "checkpoint.keep=1, checkpoint.enable=false, or ARBITER_RUNS=/a/larger/disk",
    )


def gib(n_bytes: int) -> str:
    """Return bytes in the unit that suits them."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes} bytes"


def _last_step(config: RunConfig) -> int:
    """Return where a run ends: its schedule's end, or the limit before."""
    steps, limit = config.training.steps, config.limits.stop_after_steps
    return steps if limit is None else min(steps, limit)


def _limited(config: RunConfig, seconds: float) -> float:
    minutes = config.limits.wall_clock_minutes
    return seconds if minutes is None else min(seconds, 60 * minutes)


def _wall_s(
    cohorts: Sequence[Cohort],
    seconds: Mapping[str, float],
    workers: int,
    start: Start,
    fresh: bool,
) -> float:
    """Hand out cohorts in their order, each to the worker that is free first.

    Args:
        cohorts: In the order in which they start.
        seconds: Of each trial.
        workers: At least 1.
        start: Of the executor.
        fresh: Whether each cohort has a process of its own, as on GPUs.
    """
    free = [start.sweep_s + start.worker_s] * workers
    for number, cohort in enumerate(cohorts):
        again_s = start.worker_s if fresh else start.cohort_s
        began = heapq.heappop(free) + (again_s if number >= workers else 0.0)
        heapq.heappush(free, began + sum(seconds[trial_id] for trial_id in cohort.trial_ids))
    return max(free)


def _checkpoint_bytes(trials: Sequence[Trial], workers: int) -> int:
    """Return what all keep, and the one more that each worker may be writing."""
    kept, more = 0, []
    for trial in trials:
        checkpoint, last = trial.config.checkpoint, _last_step(trial.config)
        if checkpoint.enable:
            size = BYTES_PER_PARAMETER * trial.parameters
            written = -(-last // checkpoint.interval)  # one at the end, whatever the interval
            kept += min(checkpoint.keep, written) * size
            if -(-last // trial.config.training.eval_interval) >= HOLD:
                kept += size  # the one at which it generalised, if it does
            more.append(size if written > checkpoint.keep else 0)
    return kept + sum(heapq.nlargest(workers, more))

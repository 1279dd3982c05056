"""How fast this machine is: a few timed steps of a few trials of a plan."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from orchestrator.cohort import predicted_s
from orchestrator.errors import Problem, UsageError
from orchestrator.hardware import Hardware
from orchestrator.trial import Trial
from trainer.config import RunConfig
from trainer.errors import InputError
from trainer.units import GIB

BUDGET_S = 30.0
"""For all together; a step that has begun is ended."""

MOST_SHAPES = 5
SHARE = 0.3
"""Of what is left of the budget that one shape's steps may take, and its evaluation again."""


@dataclass(frozen=True)
class Sample:
    """One trial that was timed.

    Args:
        trial_id: Which.
        parameters: Trained parameters.
        step_flops: Operations of a step.
        rule_step_s: Seconds of a step by the rule of thumb.
        start_s: Seconds to build its data and model.
        step_s: Seconds of a step.
        steps: How many steps were timed.
        evaluation_s: Seconds of an evaluation.
        evaluated: Whether that was timed; else it is a third of as many training tokens.
        memory_bytes: Of the tensors at the worst moment of a step, by a step on fake tensors.
    """

    trial_id: str
    parameters: int
    step_flops: float
    rule_step_s: float
    start_s: float
    step_s: float
    steps: int
    evaluation_s: float
    evaluated: bool
    memory_bytes: int


@dataclass(frozen=True)
class Calibration:
    """What was timed.

    Args:
        samples: From the smallest to the largest; empty where all are too large to be timed.
        shapes: Different shapes in the plan: model, data, batch and tier.
        left_out: Sentences on shapes that were to be timed and were not.
        spent_s: Seconds it took.
    """

    samples: tuple[Sample, ...]
    shapes: int
    left_out: tuple[str, ...]
    spent_s: float

    def run_s(self, trial: Trial, rule_s: float) -> float:
        """Return the seconds of a whole run, evaluations included.

        A shape that was not timed is to the timed one of the nearest size as the rule of thumb
        has it; where none was timed, the rule stands.

        Args:
            trial: What would be trained.
            rule_s: Its seconds by the rule of thumb.
        """
        if not self.samples:
            return rule_s
        training = trial.config.training
        flops = _step_flops(trial)
        sample = min(self.samples, key=lambda s: abs(math.log(s.step_flops / flops)))
        scale = rule_s / training.steps / sample.rule_step_s
        evaluations = -(-training.steps // training.eval_interval) + 1  # the test split at the end
        learning_s = training.steps * sample.step_s + evaluations * sample.evaluation_s
        return sample.start_s + scale * learning_s


def calibrate(
    trials: Sequence[Trial], hardware: Hardware, budget_s: float = BUDGET_S
) -> Calibration:
    """Time a few steps of the smallest, the largest and some trials between, one at a time.

    Args:
        trials: What is to be trained.
        hardware: What may be used.
        budget_s: Seconds for all of it.

    Raises:
        UsageError: The data of a trial is not what its task reads.
    """
    from trainer.footprint.probe import probe  # these import torch
    from trainer.timing import time_run

    shapes: dict[Any, Trial] = {}
    for trial in trials:
        shapes.setdefault(_shape(trial.config), trial)
    by_size = sorted(shapes.values(), key=_step_flops)
    samples: list[Sample] = []
    left_out: list[str] = []
    began = time.monotonic()
    for trial in _spread(by_size):
        left_s = budget_s - (time.monotonic() - began)
        rule_step_s = predicted_s(trial.record()) / trial.config.training.steps
        step_s = rule_step_s * (samples[-1].step_s / samples[-1].rule_step_s if samples else 1.0)
        what = f"trial {trial.id} ({trial.parameters:,} parameters)"
        if 2 * step_s > left_s:
            left_out.append(f"{what} was not timed: two steps take about {2 * step_s:.0f} s")
            continue
        if trial.memory.total > _available(trial.config, hardware):
            left_out.append(f"{what} was not timed: it needs {trial.memory.total / GIB:.1f} GiB")
            continue
        try:
            found = time_run(trial.config, SHARE * left_s / 2)
        except InputError as error:
            raise UsageError(Problem(str(error), what, error.hint)) from error
        except (RuntimeError, MemoryError) as error:  # what torch raises where memory is short
            left_out.append(f"{what} was not timed: {str(error).splitlines()[0]}")
            continue
        samples.append(
            Sample(
                trial.id,
                trial.parameters,
                _step_flops(trial),
                rule_step_s,
                found.start_s,
                found.step_s,
                found.steps,
                found.evaluation_s,
                found.evaluated,
                probe(trial.config, trial.vocab_size).peak,
            )
        )
    return Calibration(tuple(samples), len(by_size), tuple(left_out), time.monotonic() - began)


def _shape(config: RunConfig) -> Any:
    """Return what a step's time depends on."""
    training = config.training
    return (
        config.model,
        config.data,
        training.batch_size,
        training.seq_len,
        training.eval_tokens,
        config.tier,
    )


def _step_flops(trial: Trial) -> float:
    return trial.flops / trial.config.training.steps


def _spread(trials: Sequence[Trial]) -> list[Trial]:
    """Return at most `MOST_SHAPES`, evenly spread, with both ends."""
    if len(trials) <= MOST_SHAPES:
        return list(trials)
    last = len(trials) - 1
    return [trials[round(last * k / (MOST_SHAPES - 1))] for k in range(MOST_SHAPES)]


def _available(config: RunConfig, hardware: Hardware) -> float:
    """Return the bytes that the device has for a trial."""
    if config.tier.device == "cuda":
        return min(hardware.gpus) * GIB
    return float(psutil.virtual_memory().available)

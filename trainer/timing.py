"""How long a run takes on this machine, from a few of its steps.

Nothing of the run is written: no rows, no checkpoint. The text of a corpus is tokenized into the
cache, as the run would do it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from trainer.config import RunConfig
from trainer.engines import Engine
from trainer.engines.stacked import StackedEngine, pays
from trainer.tasks import build_task, saturates

MOST_STEPS = 50
KEY = "timed"
STACK = 16
"""Members of the stack that is timed, where a run would be computed in one: it shares its steps."""


@dataclass(frozen=True)
class Timing:
    """What was measured of one run.

    Args:
        start_s: Seconds to build the data and the model.
        step_s: Seconds of an optimizer step, the first one left out.
        steps: How many steps that is the mean of.
        evaluation_s: Seconds of the evaluation that is due every `training.eval_interval` steps.
        evaluated: Whether it was timed; else it is a third of the steps that read as many tokens.
    """

    start_s: float
    step_s: float
    steps: int
    evaluation_s: float
    evaluated: bool


def time_run(config: RunConfig, budget_s: float) -> Timing:
    """Time the first steps of a run and one evaluation, in this process.

    The first step, which allocates, is left out; a second one is always done.

    Args:
        config: What would be trained.
        budget_s: Seconds to spend on steps, and again on the evaluation.

    Raises:
        InputError: The data is not what the task reads.
        RuntimeError: The model cannot be trained here; `torch.cuda.OutOfMemoryError` is one.
    """
    tier = config.tier
    if tier.ranks > 1:
        from trainer.processes import leading

        with leading(tier.ranks, tier.device) as led:
            return _time_run(config, budget_s, led)
    return _time_run(config, budget_s, StackedEngine())


def _time_run(config: RunConfig, budget_s: float, engine: Engine) -> Timing:
    torch.set_num_threads(config.tier.cpus)
    began = time.perf_counter()
    task = build_task(config)
    engine.add(KEY, config, task)
    start_s = time.perf_counter() - began
    keys = [KEY]
    if config.tier.ranks == 1 and pays(config, task):
        keys += [f"{KEY} {n}" for n in range(1, STACK)]
    for key in keys[1:]:
        engine.add(key, config, task)

    def timed(first: int, steps: int) -> float:
        began = time.perf_counter()
        for advance in engine.advance(keys, [first] * len(keys), steps, lambda key, step: True):
            if advance.error is not None:
                raise advance.error
        return (time.perf_counter() - began) / len(keys)

    timed(0, 1)
    step_s, steps = timed(1, 1), 1
    if (more := min(MOST_STEPS, math.floor(budget_s / step_s))) > 1:
        step_s, steps = timed(2, more) / more, more
    # Forward without backward is about a third of a step.
    evaluation_s = step_s * task.tokens_per_evaluation / task.tokens_per_step / 3
    if evaluated := evaluation_s <= budget_s:
        began = time.perf_counter()
        for split in ("val", "train") if saturates(config) else ("val",):
            engine.evaluate(KEY, split)
        evaluation_s = time.perf_counter() - began
    return Timing(start_s, step_s, steps, evaluation_s, evaluated)

"""Evaluate a checkpoint in bounded time: all parts in their order, then the gates.

A part reads a fixed amount (`[evaluation]`) and is done whole or not at all: when the time
budget runs out, it and those behind it are left out by name. So the same checkpoint gives the
same numbers on the same device, however fast that is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainer.config import RunConfig
from trainer.evaluation import activations, attention, likelihood, memorisation, probe_file, probes
from trainer.evaluation.clock import Clock, OutOfTimeError
from trainer.evaluation.probe_file import ProbeSet
from trainer.evaluation.result import Evaluation, NotApplicableError, Part, Status, judge
from trainer.evaluation.subject import Subject, load
from trainer.out_of_memory import free_cache, let_go, ran_out

Measure = Callable[[Subject], dict[str, Any]]


def evaluate(
    checkpoint: Path, config: RunConfig, *, notify: Callable[[str], None] = lambda line: None
) -> Evaluation:
    """Evaluate a checkpoint; nothing is written.

    Args:
        checkpoint: A `step-…` folder.
        config: What it was trained with; its `evaluation` and `tier` say what is read and how
            it is computed.
        notify: Told a line as each part begins.

    Raises:
        InputError: The checkpoint is damaged, of another architecture or of other data, or the
            probes cannot be read.
    """
    began = time.perf_counter()
    asked = _probes(config)
    subject = load(checkpoint, config)
    rows = probes.encode(
        subject, asked
    )  # what is wrong with them is said before all that takes time
    measures: dict[str, Measure] = {
        "likelihood": likelihood.measure,
        "memorisation": memorisation.measure,
        "probes": lambda subject: probes.measure(subject, asked, rows),
        "activations": activations.measure,
        "attention": attention.measure,
    }
    load_s = time.perf_counter() - began
    clock = Clock(config.evaluation.time_budget_s)
    parts = []
    for name, measure in measures.items():
        notify(f"{name} …")
        parts.append(_part(name, measure, subject, clock))
    tier = subject.config.tier
    return Evaluation(
        {
            "trial_id": subject.trial_id,
            "step": subject.step,
            "model_sha256": subject.model_sha256,
        },
        {"task": config.data.task, "device": tier.device, "precision": tier.precision},
        tuple(parts),
        judge(config.evaluation, tuple(parts)),
        load_s,
    )


def _probes(config: RunConfig) -> ProbeSet | NotApplicableError:
    try:
        return probe_file.chosen(config)
    except NotApplicableError as error:
        return error


@torch.inference_mode()
def _part(name: str, measure: Measure, subject: Subject, clock: Clock) -> Part:
    began = clock.elapsed_s
    try:
        clock.check()
        with clock.watching(subject.model):
            values = measure(subject)
    except OutOfTimeError as error:
        return Part(name, Status.LEFT_OUT, str(error), seconds=clock.elapsed_s - began)
    except NotApplicableError as error:
        return Part(name, Status.NOT_APPLICABLE, str(error))
    except Exception as error:
        if not ran_out(error):
            raise
        let_go(error)
        free_cache(subject.device)
        reason = f"out of memory on the {subject.device} device"
        return Part(name, Status.LEFT_OUT, reason, seconds=clock.elapsed_s - began)
    return Part(name, Status.DONE, values=values, seconds=clock.elapsed_s - began)

"""How each trial of a plan is executed, where nobody has said it; and which fit nowhere here.

The automatic tier chooses for each trial alone, by its predicted memory. It decides nothing that is
learned, so a trial's id does not depend on it.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import replace

from orchestrator.errors import Problem
from orchestrator.fitting import BATCH, best_fit, refusal
from orchestrator.hardware import Hardware
from orchestrator.trial import Trial
from trainer.config import RunConfig, TierConfig
from trainer.footprint.memory import rows_at_once
from trainer.units import GIB

SHOWN = 3
"""Trials that are named where several do not fit."""


def choose(
    trials: Sequence[Trial], hardware: Hardware, own: Collection[str], *, automatic: bool
) -> list[Trial]:
    """Return the trials as they are executed; one that fits nowhere stays as it is.

    Args:
        trials: Under the tier of the machine, or the one that was asked for.
        hardware: What may be used.
        own: Settings of the tier that somebody has set, by name.
        automatic: Whether nobody chose a tier. Of a chosen one only the GPUs are found, where one
            is too small.
    """
    fixed = {*own} if automatic else {*own, "micro_batch", "activation_checkpointing"}
    chosen: dict[Hashable, TierConfig] = {}
    found = []
    for trial in trials:
        shape = _shape(trial.config, trial.vocab_size)
        if shape not in chosen:
            best = best_fit(trial.config, trial.vocab_size, hardware, fixed)
            chosen[shape] = trial.config.tier if best is None else best.tier
        if chosen[shape] != trial.config.tier:
            config = trial.config.model_copy(update={"tier": chosen[shape]})
            trial = replace(trial, config=config)
        found.append(trial)
    return found


def sayings(trials: Sequence[Trial], hardware: Hardware) -> list[str]:
    """Return what was chosen and why, a line a distinct choice."""
    chosen: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        tier = trial.config.tier
        words = [f"micro-batch {rows_at_once(trial.config)}"]
        if tier.device == "cpu" and tier.micro_batch is None:
            words = []
        if tier.activation_checkpointing != "off":
            words.append(f"{tier.activation_checkpointing} recomputation")
        if tier.ranks > 1:
            words.append(f"{tier.ranks} processes")
        chosen.setdefault((tier.name, ", ".join(words)), []).append(trial)
    device = f"{min(hardware.gpus):.0f} GiB a GPU" if hardware.gpus else "no GPU is in use"
    lines = []
    for (name, how), some in chosen.items():
        line = f"tier {name}: {device}"
        if how:
            needs = [trial.memory.total / GIB for trial in some]
            least, most = f"{min(needs):.1f}", f"{max(needs):.1f}"
            predicted = most if least == most else f"{least} to {most}"
            line += f"; {how}, {predicted} GiB predicted"
        if len(chosen) > 1:
            line += f" ({len(some)} of {len(trials)} trials)"
        lines.append(line)
    return lines


def misfits(trials: Iterable[tuple[str, RunConfig, int]], hardware: Hardware) -> list[Problem]:
    """Return why trials do not fit in the memory here, once a shape.

    Args:
        trials: Id, run config and input symbols.
        hardware: What may be used.
    """
    shapes: dict[Hashable, tuple[RunConfig, int, list[str]]] = {}
    for trial_id, config, vocab_size in trials:
        known = shapes.setdefault(_shape(config, vocab_size), (config, vocab_size, []))
        known[2].append(trial_id)
    problems = [
        refusal(_named(ids), config, vocab_size, hardware)
        for config, vocab_size, ids in shapes.values()
    ]
    return [problem for problem in problems if problem is not None]


def _shape(config: RunConfig, vocab_size: int) -> Hashable:
    """Return what a trial's memory depends on."""
    batch = tuple(getattr(config.training, key) for key in BATCH)
    return config.model, config.data, batch, config.tier, vocab_size


def _named(ids: Sequence[str]) -> str:
    if len(ids) == 1:
        return f"trial {ids[0]}"
    more = ", …" if len(ids) > SHOWN else ""
    return f"{len(ids)} trials ({', '.join(ids[:SHOWN])}{more})"

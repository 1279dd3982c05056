"""What the shapes of a plan need under each tier for GPUs, on a card of its class.

It depends on no hardware: a plan made anywhere says what to rent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.fitting import MOST_GPUS, best_fit, gpu_share, memory_of, on_cards
from orchestrator.hardware import Hardware
from orchestrator.tier_question import named_tier
from orchestrator.trial import Trial
from trainer.footprint.memory import rows_at_once
from trainer.units import GIB

CARDS = {"low_vram": 6.0, "high_vram": 24.0, "datacenter": 80.0}
"""GiB of the card that stands for a tier."""


@dataclass(frozen=True)
class Need:
    """What one shape needs under one tier.

    Args:
        tier: Its name.
        card_gib: Memory of a card.
        memory_gib: Of each process.
        gpus: Share of a card, or whole cards; None: more than `MOST_GPUS`.
        automatic: What the automatic tier would do on such a card; empty where nothing fits, or
            where it is no better.
    """

    tier: str
    card_gib: float
    memory_gib: float
    gpus: float | None
    automatic: str = ""


@dataclass(frozen=True)
class Shape:
    """Trials that need the same.

    Args:
        values: Axis to value, of the axes in which shapes differ.
        trials: How many there are.
        parameters: Trained parameters.
        needs: One a tier, in the order of `CARDS`.
    """

    values: dict[str, Any]
    trials: int
    parameters: int
    needs: tuple[Need, ...]


def shapes_of(trials: Sequence[Trial]) -> list[Shape]:
    """Return the shapes of a plan, in its order."""
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        training = trial.config.training
        key = trial.config.model, trial.config.data, training.batch_size, training.seq_len
        groups.setdefault(key, []).append(trial)
    axes = [
        key
        for key in trials[0].changed
        if all(len({repr(t.changed.get(key)) for t in some}) == 1 for some in groups.values())
        and len({repr(some[0].changed.get(key)) for some in groups.values()}) > 1
    ]
    return [
        Shape(
            {key: some[0].changed.get(key) for key in axes},
            len(some),
            some[0].parameters,
            tuple(_need(some[0], tier, card_gib) for tier, card_gib in CARDS.items()),
        )
        for some in groups.values()
    ]


def gpus_shown(gpus: float) -> str:
    """Return a share of a GPU, or a number of them, as a person writes it."""
    return f"1/{1 / gpus:.0f}" if gpus < 1 else f"{gpus:.0f}"


def _need(trial: Trial, tier: str, card_gib: float) -> Need:
    config = trial.config.model_copy(update={"tier": named_tier(tier)})
    found = on_cards(config, trial.vocab_size, card_gib)
    if found is not None:
        memory, gpus = found
        if gpus <= 1:
            return Need(tier, card_gib, memory.total / GIB, gpus)
    else:
        memory, gpus = memory_of(config, trial.vocab_size), None
    cards = Hardware(cpus=1, gpus=(card_gib,) * MOST_GPUS)
    best = best_fit(config, trial.vocab_size, cards)
    automatic = ""
    if best is not None:
        share = gpu_share(best, trial.vocab_size, card_gib)
        automatic = (
            f"micro-batch {rows_at_once(best)}, recomputation"
            f" {best.tier.activation_checkpointing}: {memory_of(best, trial.vocab_size).total / GIB:.1f}"
            f" GiB, {gpus_shown(share)} GPU{'s' if share > 1 else ''}"
        )
    return Need(tier, card_gib, memory.total / GIB, gpus, automatic)

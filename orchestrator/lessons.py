"""What a sweep learned about memory: which tier the next trials of a shape had better begin with.

A trial that runs out of memory steps down to a lower tier (`trainer.ladder`), and the ledger keeps
that tier in its config beside the event. Whoever comes later with the same shape, or a larger one,
begins there. A smaller shape may fit as it is, so that nothing follows for it.

A person who changes the tier of a sweep knows something new: what was learned before is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.ledger import Ledger
from trainer.config import DecoderConfig, RunConfig, TierConfig
from trainer.identity import fingerprint
from trainer.ladder import as_low_as, in_words
from trainer.tasks import tokens_per_step

STEPPED_DOWN, LEARNED, REVISED = "stepped_down", "learned", "revised"
"""Kinds of events: a trial ran out of memory; one begins lower for it; a person changed settings."""

SIZES = ("dim", "n_layers", "n_heads", "inner_dim")
NO_SIZE_OF_MEMORY = ("name", "rope_theta", "ffn_dim")


@dataclass(frozen=True)
class Shape:
    """What decides how much memory a run needs, its tier's place on the ladder left out.

    Args:
        kind: Hash of what is either the same or not to be compared: the kind of model and its
            parts, the data, the device, the precision.
        sizes: Width, layers, heads, inner width, tokens a sequence, sequences of the effective
            batch; more of any needs no less memory.
    """

    kind: str
    sizes: tuple[int, ...]

    def reaches(self, other: Shape) -> bool:
        """Return whether it is the same as another, or larger."""
        pairs = zip(self.sizes, other.sizes, strict=False)
        return self.kind == other.kind and all(own >= its for own, its in pairs)


def shape_of(config: RunConfig) -> Shape:
    """Return the shape of a run."""
    left_out = {*SIZES, *NO_SIZE_OF_MEMORY}
    kind = {
        "model": config.model.model_dump(exclude=left_out),
        "data": config.data.model_dump(),
        "tier": config.tier.model_dump(include={"device", "precision", "gpus", "workers"}),
    }
    sizes = [config.model.dim]
    if isinstance(config.model, DecoderConfig):
        sizes = [getattr(config.model, size) for size in SIZES]
    return Shape(fingerprint(kind), (*sizes, config.seq_len, batch_size(config)))


def batch_size(config: RunConfig) -> int:
    """Return the effective batch in sequences, also where it is the whole train split."""
    return max(1, tokens_per_step(config) // config.seq_len)


@dataclass(frozen=True)
class Lesson:
    """The tier that a trial was left with after it ran out of memory."""

    trial_id: str
    shape: Shape
    tier: TierConfig


class Lessons:
    """What the trials of a sweep have learned. One process adds to it, the ledger's writer.

    Args:
        ledger: What was learned before.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._lessons: dict[str, Lesson] = {}
        for trial_id in lowered(ledger, (STEPPED_DOWN,)):
            self.add(trial_id, RunConfig.model_validate(ledger.trial(trial_id).config))

    def add(self, trial_id: str, config: RunConfig) -> None:
        """Take the config that a trial goes on with after it stepped down."""
        self._lessons[trial_id] = Lesson(trial_id, shape_of(config), config.tier)

    def apply(self, config: RunConfig) -> tuple[RunConfig, str]:
        """Return the config to begin with, and a sentence where it is another."""
        if not self._lessons:
            return config, ""
        shape, batch, tier, teacher = shape_of(config), batch_size(config), config.tier, ""
        for lesson in self._lessons.values():
            lower = as_low_as(tier, lesson.tier, batch)
            if lower != tier and shape.reaches(lesson.shape):
                tier, teacher = lower, lesson.trial_id
        if not teacher:
            return config, ""
        change = in_words(config.tier, tier, batch)
        sentence = f"begins with {change}, learned from trial {teacher}"
        return config.model_copy(update={"tier": tier}), sentence


def lowered(ledger: Ledger, kinds: tuple[str, ...] = (STEPPED_DOWN, LEARNED)) -> list[str]:
    """Return the trials whose tier was lowered since a person last changed the tier."""
    found: dict[str, None] = {}
    for event in ledger.events(kinds=(*kinds, REVISED)):
        if event.kind != REVISED:
            found[str(event.trial_id)] = None
        elif any(line.startswith("tier.") for line in event.detail.split("; ")):
            found.clear()
    return list(found)


def with_lowered_tiers(ledger: Ledger, wanted: Mapping[str, RunConfig]) -> dict[str, RunConfig]:
    """Return configs with the tiers that their trials were lowered to.

    Args:
        ledger: Where the trials are.
        wanted: Trial id to the config that a plan has for it. A plan that asks for another tier
            than the one the trial came down from keeps what it asks for.
    """
    kept = dict(wanted)
    for trial_id in lowered(ledger):
        if trial_id in kept:
            config = kept[trial_id]
            tier = TierConfig.model_validate(ledger.trial(trial_id).config["tier"])
            if as_low_as(config.tier, tier, batch_size(config)) == tier:
                kept[trial_id] = config.model_copy(update={"tier": tier})
    return kept

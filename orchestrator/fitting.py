"""Whether a trial fits in a machine's memory, and how it is executed fastest there.

All rests on `trainer.footprint.peak_memory`. The automatic tier looks through the executions that
learn the same (micro-batch, recomputation, number of GPUs) and takes the fastest that fits; what
somebody has set stays. `gpu_share` says what a trial gets of a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from orchestrator.errors import Problem
from orchestrator.hardware import Hardware
from orchestrator.ledger import TrialRecord
from trainer.config import DecoderConfig, RunConfig, TierConfig, TrainingConfig
from trainer.footprint import Memory, peak_memory, step_flops
from trainer.footprint.memory import effective_batch, rows_at_once
from trainer.footprint.parameters import vocabulary_of
from trainer.units import GIB

PLACE = "automatic, by predicted memory"
"""Where a setting came from that nobody gave."""

SHARES = (1 / 8, 1 / 4, 1 / 3, 1 / 2, 1.0)
"""What a trial can have of one GPU."""

SATURATING_TOKENS = 4096
"""Tokens a pass below which a GPU waits for launches (80 layers, 1024 wide: 4 to 8 thousand)."""
COST = {"off": 1.0, "selective": 1.1, "full": 4 / 3}
"""Time of a step in that of one where nothing is computed again."""
GPU_FLOPS, LAYER_S = 1e14, 5e-4
"""Operations a second of a current GPU; seconds to launch the kernels of a layer."""
BATCH = ("batch_size", "seq_len", "eval_tokens")
"""Settings of the training that memory depends on."""
MOST_GPUS = 8
"""GPUs of one machine that are thought of where there are none."""


@lru_cache(maxsize=4096)
def _memory(
    model: Any, data: Any, batch: tuple[Any, ...], tier: TierConfig, vocab_size: int, members: int
) -> Memory:
    training = TrainingConfig.model_construct(**dict(zip(BATCH, batch, strict=True)))
    config = RunConfig.model_construct(model=model, data=data, training=training, tier=tier)
    return peak_memory(config, vocab_size, members)


def memory_of(config: RunConfig, vocab_size: int, members: int = 1) -> Memory:
    """Return the predicted memory of each process of a trial; one shape is looked at once.

    Args:
        config: Of the trial.
        vocab_size: Input symbols.
        members: Trials of its shape that share the process.
    """
    batch = tuple(getattr(config.training, key) for key in BATCH)
    return _memory(config.model, config.data, batch, config.tier, vocab_size, members)


def config_of(record: TrialRecord) -> tuple[RunConfig, int] | None:
    """Return what a record's memory depends on, and its input symbols; None where it has no size."""
    if not record.parameters:
        return None
    training = record.config["training"]
    batch = {key: training[key] for key in BATCH if key in training}
    parts = {key: record.config[key] for key in ("model", "data", "tier") if key in record.config}
    config = _parsed(json.dumps(parts | {"training": batch}))
    return config, vocabulary_of(config, record.parameters)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> RunConfig:
    return RunConfig.model_validate(json.loads(text))


def room(tier: TierConfig, hardware: Hardware) -> float | None:
    """Return the bytes of a device that a process may use; None where they are not known."""
    if tier.device == "cpu":
        known, processes = hardware.memory_gib, tier.workers
    else:
        known, processes = min(hardware.gpus, default=0.0), 1
    if not known:
        return None
    share = min(1.0, tier.gpus or 1.0) if tier.device == "cuda" else 1 / processes
    return known * GIB * share


def fits(config: RunConfig, vocab_size: int, hardware: Hardware) -> bool:
    """Return whether a trial fits on the machine's smallest device, as far as that is known."""
    available = room(config.tier, hardware)
    return available is None or memory_of(config, vocab_size).total <= available


def gpu_share(config: RunConfig, vocab_size: int, memory_gib: float) -> float:
    """Return what a trial gets of a GPU, or how many whole ones: what its tier says, else by need.

    A share is large enough for the memory, and for the time in which the trial keeps the GPU busy:
    trials that compute all the time gain nothing beside each other.

    Args:
        config: Of a trial on GPUs.
        vocab_size: Input symbols.
        memory_gib: Of the smallest GPU in use.
    """
    if config.tier.gpus is not None:
        return config.tier.gpus
    if not memory_gib:
        return 1.0
    need = max(memory_of(config, vocab_size).total / (memory_gib * GIB), _busy(config, vocab_size))
    return next((share for share in SHARES if share >= need), 1.0)


def best_fit(
    config: RunConfig, vocab_size: int, hardware: Hardware, fixed: Collection[str] = ()
) -> RunConfig | None:
    """Return a trial as it is executed fastest among what fits and learns the same.

    Args:
        config: Of the trial; its tier's other settings stay.
        vocab_size: Input symbols.
        hardware: What may be used.
        fixed: Settings of the tier, by name, that stay as they are.
    """
    for several in _gpus(config.tier, hardware, fixed):
        tiers = _executions(config, several, fixed)
        tried = [config.model_copy(update={"tier": tier}) for tier in tiers]
        for one in sorted(tried, key=_relative_time):
            if fits(one, vocab_size, hardware):
                return one
    return None


def refusal(what: str, config: RunConfig, vocab_size: int, hardware: Hardware) -> Problem | None:
    """Return why a trial does not fit in the memory here, with the nearest setting that would.

    Args:
        what: The trial, as a person knows it.
        config: Of it.
        vocab_size: Input symbols.
        hardware: What may be used.
    """
    if fits(config, vocab_size, hardware):
        return None
    tier, available = config.tier, room(config.tier, hardware)
    assert available is not None
    device = "of memory" if tier.device == "cpu" else "of a GPU"
    if tier.device == "cuda" and tier.gpus is not None and tier.gpus < 1:
        device = f"of tier.gpus {tier.gpus:g}"
    message = (
        f"{what}: tier {tier.name} is predicted to need {memory_of(config, vocab_size)}"
        f" with micro-batch {rows_at_once(config)}, expected at most {available / GIB:.1f} GiB"
        f" {device}"
    )
    return Problem(message, "", _hint(config, vocab_size, hardware))


def on_cards(config: RunConfig, vocab_size: int, memory_gib: float) -> tuple[Memory, float] | None:
    """Return the memory and the GPUs a trial needs on cards of one size; None: it fits on none.

    Args:
        config: With a tier for such cards; `tier.gpus` does not matter.
        vocab_size: Input symbols.
        memory_gib: Of a card.
    """
    cards = Hardware(cpus=1, gpus=(memory_gib,) * MOST_GPUS)
    for several in (None, 2, 4, 8):
        tier = config.tier.model_copy(update={"gpus": several})
        tried = config.model_copy(update={"tier": tier})
        if fits(tried, vocab_size, cards):
            return memory_of(tried, vocab_size), gpu_share(tried, vocab_size, memory_gib)
    return None


def _hint(config: RunConfig, vocab_size: int, hardware: Hardware) -> str:
    """Return the smallest change of the tier with which the trial would fit."""
    for fixed in (
        ("activation_checkpointing", "gpus"),
        ("micro_batch", "gpus"),
        ("gpus",),
        ("micro_batch", "activation_checkpointing"),
        (),
    ):
        found = best_fit(config, vocab_size, hardware, fixed)
        if found is not None:
            return " ".join(_changed(config.tier, found.tier))
    smallest = config.tier.model_copy(update={"micro_batch": 1, "activation_checkpointing": "full"})
    least = memory_of(config.model_copy(update={"tier": smallest}), vocab_size).total / GIB
    return f"no setting of the tier fits here (the least is {least:.1f} GiB): a smaller model"


def _changed(before: TierConfig, after: TierConfig) -> Iterator[str]:
    for name in ("micro_batch", "activation_checkpointing", "gpus"):
        value = getattr(after, name)
        if value != getattr(before, name):
            yield f"tier.{name}={value:g}" if name == "gpus" else f"tier.{name}={value}"


def _gpus(tier: TierConfig, hardware: Hardware, fixed: Collection[str]) -> Iterator[float | None]:
    """Yield the GPUs that a trial may have, the fewest first; None is a share of one."""
    if tier.device == "cpu" or "gpus" in fixed:
        yield tier.gpus
        return
    yield None
    most = len(hardware.gpus) if hardware.largest_node is None else hardware.largest_node[1]
    yield from map(float, range(2, most + 1))


def _executions(
    config: RunConfig, gpus: float | None, fixed: Collection[str]
) -> Iterator[TierConfig]:
    """Yield the executions on so many GPUs: less computed again first, then more at once."""
    tier = config.tier.model_copy(update={"gpus": gpus})
    batch = -(-effective_batch(config) // tier.ranks)
    whole: tuple[int | None, ...] = (None,) if tier.device == "cpu" else (batch,)
    micro_batches = (
        (tier.micro_batch,)
        if "micro_batch" in fixed
        else (*whole, *(n for n in _divisors(batch) if n < batch))
    )
    again = (tier.activation_checkpointing,) if "activation_checkpointing" in fixed else (*COST,)
    if not isinstance(config.model, DecoderConfig):
        again = (tier.activation_checkpointing,)
    for recompute in again:
        for micro_batch in micro_batches:
            yield tier.model_copy(
                update={"micro_batch": micro_batch, "activation_checkpointing": recompute}
            )


def _divisors(n: int) -> list[int]:
    """Return the divisors of a batch, the largest first."""
    small = [k for k in range(1, int(n**0.5) + 1) if n % k == 0]
    return sorted({*small, *(n // k for k in small)}, reverse=True)


def _relative_time(config: RunConfig) -> float:
    """Return a step's time in that of the fastest execution on the same devices."""
    cost = COST[config.tier.activation_checkpointing]
    if config.tier.device == "cpu":
        return cost
    return cost * max(1.0, SATURATING_TOKENS / (rows_at_once(config) * config.seq_len))


def _busy(config: RunConfig, vocab_size: int) -> float:
    """Return the share of the time in which a trial keeps a GPU computing."""
    layers = config.model.n_layers if isinstance(config.model, DecoderConfig) else 1
    tokens = rows_at_once(config) * config.seq_len
    computing_s = step_flops(config, vocab_size, tokens) / GPU_FLOPS
    return computing_s / (computing_s + layers * LAYER_S)

"""The tiers below a tier."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from trainer.config import TierConfig
from trainer.ladder import RECOMPUTATION, as_low_as, in_words, next_lower, rows_a_pass

TIERS = [
    TierConfig(
        name="low", device="cuda", precision="fp16", micro_batch=micro,
        activation_checkpointing=recomputed, attention=attention, gpus=gpus,
    )
    for micro, recomputed, attention, gpus in itertools.product(
        (None, 1, 2, 3, 16, 40), RECOMPUTATION, ("auto", "flash", "efficient", "math"), (None, 3.0)
    )
]  # fmt: skip
BATCHES = (1, 2, 3, 5, 16, 31, 32)


def down(tier: TierConfig, batch: int) -> Iterator[TierConfig]:
    lower: TierConfig | None = tier
    while lower is not None:
        yield lower
        lower = next_lower(lower, batch)


def need(tier: TierConfig, batch: int) -> tuple[int, int, int]:
    """What a tier holds: sequences, activations of them, attention matrices."""
    kept = len(RECOMPUTATION) - RECOMPUTATION.index(tier.activation_checkpointing)
    return rows_a_pass(tier, batch), kept, int(tier.attention == "math")


@pytest.mark.parametrize("batch", BATCHES)
def test_each_step_needs_less_and_the_last_one_the_least(batch: int) -> None:
    for tier in TIERS:
        ladder = list(down(tier, batch))
        assert len(ladder) <= batch.bit_length() + 3
        for above, below in itertools.pairwise(ladder):
            high, low = need(above, batch), need(below, batch)
            assert low < high and all(a >= b for a, b in zip(high, low, strict=True))
        assert need(ladder[-1], batch) == (1, 1, 0)


def test_nothing_else_is_changed() -> None:
    rungs = {"micro_batch", "activation_checkpointing", "attention"}
    for tier, batch in itertools.product(TIERS, BATCHES):
        for lower in down(tier, batch):
            assert lower.model_dump(exclude=rungs) == tier.model_dump(exclude=rungs)
            assert TierConfig.model_validate(lower.model_dump()) == lower


def test_the_micro_batch_is_halved_from_what_a_process_holds() -> None:
    whole = TierConfig()
    assert [rows_a_pass(tier, 12) for tier in down(whole, 12)][:4] == [12, 6, 3, 1]
    assert [tier.activation_checkpointing for tier in down(whole, 12)][3:] == ["off", "full"]
    two = TierConfig(workers=2)
    assert [rows_a_pass(tier, 12) for tier in down(two, 12)][:3] == [6, 3, 1]
    assert rows_a_pass(TierConfig(micro_batch=16), 12) == 12


def test_a_tier_is_lowered_to_one_that_is_known_and_never_raised() -> None:
    for tier, batch in itertools.product(TIERS, (1, 5, 32)):
        before = need(tier, batch)
        for known in TIERS:
            lower = as_low_as(tier, known, batch)
            rows, kept, matrices = need(lower, batch)
            assert rows == min(before[0], known.micro_batch or before[0])
            assert (kept, matrices) == tuple(map(min, before[1:], need(known, batch)[1:]))
        for lower in down(tier, batch):
            assert as_low_as(tier, lower, batch) == lower
            assert as_low_as(lower, tier, batch) == lower


def test_what_is_lower_is_told() -> None:
    high, low = TierConfig(micro_batch=8, attention="math"), TierConfig(micro_batch=4)
    assert in_words(high, low, 16) == "micro-batch 8 → 4, attention math → auto"
    full = TierConfig(micro_batch=4, activation_checkpointing="full")
    assert in_words(low, full, 16) == "activation checkpointing off → full"
    assert in_words(TierConfig(), low, 16) == "micro-batch 16 → 4"

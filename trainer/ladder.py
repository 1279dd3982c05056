"""What a run does with less memory: the tiers below a tier, one step after the other.

First the micro-batch is halved down to one sequence a pass; the effective batch stays, so more
passes are accumulated. Then comes what the tier for small GPUs (`low_vram`) has beyond that: each
block's activations are computed again in the backward pass, and no attention matrix is kept.
Precision stays: in 16 bits bf16 and fp16 need the same, and fp32 was chosen for what is learned.
Nothing here imports torch.
"""

from __future__ import annotations

from trainer.config import TierConfig

RECOMPUTATION = ("off", "selective", "full")
"""`tier.activation_checkpointing`, each needing less memory than the one before."""


def rows_a_pass(tier: TierConfig, batch_size: int) -> int:
    """Return the sequences that one process holds at once.

    Args:
        tier: How the run is executed.
        batch_size: Effective batch in sequences, from 1; the tier's processes divide it.
    """
    share = -(-batch_size // tier.ranks)
    return share if tier.micro_batch is None else min(tier.micro_batch, share)


def next_lower(tier: TierConfig, batch_size: int) -> TierConfig | None:
    """Return the tier that needs the next less memory, or None where no tier needs less.

    Args:
        tier: How the run was executed when memory ran out.
        batch_size: Effective batch in sequences, from 1; it is kept.
    """
    rows = rows_a_pass(tier, batch_size)
    if rows > 1:
        return tier.model_copy(update={"micro_batch": rows // 2})
    if tier.activation_checkpointing != RECOMPUTATION[-1]:
        return tier.model_copy(update={"activation_checkpointing": RECOMPUTATION[-1]})
    if tier.attention == "math":
        return tier.model_copy(update={"attention": "auto"})
    return None


def as_low_as(tier: TierConfig, known: TierConfig, batch_size: int) -> TierConfig:
    """Return `tier`, lowered where it needs more memory than a tier that is known to fit.

    Args:
        tier: How a run would be executed.
        known: The tier that fits.
        batch_size: Effective batch of the run in sequences, from 1; it is kept.
    """
    lower: dict[str, object] = {}
    if known.micro_batch is not None and known.micro_batch < rows_a_pass(tier, batch_size):
        lower["micro_batch"] = known.micro_batch
    own, other = (RECOMPUTATION.index(t.activation_checkpointing) for t in (tier, known))
    if other > own:
        lower["activation_checkpointing"] = known.activation_checkpointing
    if tier.attention == "math" and known.attention != "math":
        lower["attention"] = known.attention
    return tier.model_copy(update=lower) if lower else tier


def in_words(before: TierConfig, after: TierConfig, batch_size: int) -> str:
    """Return what is lower: `micro-batch 8 → 4, activation checkpointing off → full`."""

    def facts(tier: TierConfig) -> dict[str, str]:
        return {
            "micro-batch": str(rows_a_pass(tier, batch_size)),
            "activation checkpointing": tier.activation_checkpointing,
            "attention": tier.attention,
        }

    old, new = facts(before), facts(after)
    return ", ".join(f"{name} {old[name]} → {new[name]}" for name in old if old[name] != new[name])

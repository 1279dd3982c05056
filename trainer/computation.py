"""How a run is computed on its device, with the reason for each choice. Read `Computation`.

A tier says what is wanted; here is what is done: which attention kernel takes this precision and
this model, what is computed again in the backward pass, what is compiled. None of it decides what
is learned.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields
from functools import cache

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainer.config import DecoderConfig, RunConfig, TierConfig
from trainer.footprint import step_flops
from trainer.footprint.memory import LAUNCH_BOUND_TOKENS

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
"""Attention kernels by the word of `tier.attention`, in the order in which they stand in."""

HEADS = {"flash": "Flash attention kernel", "efficient": "Memory efficient kernel", "math": "Math"}
"""How torch begins what it says of a kernel that it does not use; the reason comes next."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

GPU_FLOPS = 1e14
"""Operations a second that a run gets of a current GPU, in order of magnitude."""
EAGER_LAYER_S = 5e-4
"""Seconds to launch a layer's kernels, forward and backward: about 75 of 7 microseconds."""
WORTH_COMPILING_S = 600.0
"""Seconds of eager training from which on about a minute of compiling is repaid several times."""
WORTH_CAPTURING_STEPS = 50


@dataclass(frozen=True)
class Choice:
    """What is done, and why; no reason where it was simply asked for."""

    value: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.why})" if self.why else self.value


@dataclass(frozen=True)
class Computation:
    """What is done for one run, one choice a field; the names are those a person reads.

    Args:
        attention: A key of `KERNELS`.
        recomputation: `off`, `selective` or `full`.
        compilation: `on` or `off`: torch.compile, each block of the model alone.
        cuda_graphs: `on` or `off`: a pass over a micro-batch is recorded once and replayed.
        tf32: `on` or `off`: fp32 products in TF32.
    """

    attention: Choice
    recomputation: Choice
    compilation: Choice
    cuda_graphs: Choice
    tf32: Choice

    @property
    def compiled(self) -> bool:
        """Whether the blocks of the model are compiled."""
        return self.compilation.value == "on"

    @property
    def graphed(self) -> bool:
        """Whether a pass is recorded as a CUDA graph."""
        return self.cuda_graphs.value == "on"

    def __str__(self) -> str:
        said = (
            f"{field.name.replace('_', ' ')} {getattr(self, field.name)}" for field in fields(self)
        )
        return "; ".join(said)


def computation_of(config: RunConfig, vocab_size: int, tokens_per_step: int) -> Computation | None:
    """Return how a run is computed on this machine; None for a model that leaves no choice.

    Args:
        config: The run config; its device is there.
        vocab_size: Input symbols, from the task.
        tokens_per_step: Tokens of the effective batch, from the task.
    """
    model, tier = config.model, config.tier
    if not isinstance(model, DecoderConfig):
        return None
    tokens = tokens_per_step
    if tier.micro_batch is not None:
        tokens = min(tokens, tier.micro_batch * config.seq_len)
    steps = config.training.steps
    launches_s = math.ceil(tokens_per_step / tokens) * model.n_layers * EAGER_LAYER_S
    computing_s = step_flops(config, vocab_size, tokens_per_step) / GPU_FLOPS
    return Computation(
        attention_kernel(
            tier.device, tier.precision, model.dim // model.n_heads, model.dropout, tier.attention
        ),
        Choice(tier.activation_checkpointing),
        _compilation(tier, steps * max(computing_s, launches_s)),
        _cuda_graphs(tier, model.dropout, tokens, steps),
        _tf32(tier),
    )


@cache
def attention_kernel(
    device: str, precision: str, head_dim: int, dropout: float, asked: str
) -> Choice:
    """Return the kernel of scaled dot-product attention: the one asked for, where it takes this.

    Args:
        device: "cpu" or "cuda".
        precision: A key of `DTYPES`.
        head_dim: Width of a head.
        dropout: Share of the attention weights that is dropped.
        asked: `tier.attention`; `auto` is what torch chooses.
    """
    q = torch.zeros(1, 1, 16, head_dim, dtype=DTYPES[precision], device=device, requires_grad=True)
    if asked == "auto":
        number = torch._fused_sdp_choice(q, q, q, None, dropout, True)
        return Choice(SDPBackend(number).name.removesuffix("_ATTENTION").lower(), "torch's choice")
    refused = ""
    for name in (asked, *KERNELS):
        if not (why := _refusal(name, q, dropout)):
            return Choice(name, refused)
        refused = refused or f"not {asked}: {why}"
    raise AssertionError("the math kernel takes everything")


def _refusal(name: str, q: torch.Tensor, dropout: float) -> str:
    """Return why a kernel does not take q (1, head, time, head_dim); "" where it does."""
    if name == "flash" and q.device.type == "cuda" and q.dtype is torch.float32:
        return "it takes bf16 and fp16, not fp32"
    if name == "efficient" and q.device.type == "cpu":
        return "a CPU has none"
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            with sdpa_kernel(KERNELS[name]):
                F.scaled_dot_product_attention(q, q, q, is_causal=True, dropout_p=dropout)
        except RuntimeError as error:
            said = [str(warning.message).partition(" (Triggered")[0] for warning in warned]
            heads = [n for n, text in enumerate(said) if text.startswith(HEADS[name])]
            reason = said[heads[0] + 1] if heads and heads[0] + 1 < len(said) else str(error)
            return reason.partition(". ")[0].rstrip(".")
    return ""


def _compilation(tier: TierConfig, eager_s: float) -> Choice:
    if tier.compile == "off":
        return Choice("off")
    if tier.ranks > 1:
        return Choice("off", f"{tier.ranks} processes train one model")
    if tier.compile == "on":
        return Choice("on")
    if tier.device == "cpu":
        return Choice("off", "on a CPU it takes 10 to 20 s and gains a tenth at most")
    if eager_s < WORTH_COMPILING_S:
        return Choice("off", f"about {eager_s:.0f} s of training do not repay a minute of it")
    return Choice("on", f"about {eager_s / 3600:.1f} h of training")


def _cuda_graphs(tier: TierConfig, dropout: float, tokens: int, steps: int) -> Choice:
    if tier.device == "cpu":
        return Choice("off", "no GPU")
    if tier.compile == "off":
        return Choice("off", "compile is off")
    if tier.ranks > 1:
        return Choice("off", f"{tier.ranks} processes train one model")
    if dropout:
        return Choice("off", "dropout draws anew in each pass")
    if tier.compile == "on":
        return Choice("on")
    if steps < WORTH_CAPTURING_STEPS:
        return Choice("off", f"{steps} steps")
    if tokens > LAUNCH_BOUND_TOKENS:
        return Choice("off", f"{tokens:,} tokens a pass keep the GPU busy")
    return Choice("on", f"{tokens:,} tokens a pass: the GPU waits for launches")


def _tf32(tier: TierConfig) -> Choice:
    if tier.tf32 and tier.device == "cpu":
        return Choice("off", "no GPU")
    return Choice("on" if tier.tf32 else "off")


def with_kernel(config: RunConfig, computation: Computation | None) -> RunConfig:
    """Return the config with the attention kernel that is used, where it is not the one asked for."""
    if computation is None or config.tier.attention in ("auto", computation.attention.value):
        return config
    tier = config.tier.model_copy(update={"attention": computation.attention.value})
    return config.model_copy(update={"tier": tier})

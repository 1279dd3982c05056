"""What the forward pass of a decoder keeps for its backward pass, operation by operation.

Sizes are bytes of one process's share of a micro-batch. "Narrow" is the type that autocast computes
in (2 bytes for bf16 and fp16, 4 for fp32); the residual stream, the norms and the loss are fp32.
`trainer.footprint.probe` measures the same from the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.config import DecoderConfig, TierConfig

WIDE = 4
"""Bytes of an fp32 number."""
POST = ("postnorm", "deepnorm")
"""Arrangements that normalise after a block."""


@dataclass(frozen=True)
class Pass:
    """The size of what goes through a decoder at once.

    Args:
        model: The decoder.
        tier: How it is executed.
        rows: Sequences, at least 1.
        seq_len: Tokens each.
    """

    model: DecoderConfig
    tier: TierConfig
    rows: int
    seq_len: int

    @property
    def tokens(self) -> int:
        """All tokens of the pass."""
        return self.rows * self.seq_len

    @property
    def stream(self) -> int:
        """The residual stream, (rows, time, dim) in fp32."""
        return WIDE * self.tokens * self.model.dim

    @property
    def narrow(self) -> int:
        """Bytes of a number that products are computed in."""
        return WIDE if self.tier.precision == "fp32" else 2

    @property
    def casts(self) -> bool:
        """Whether inputs and weights of products are cast for them."""
        return self.narrow < WIDE

    @property
    def hidden(self) -> int:
        """(rows, time, dim), as products read and write it."""
        return self.narrow * self.tokens * self.model.dim

    @property
    def inner(self) -> int:
        """(rows, time, inner_dim), as products read and write it."""
        return self.narrow * self.tokens * self.model.inner_dim


def kernel_of(model: DecoderConfig, tier: TierConfig) -> str:
    """Return how attention is computed: `flash` and `efficient` keep no scores, `math` does.

    Torch chooses where `tier.attention` is auto: flash takes bf16 and fp16 on a GPU, the efficient
    kernel also fp32; a CPU's flash kernel has no dropout.
    """
    if tier.device == "cpu":
        return "math" if model.dropout > 0 or tier.attention == "math" else "flash"
    if tier.attention != "auto":
        return tier.attention
    return "efficient" if tier.precision == "fp32" else "flash"


def block_parameters(model: DecoderConfig) -> tuple[int, int]:
    """Return the parameters of a block's matrices: attention, feed-forward."""
    matrices = 3 if model.ffn == "swiglu" else 2
    return 4 * model.dim**2, matrices * model.dim * model.inner_dim


def block(size: Pass) -> int:
    """Return what one block keeps where nothing is computed again."""
    model = size.model
    total = _attention(size) + _feed_forward(size) + 2 * _norm(size)
    if model.norm_type != "none":
        total += 2 * size.stream  # what the norms read
    total += (3 + _ups(size)) * size.hidden if size.casts else 2 * size.stream  # what products read
    if model.dropout:
        total += 2 * _mask(size, size.hidden)
    return total + weight_copies(size)


def kept(size: Pass) -> int:
    """Return what one block keeps under the tier's activation checkpointing."""
    how = size.tier.activation_checkpointing
    if how == "off":
        return block(size)
    if how == "full":
        return size.stream
    return size.stream + _results(size)


def weight_copies(size: Pass) -> int:
    """Return the matrices of one block as products read them, where that is not fp32."""
    return size.narrow * sum(block_parameters(size.model)) if size.casts else 0


def ends(size: Pass, vocab_size: int) -> int:
    """Return what the embedding and the read-out keep, logits left out."""
    model = size.model
    total = size.hidden if size.casts else size.stream  # what the read-out reads
    if size.casts:
        total += size.narrow * vocab_size * model.dim
    if model.norm_type in ("rmsnorm", "layernorm"):
        total += size.stream + _norm(size)
    if model.dropout:
        total += _mask(size, size.stream)
    return total


def recomputed(size: Pass) -> int:
    """Return what computing a block again adds to what it kept, which it takes up."""
    counted = size.model.norm_type in ("rmsnorm", "layernorm") or not size.casts
    added = block(size) - (size.stream if counted else 0)
    if size.model.norm_type in POST:
        added -= size.stream  # the last norm's input is free before the widest gradients are there
    if size.tier.activation_checkpointing == "selective":
        added -= _results(size)
    return added


def gradients_on_their_way(size: Pass) -> int:
    """Return what the backward pass of one block needs beside: twice the inner layer."""
    return 2 * size.inner


def _results(size: Pass) -> int:
    """Return the results of a block's products and of attention."""
    products = 5 * size.hidden + _ups(size) * size.inner  # query, key, value, out, down
    if kernel_of(size.model, size.tier) != "math":
        return products + _attention_output(size)
    return products + _scores(size) + size.stream


def _ups(size: Pass) -> int:
    """Return the products that lead into the inner layer."""
    return 2 if size.model.ffn == "swiglu" else 1


def _scores(size: Pass) -> int:
    """Return (rows, heads, time, time) in fp32."""
    return WIDE * size.rows * size.model.n_heads * size.seq_len**2


def _attention(size: Pass) -> int:
    """Return what rotation, the kernel and the output's product keep."""
    model = size.model
    head_dim = model.dim // model.n_heads
    total = 0
    if size.casts and model.position == "rope":
        total += 4 * size.narrow * size.seq_len * head_dim  # sines and cosines of query and key
    if kernel_of(model, size.tier) != "math":
        return total + 3 * size.hidden + _attention_output(size)
    arrays = 3 if model.dropout else 1  # the probabilities; what was drawn, and their product
    return total + 3 * size.stream + arrays * _scores(size) + size.hidden


def _attention_output(size: Pass) -> int:
    """Return what a fused kernel keeps beside query, key and value."""
    return size.hidden + WIDE * size.tokens * size.model.n_heads


def _feed_forward(size: Pass) -> int:
    """Return what the inner layer keeps: swiglu's gate, its silu, up and their product."""
    return {"swiglu": 4, "gelu": 2, "relu": 1}[size.model.ffn] * size.inner


def _norm(size: Pass) -> int:
    """Return what a norm keeps beside its input."""
    kind = size.model.norm_type
    if kind == "none":
        return 0
    if kind != "rmsnorm":
        return 2 * WIDE * size.tokens  # mean and 1 / std of each position
    on_cpu = size.stream if size.tier.device == "cpu" else 0  # not one kernel there
    return WIDE * size.tokens + on_cpu


def _mask(size: Pass, what: int) -> int:
    """Return what dropout keeps: a byte a number on a GPU, what was multiplied by on a CPU."""
    if size.tier.device == "cpu":
        return what
    return size.tokens * size.model.dim

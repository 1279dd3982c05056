"""Where the heads of a decoder look.

The fused kernels do not give their weights away, so they are computed again from the queries
and keys of the model, for a few held-out sequences. The first position, which sees only itself,
is left out.

    entropy_nats    −Σ p log p over what a query sees, its mean; beside it that of looking
                    everywhere alike
    first_frac      share of the weight on the first position (an attention sink)
    self_frac       share on the position itself
    mean_distance   Σ p · (positions back), in tokens
"""

from __future__ import annotations

import math
from typing import Any

import torch

from trainer.evaluation.activations import decoder_of
from trainer.evaluation.subject import Subject
from trainer.models.decoder import Attention

WINDOWS = 2
"""Most sequences that are read: weights grow with the square of their length."""
QUERIES = 256
"""Queries whose weights are held at once."""
NAMES = ("entropy_nats", "first_frac", "self_frac", "mean_distance")


def measure(subject: Subject) -> dict[str, Any]:
    """Return the statistics of each layer: the mean of its heads, and each head's.

    Raises:
        NotApplicableError: The model has no attention.
    """
    model = decoder_of(subject)
    windows = subject.held_out(min(WINDOWS, subject.config.evaluation.windows))
    totals: list[torch.Tensor] = []

    def take(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        totals.append(head_statistics(module, inputs[0]))

    handles = [b.attention.register_forward_pre_hook(take) for b in model.blocks]  # type: ignore[union-attr]
    rows = max(1, WINDOWS * 512 // windows.shape[1])
    sums: list[torch.Tensor] = []
    try:
        with torch.inference_mode():
            for first in range(0, len(windows), rows):
                totals.clear()
                batch = windows[first : first + rows]
                subject.logits(batch)
                weighted = [layer * len(batch) for layer in totals]
                sums = (
                    weighted if not sums else [a + b for a, b in zip(sums, weighted, strict=True)]
                )
    finally:
        for handle in handles:
            handle.remove()
    time = windows.shape[1]
    alike = math.fsum(math.log(n) for n in range(2, time + 1)) / (time - 1)
    layers = []
    for total in sums:
        heads = total / len(windows)  # (heads, statistics)
        mean = {name: float(x) for name, x in zip(NAMES, heads.mean(0), strict=True)}
        each = {name: heads[:, i].tolist() for i, name in enumerate(NAMES)}
        layers.append(mean | {"heads": each})
    return {
        "sequences": len(windows),
        "positions": time,
        "uniform_entropy_nats": alike,
        "layers": layers,
    }


def head_statistics(attention: Attention, x: torch.Tensor) -> torch.Tensor:
    """Return the means over positions and sequences of one layer's statistics.

    Args:
        attention: The layer.
        x: Its input, (batch, time, dim), at least two positions.

    Returns:
        (heads, statistics) in float64 on the CPU, in the order of `NAMES`.
    """
    total = torch.zeros(attention.heads, len(NAMES), dtype=torch.float64)
    time = x.shape[-2]
    for row in x:
        for first in range(1, time, QUERIES):
            last = min(first + QUERIES, time)
            p = weights(attention, row, first, last).double()  # (heads, queries, time)
            back = torch.arange(first, last, device=x.device)[:, None] - torch.arange(
                time, device=x.device
            )
            each = (
                torch.special.entr(p).sum(-1),
                p[..., 0],
                p.diagonal(offset=first, dim1=-2, dim2=-1),
                (p * back.clamp_min(0)).sum(-1),
            )
            total += torch.stack([values.sum(-1) for values in each], dim=-1).cpu()
    return total / (len(x) * (time - 1))


def weights(attention: Attention, x: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Return the attention weights of some queries under the causal mask.

    Args:
        attention: The layer.
        x: Its input of one sequence, (time, dim).
        first: First query.
        last: One behind the last query.

    Returns:
        (heads, last - first, time) in fp32; the rows sum to 1.
    """
    q, k = (
        project(x).unflatten(-1, (attention.heads, -1)).transpose(-3, -2)
        for project in (attention.query, attention.key)
    )
    if attention.rotary is not None:
        q, k = attention.rotary(q), attention.rotary(k)
    scores = q[:, first:last].float() @ k.float().transpose(-2, -1) / math.sqrt(q.shape[-1])
    position = torch.arange(x.shape[-2], device=x.device)
    hidden = position > position[first:last, None]
    seen: torch.Tensor = scores.masked_fill(hidden, -math.inf).softmax(-1)
    return seen

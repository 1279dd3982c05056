"""Which rows of the effective batch a process computes at once, and how much they count."""

from __future__ import annotations

import math
from collections.abc import Iterator


def passes(
    rows: int, micro: int | None, rank: int = 0, ranks: int = 1
) -> Iterator[tuple[int, int, float]]:
    """Yield (first row, row after the last, weight) for each forward and backward pass.

    The loss of a step is the mean over all rows. A pass gives the mean over its own, so it counts
    with its share of them; times `ranks`, because the gradients of the ranks are averaged.

    Args:
        rows: Of the effective batch.
        micro: Most rows a process computes at once; None is all that it has.
        rank: This process, from 0.
        ranks: Processes, which compute parts of the same batch side by side. All of them take part
            in every pass: one that no row is left for computes the first again, for nothing.
    """
    wide = min(rows, ranks * (micro or rows))
    for first in range(0, rows, wide):
        end = min(first + wide, rows)
        share = math.ceil((end - first) / ranks)
        start = min(first + rank * share, end)
        stop = min(start + share, end)
        if start < stop:
            yield start, stop, (stop - start) / rows * ranks
        else:
            yield first, first + 1, 0.0

"""A curve as one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.:-=+*#"
"""For terminals that cannot show the blocks; lowest first, as they are."""

LOG_FROM = 20.0
"""Largest over smallest value from which the heights are those of the logarithms."""


class Curve:
    """Values by step, of which at most `most` are kept: every second goes when it is full.

    Args:
        most: Values kept; an even number.
    """

    def __init__(self, most: int = 256) -> None:
        self._most, self._every, self._skipped = most, 1, 0
        self._values: list[float] = []
        self.last: float | None = None

    def add(self, value: float) -> None:
        """Take the next value; one that is not finite is left out."""
        if not math.isfinite(value):
            return
        self.last = value
        self._skipped += 1
        if self._skipped < self._every:
            return
        self._skipped = 0
        self._values.append(value)
        if len(self._values) > self._most:
            self._values = self._values[1::2]  # those that end a group of two
            self._skipped = self._every  # the newest is the first of the next one
            self._every *= 2

    @property
    def values(self) -> list[float]:
        """The kept values in order; the newest is always the last of them."""
        if self.last is not None and self._skipped:
            return [*self._values, self.last]
        return list(self._values)

    def __len__(self) -> int:
        return len(self._values)


def sparkline(values: Sequence[float], width: int, marks: str = BLOCKS) -> str:
    """Return a curve as `width` characters, oldest first.

    The lowest value has the first mark and the highest the last. More values than characters
    are averaged in groups of nearly equal size; of fewer, each fills several characters.
    Positive values that span more than `LOG_FROM` are shown by their logarithms: a loss that
    fell fast is not a flat line after.

    Args:
        values: Finite numbers; none of them is an empty line.
        width: Characters there are.
        marks: From low to high.
    """
    if width < 1 or not values:
        return ""
    if min(values) > 0 and max(values) > LOG_FROM * min(values):
        values = [math.log(value) for value in values]
    groups = [
        values[i * len(values) // width : (i + 1) * len(values) // width]
        if len(values) >= width
        else [values[i * len(values) // width]]
        for i in range(width)
    ]
    means = [math.fsum(group) / len(group) for group in groups]
    low, high = min(means), max(means)
    if high == low:
        return marks[0] * width
    return "".join(marks[round((m - low) / (high - low) * (len(marks) - 1))] for m in means)

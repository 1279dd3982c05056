"""The values a sweep may try: axes and the points they span."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Point = Mapping[str, Any]
"""One value per axis, by dotted key."""


@dataclass(frozen=True)
class Axis:
    """One setting and the values it takes.

    Args:
        key: Dotted key of the run config (`model.n_layers`).
        values: At least one, in the order in which they are tried.
        source: Where the axis was given.
    """

    key: str
    values: tuple[Any, ...]
    source: str


@dataclass(frozen=True)
class Space:
    """All points of some axes. It is counted and indexed, never built.

    Args:
        axes: The last one varies fastest.
    """

    axes: tuple[Axis, ...] = ()

    @property
    def size(self) -> int:
        """Number of points; 1 without axes."""
        return math.prod(len(axis.values) for axis in self.axes)

    def point(self, index: int) -> dict[str, Any]:
        """Return point number `index`, from 0."""
        digits: list[int] = []
        for axis in reversed(self.axes):
            index, digit = divmod(index, len(axis.values))
            digits.append(digit)
        return {
            axis.key: axis.values[digit]
            for axis, digit in zip(self.axes, reversed(digits), strict=True)
        }


def space_of(axes: Sequence[Axis]) -> Space:
    """Return the space of some axes; a later axis of the same key replaces the earlier one."""
    return Space(tuple({axis.key: axis for axis in axes}.values()))

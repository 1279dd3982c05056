"""The values a sweep may try: axes and the points they span."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from orchestrator.axis import Axis
from orchestrator.constraint import Constraint
from orchestrator.errors import Problem, UsageError

Point = Mapping[str, Any]
"""One value per axis, by dotted key."""


@dataclass(frozen=True)
class Space:
    """All points of some axes. It is counted and indexed, never built.

    Args:
        axes: In the order of the template.
        require: What a point must keep. Neither `size` nor `point` knows of it, or of `when`.
        baseline: The point that the others are compared with; None where there is none. It need not
            be one of the others, and where the axis is a group it may leave it out.
    """

    axes: tuple[Axis, ...] = ()
    require: tuple[Constraint, ...] = ()
    baseline: Point | None = None

    @cached_property
    def dimensions(self) -> tuple[tuple[Axis, ...], ...]:
        """The axes, those that move together as one."""
        groups: dict[Any, list[Axis]] = {}
        for axis in self.axes:
            groups.setdefault(axis.key if axis.zipped is None else axis.zipped, []).append(axis)
        return tuple(map(tuple, groups.values()))

    @property
    def finite(self) -> bool:
        """Whether the points can be counted."""
        return not any(axis.continuous for axis in self.axes)

    @property
    def exact(self) -> bool:
        """Whether every point is a different one to run: nothing is conditional or required."""
        return not self.require and not any(axis.when for axis in self.axes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Values of each dimension of a finite space."""
        assert self.finite
        return tuple(len(group[0].values) for group in self.dimensions)

    @property
    def size(self) -> int:
        """Number of points of a finite space; 1 without axes."""
        return math.prod(self.sizes)

    def point(self, index: int) -> dict[str, Any]:
        """Return point number `index`, from 0; the last dimension varies fastest."""
        return self.at(self.digits(index))

    def digits(self, index: int) -> tuple[int, ...]:
        """Return the place of point number `index` in each dimension."""
        digits: list[int] = []
        for size in reversed(self.sizes):
            index, digit = divmod(index, size)
            digits.append(digit)
        return tuple(reversed(digits))

    def places(self, shares: Sequence[float]) -> tuple[float, ...]:
        """Return the place in each dimension for a share of it, from 0 up to but not 1."""
        return tuple(
            group[0].place(share) for group, share in zip(self.dimensions, shares, strict=True)
        )

    def at(self, places: Sequence[float]) -> dict[str, Any]:
        """Return the point at a place in each dimension: an index, or a continuous value."""
        point = {
            axis.key: axis.at(place)
            for group, place in zip(self.dimensions, places, strict=True)
            for axis in group
        }
        return self.ordered(point)

    def ordered(self, point: Point) -> dict[str, Any]:
        """Return a point in the order of the axes."""
        return {axis.key: point[axis.key] for axis in self.axes if axis.key in point}

    def rows(self, dimension: Sequence[Axis]) -> list[dict[str, Any]]:
        """Return the values of a dimension, those of axes that move together side by side."""
        return [
            dict(zip((a.key for a in dimension), values, strict=True))
            for values in zip(*(a.values for a in dimension), strict=True)
        ]

    def holds(self, point: Point) -> bool:
        """Return whether a point is one of a finite space."""
        return all(
            any(all(k in point and point[k] == v for k, v in row.items()) for row in self.rows(d))
            for d in self.dimensions
        )


def space_of(axes: Sequence[Axis], require: Sequence[Constraint] = ()) -> Space:
    """Return the space of some axes; a later axis of the same key gives the earlier one's values.

    What an axis depends on and what it moves with belong to the setting and stay.

    Raises:
        UsageError: Axes that move together would get different numbers of values.
    """
    merged: dict[str, Axis] = {}
    for axis in axes:
        old = merged.get(axis.key)
        if old is not None:
            axis = replace(axis, when=axis.when or old.when, zipped=old.zipped)
        merged[axis.key] = axis
    space = Space(tuple(merged.values()), tuple(require))
    for first, *others in space.dimensions:
        for other in others:
            if len(other.values) != len(first.values) or other.continuous or first.continuous:
                raise UsageError(_uneven(first, other))
    return space


def _uneven(first: Axis, other: Axis) -> Problem:
    def counted(axis: Axis) -> str:
        return "a continuous range" if axis.continuous else f"{len(axis.values)} values"

    return Problem(
        f"zipped axes: {first.key} has {counted(first)} and {other.key} {counted(other)},"
        " expected as many of each",
        other.source,
        "axes of one [[space.zip]] move together, value by value",
    )

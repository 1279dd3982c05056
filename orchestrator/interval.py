"""A range of numbers that a setting may take: all of them, steps of it, or points laid out in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import overload


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`, both included.

    Args:
        low: Below `high`; above 0 where `log`.
        high: The other end.
        log: Equal ratios are equally likely, instead of equal differences.
        integer: Whole numbers only; then there are finitely many.
        step: Only `low`, `low + step`, …; more than 0, never with `log`.
        points: This many numbers, evenly spaced (in the logarithm where `log`), both ends among
            them; at least 2, never with `step`.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    step: float | None = None
    points: int | None = None

    @property
    def values(self) -> Sequence[float]:
        """All numbers in order, not built; empty where there is a continuum of them."""
        if self.points is not None:
            return tuple(dict.fromkeys(self._laid_out(n) for n in range(self.points)))
        if self.integer:
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        if self.step is not None:
            return Steps(self.low, self.high, self.step)
        return ()

    def at(self, share: float) -> float:
        """Return the number at a share, from 0 up to but not 1, of the continuum."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            number = math.exp(low + share * (high - low))
        else:
            number = self.low + share * (self.high - self.low)
        return min(max(number, self.low), self.high)

    def scaled(self, rule: Callable[[float], float]) -> Interval:
        """Return the interval with a rule applied to both ends, and to the step."""
        step = None if self.step is None else rule(self.step)
        return replace(self, low=rule(self.low), high=rule(self.high), step=step)

    def _laid_out(self, n: int) -> float:
        assert self.points is not None
        last = self.points - 1
        if n in (0, last):
            return self.low if n == 0 else self.high
        # Twelve digits: 0.0001, where the logarithm's rounding gives 0.00010000000000000005.
        number = float(f"{self.at(n / last):.12g}")
        return round(number) if self.integer else number


@dataclass(frozen=True)
class Steps(Sequence[float]):
    """`low`, `low + step`, … up to `high`, as they would be written: 0.15, not 3 * 0.05."""

    low: float
    high: float
    step: float

    def __len__(self) -> int:
        return (
            int((Decimal(str(self.high)) - Decimal(str(self.low))) // Decimal(str(self.step))) + 1
        )

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[float]: ...
    def __getitem__(self, index: int | slice) -> float | Sequence[float]:
        if isinstance(index, slice):
            return tuple(self[n] for n in range(*index.indices(len(self))))
        n = range(len(self))[index]
        return float(Decimal(str(self.low)) + n * Decimal(str(self.step)))

"""One setting of a space, or one group of settings, and the values it may take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.interval import Interval


@dataclass(frozen=True)
class Axis:
    """One setting, or a group of them under a name, and the values it takes.

    Args:
        key: Dotted key of the run config (`model.n_layers`), or a Hydra group (`model`).
        values: In the order in which they are tried; empty only where `interval` is continuous.
        source: Where the axis was given.
        interval: Where the values come from, if they are not listed.
        when: The axis takes a value only where each of these settings has one of these values.
        zipped: Axes of the same number move together; None moves alone.
        options: Of a group, what each value sets, once that is known; None for a setting.
    """

    key: str
    values: Sequence[Any]
    source: str
    interval: Interval | None = None
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    zipped: int | None = None
    options: Mapping[Any, Mapping[str, Any]] | None = None

    def settings(self, value: Any) -> Mapping[str, Any]:
        """Return what a value sets, by dotted key."""
        return {self.key: value} if self.options is None else self.options.get(value, {})

    @property
    def keys(self) -> tuple[str, ...]:
        """What a condition may ask of it: its own key, and all that its options set."""
        inner = [key for settings in (self.options or {}).values() for key in settings]
        return tuple(dict.fromkeys([self.key, *inner]))

    def values_of(self, key: str) -> Sequence[Any]:
        """Return the values that the axis gives one of its `keys`."""
        if key == self.key:
            return self.values
        return [s[key] for s in (self.options or {}).values() if key in s]

    def first(self, key: str) -> Any:
        """Return a value that the axis may give one of its `keys`."""
        if self.continuous:
            assert self.interval is not None
            return self.interval.low
        return self.values_of(key)[0]

    @property
    def continuous(self) -> bool:
        """Whether the values cannot be counted."""
        return self.interval is not None and not self.values

    @property
    def even(self) -> bool:
        """Whether the values can be counted and are equally likely in a random draw."""
        return self.interval is None or (bool(self.values) and not self._log_integer)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers among the values, or the two ends where there may be too many to list."""
        if self.interval is not None:
            return (self.interval.low, self.interval.high)
        return tuple(value for value in self.values if type(value) in (int, float))

    def place(self, share: float) -> float:
        """Return the place of a share from 0 up to but not 1: an index, or a continuous value."""
        if self.continuous:
            assert self.interval is not None
            return self.interval.at(share)
        if self._log_integer:
            assert self.interval is not None
            # Each whole number owns the half on both sides of it, also the ends.
            low, high = self.interval.low - 0.5, self.interval.high + 0.5
            number = round(math.exp(math.log(low) + share * math.log(high / low)))
            return min(max(number - int(self.interval.low), 0), len(self.values) - 1)
        return min(int(share * len(self.values)), len(self.values) - 1)

    def at(self, place: float) -> Any:
        """Return the value at a place."""
        return place if self.continuous else self.values[int(place)]

    @property
    def _log_integer(self) -> bool:
        interval = self.interval
        return (
            interval is not None and interval.log and interval.points is None and interval.integer
        )

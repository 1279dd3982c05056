"""From what a strategy proposes to points that can be run: conditions and rules applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from orchestrator.axis import Axis
from orchestrator.compose import Composition
from orchestrator.errors import Problem, UsageError
from orchestrator.groups import GROUPS, place_of
from orchestrator.settings import VARIANTS, default_of
from orchestrator.space import Point, Space
from orchestrator.strategy import Strategy

MOST_MISSES = 20_000
"""Proposals in a row that give no new point, after which the space counts as exhausted."""


class Draw:
    """The points of a strategy that can be run, each once.

    Args:
        strategy: Proposes.
        space: What it searches.
        composition: The settings of a run before its point.

    Raises:
        UsageError: A condition can never hold, or conditions wait for each other.
    """

    def __init__(self, strategy: Strategy, space: Space, composition: Composition) -> None:
        self.strategy, self.space, self.composition = strategy, space, composition
        self.ordered = _conditions_first(space.axes)
        self.setters = {key: axis for axis in space.axes for key in axis.keys}
        self.setters |= {axis.key: axis for axis in space.axes}  # it decides over an option
        self.idle: dict[str, None] = {}
        self.broken: Counter[str] = Counter()
        self.gave_up = False
        self._refuse_idle_axes()

    @property
    def left_out(self) -> int:
        """Points so far that break a rule."""
        return sum(self.broken.values())

    def __iter__(self) -> Iterator[Point]:
        """Yield each new point; stop where the strategy does, or where no more seem to come."""
        seen: set[str] = set()
        misses = 0
        while proposed := self.strategy.ask(256):
            for proposal in proposed:
                point = self.settle(proposal)
                misses += 1
                if not self.space.exact:
                    same = repr(point)
                    if same not in seen:
                        seen.add(same)
                        if self._keeps_rules(point):
                            misses = 0
                            yield point
                    if misses >= MOST_MISSES:
                        self.gave_up = True
                        return
                else:
                    yield point

    def settle(self, proposal: Point) -> Point:
        """Return a proposal without the axes whose condition does not hold in it."""
        if not any(axis.when for axis in self.ordered):
            return proposal
        taken: dict[str, Any] = {}
        for axis in self.ordered:
            if all(self.value(key, taken) in values for key, values in axis.when.items()):
                taken[axis.key] = proposal[axis.key]
        return {key: value for key, value in proposal.items() if key in taken}

    def settings(self, point: Point) -> dict[str, tuple[Any, str]]:
        """Return what a point sets, each with its source; an axis decides over an option."""
        of_options: dict[str, tuple[Any, str]] = {}
        own: dict[str, tuple[Any, str]] = {}
        for axis in self.space.axes:
            if axis.key not in point:
                continue
            value = point[axis.key]
            if axis.options is None:
                own[axis.key] = (value, axis.source)
            else:
                place = place_of(axis.key, value)
                of_options |= {k: (v, place) for k, v in axis.settings(value).items()}
        settings = of_options | own
        if self.kinds_vary:
            self.idle |= dict.fromkeys(self.composition.at(settings).notes)
        return settings

    def value(self, key: str, point: Point) -> Any:
        """Return a setting at a point; None where this kind of run has no such setting."""
        if key in point:
            return point[key]
        if key in GROUPS:
            return self.composition.options.get(key)
        settings: Mapping[str, tuple[Any, str]] = self.composition.settings
        if self.kinds_vary:
            settings = self.composition.at(self.settings(point)).settings
        return settings[key][0] if key in settings else default_of(key, settings)

    @cached_property
    def kinds_vary(self) -> bool:
        """Whether a point may set more than its own keys."""
        return any(a.options is not None or a.key in VARIANTS for a in self.space.axes)

    def refuse_nothing(self) -> None:
        """Say why there is no point at all.

        Raises:
            UsageError: Every point that was tried breaks a rule.
        """
        problems = [
            Problem(
                f"no point keeps {text!r}: {count:,} of {self.left_out:,} tried break it",
                next(rule.source for rule in self.space.require if rule.text == text),
                "other values, or leave the rule out",
            )
            for text, count in self.broken.most_common()
        ]
        if problems:
            raise UsageError(*problems)

    def notes(self) -> list[str]:
        """Say how many points were left out, by rule."""
        notes = list(self.idle)
        notes += [
            f"{count:,} point{'s were' if count > 1 else ' was'} left out: {text} does not hold"
            for text, count in self.broken.items()
        ]
        if self.gave_up:
            notes.append(f"the search ended: {MOST_MISSES:,} proposals in a row gave no new point")
        return notes

    def _keeps_rules(self, point: Point) -> bool:
        for rule in self.space.require:
            if not rule.holds(lambda key: self.value(key, point)):
                self.broken[rule.text] += 1
                return False
        return True

    def _refuse_idle_axes(self) -> None:
        problems = []
        for axis in self.space.axes:
            for key, wanted in axis.when.items():
                other = self.setters.get(key)
                if other is not None and other.continuous:
                    message = f"axis {axis.key}: {key} is a continuous range, its values are chance"
                    problems.append(
                        Problem(
                            message, axis.source, f"a condition in `require`, or a step for {key}"
                        )
                    )
                    continue
                possible = [] if other is None else list(other.values_of(key)[:10_000])
                if other is None or other.when or key != other.key:
                    possible.append(self.value(key, {}))
                if not any(value in wanted for value in possible):
                    got = ", ".join(map(repr, possible[:9]))
                    expected = " or ".join(map(repr, wanted))
                    message = f"axis {axis.key} never takes a value: {key} is {got}"
                    problems.append(
                        Problem(
                            f"{message}, its condition wants {expected}",
                            axis.source,
                            f"leave the axis out, or let {key} be {expected}",
                        )
                    )
        if problems:
            raise UsageError(*problems)


def _conditions_first(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Return the axes, each after those that its condition reads."""
    by_key = {axis.key: axis for axis in axes}
    setters = {key: axis.key for axis in axes for key in axis.keys} | {key: key for key in by_key}
    graph = {axis.key: [setters[key] for key in axis.when if key in setters] for axis in axes}
    try:
        return tuple(by_key[key] for key in TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        source = by_key[error.args[1][0]].source
        raise UsageError(Problem(f"conditions wait for each other: {circle}", source)) from error

"""What the positional arguments of a command say: Hydra's override grammar."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from orchestrator.errors import COMMAND_LINE, Problem, UsageError, gathering
from orchestrator.groups import GROUPS


@dataclass(frozen=True)
class Pattern:
    """`glob([a*,b*],exclude=c*)`: the names that match, in their own order.

    Args:
        include: A name matches one of these.
        exclude: And none of these.
    """

    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as it is typed."""

        def typed(patterns: tuple[str, ...]) -> str:
            return patterns[0] if len(patterns) == 1 else f"[{','.join(patterns)}]"

        but = f",exclude={typed(self.exclude)}" if self.exclude else ""
        return f"glob({typed(self.include)}{but})"

    def matching(self, names: Iterable[str]) -> list[str]:
        """Return the names that it means."""

        def found(name: str, patterns: tuple[str, ...]) -> bool:
            return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

        return [n for n in names if found(n, self.include) and not found(n, self.exclude)]


@dataclass(frozen=True)
class Overrides:
    """Positional arguments of a command, parsed.

    Args:
        groups: `group=option`, by group.
        settings: `a.b=1`, by key.
        axes: `a.b=1,2`: the listed values, the table of a range as in `[space]`, or a pattern, by
            key; of a group the names of its options.
    """

    groups: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, list[Any] | dict[str, Any] | Pattern] = field(default_factory=dict)


def parse_overrides(arguments: Sequence[str]) -> Overrides:
    """Parse Hydra's override grammar.

    Raises:
        UsageError: All arguments that cannot be used.
    """
    parsed = Overrides()
    with gathering() as gather:
        for argument in arguments:
            with gather.step():
                read_override(argument, parsed)
    return parsed


def read_override(argument: str, into: Overrides) -> None:
    """Parse one argument and add it to the others.

    Raises:
        UsageError: It is not of the form `key=value`, or cannot be used.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob, OverrideType, Sweep
    from hydra.errors import HydraException

    def refuse(message: str, hint: str) -> UsageError:
        return UsageError(Problem(message, COMMAND_LINE, hint))

    try:
        override = OverridesParser.create().parse_override(argument)
        value = override.value()
    except (HydraException, ValueError, RecursionError) as error:  # Python's limits of a number
        if "=" not in argument:
            raise refuse(f"got {argument!r}, expected key=value", "training.steps=100") from error
        reason = str(error).splitlines()[0]
        raise refuse(f"cannot read {argument!r}: {reason}", _quoting(argument)) from error
    key = override.key_or_group
    if override.type is not OverrideType.CHANGE:
        raise refuse(
            f"{argument!r}: settings are neither added nor deleted, every one exists",
            f"{key}=VALUE changes it; leave it out to keep it as it is",
        )
    if override.package is not None:
        message = f"{argument!r}: got the package {override.package}, every option has its place"
        raise refuse(message, f"{key}=NAME")
    if key in (*into.groups, *into.settings, *into.axes):
        raise refuse(f"{argument!r}: {key} is given twice", "give each setting once")
    if isinstance(value, Glob):
        into.axes[key] = Pattern(tuple(value.include), tuple(value.exclude))
    elif isinstance(value, Sweep):
        try:
            into.axes[key] = _swept(value)
        except ValueError as error:
            raise refuse(f"{argument!r}: {error}", f"{key}={SWEEPS}") from error
    elif key in GROUPS:
        into.groups[key] = "null" if value is None else str(_plain(value))
    else:
        into.settings[key] = _plain(value)


def _quoting(argument: str) -> str:
    """Say how an argument that cannot be read is typed."""
    if re.match(r"[\w.]+\s*=\s", argument) or re.match(r"[\w.]+\s+=", argument):
        return "no spaces beside the sign: key=value"
    if "glob(" in argument:
        return "a pattern with brackets in quotes: key=glob('[!a]*'), or key=glob(*,exclude=a*)"
    return "put a value with spaces or signs in it in quotes: 'key=\"a b\"'"


SWEEPS = "1,2,3, or range(1,4), interval(0,1), int(interval(2,12)), tag(log,interval(1e-5,1e-3))"


def _swept(sweep: Any) -> list[Any] | dict[str, Any]:
    """Return Hydra's sweep as `[space]` would write it.

    Raises:
        ValueError: It has a part that no search has a use for.
    """
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep, Sweep

    if getattr(sweep, "shuffle", False):
        raise ValueError("the search decides the order: --search random shuffles")
    log = sweep.tags == {"log"} and isinstance(sweep, IntervalSweep)
    if sweep.tags and not log:
        tags = ", ".join(sorted(sweep.tags))
        raise ValueError(f"got tag {tags}, expected none, or log on an interval")
    if isinstance(sweep, ChoiceSweep):
        if any(isinstance(value, Sweep) for value in sweep.list):
            raise ValueError("a sweep inside of another one")
        return [_plain(value) for value in sweep.list]
    if isinstance(sweep, RangeSweep):
        return _stepped(sweep)
    ends = [sweep.start, sweep.end]
    if all(type(end) is int for end in ends):  # only a cast, int(interval(…)), gives these
        return {"integer": ends} | ({"log": True} if log else {})
    return {"log_uniform" if log else "uniform": ends}


def _stepped(sweep: Any) -> list[Any] | dict[str, Any]:
    """Return `range(1,10,2)`; as in Python, the stop is no value of it."""
    start, stop, step = (Decimal(str(n)) for n in (sweep.start or 0, sweep.stop, sweep.step))
    if not all(n.is_finite() for n in (start, stop, step)) or step == 0:
        raise ValueError("expected finite numbers, and a step that is not 0")
    count = math.ceil((stop - start) / step)
    whole = all(type(n) is int for n in (sweep.start or 0, sweep.stop, sweep.step))
    number = int if whole else float
    if count < 2:
        return [number(start)] * max(0, count)
    ends = sorted([start, start + (count - 1) * step])
    form = "integer" if whole else "uniform"
    return {form: [number(end) for end in ends], "step": number(abs(step))}


def _plain(value: Any) -> Any:
    """Return Hydra's quoted strings as text, also inside of lists and tables."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    return getattr(value, "text", value)

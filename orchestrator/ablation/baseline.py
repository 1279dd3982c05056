"""The point that the variants are compared with: as it was given, and as the axes have it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.axis import Axis
from orchestrator.compose import Composition
from orchestrator.errors import Problem, UsageError, gathering, nearest, shown
from orchestrator.overrides import parse_overrides
from orchestrator.settings import default_of
from orchestrator.space_table import full_key
from orchestrator.toml_file import flatten

HINT = "ablation.baseline='loss.composite.smoothness.weight=0.1,symbolic=none'"


def read_baseline(given: dict[str, Any] | str | None, place: str) -> dict[str, Any]:
    """Return what `ablation.baseline` says, by dotted key.

    Args:
        given: A table, or `key=value,…` in Hydra's grammar.
        place: Where it was given.

    Raises:
        UsageError: It cannot be read, or names no setting.
    """
    values: dict[str, Any] = {}
    if isinstance(given, str) and "=" in given:
        read = parse_overrides([part for part in re.split(r",(?=[\w.]+=)", given) if part.strip()])
        values = {**read.groups, **read.settings}
        if read.axes:
            message = f"ablation.baseline: got several values for {', '.join(read.axes)}"
            raise UsageError(Problem(f"{message}, expected one of each", place, HINT))
    elif isinstance(given, dict):
        values = flatten(given)
    if given is not None and not values:
        message = f"ablation.baseline: got {shown(given)}, expected values of axes"
        raise UsageError(Problem(message, place, HINT))
    return {full_key(key, place): value for key, value in values.items()}


def point_of(
    axes: Sequence[Axis], composition: Composition, given: Mapping[str, Any], place: str
) -> dict[str, Any]:
    """Return the baseline as a point: its values of the axes.

    A setting that is not given has the value of the configuration without the axes. So has a group,
    under the name of the option that sets what is set there; where none does, the point leaves the
    group out.

    Args:
        axes: Of the sweep, with what the options of groups set.
        composition: The settings of a run before its point.
        given: What `ablation.baseline` says.
        place: Where it was given.

    Raises:
        UsageError: It names what no axis varies, or an option that no axis tries.
    """
    by_key = {axis.key: axis for axis in axes}
    with gathering() as gather:
        for key, value in given.items():
            axis = by_key.get(key)
            if axis is None:
                message = f"ablation.baseline: {key} is varied by no axis"
                hint = f"a setting of all variants is given beside it: {key}={value}"
                problem = Problem(f"{message}{nearest(key, by_key)}", place, hint)
                gather.problems.append(problem)
            elif axis.options is not None and value not in axis.options:
                message = f"ablation.baseline: got {key}={value}, which the axis does not try"
                known = ",".join(map(str, axis.values))
                gather.problems.append(Problem(message, place, f"-m {key}={known},{value}"))
    point = {key: _value(axis, composition) for key, axis in by_key.items()}
    return {key: value for key, value in {**point, **given}.items() if value is not _ABSENT}


_ABSENT = object()


def _value(axis: Axis, composition: Composition) -> Any:
    """Return an axis' value in the configuration without the axes; `_ABSENT` where it has none."""
    settings = composition.settings

    def composed(key: str) -> Any:
        return settings[key][0] if key in settings else default_of(key, settings)

    if axis.options is None:
        return composed(axis.key)
    for name, sets in axis.options.items():
        if all(composed(key) == value for key, value in sets.items()):
            return name
    chosen = composition.options.get(axis.key)
    return _ABSENT if chosen is None or chosen in axis.options else chosen

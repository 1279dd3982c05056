"""What an axis over the options of a Hydra group sets: `model=theos_small,quadratic_mlp`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from orchestrator.axis import Axis
from orchestrator.errors import COMMAND_LINE, Problem, UsageError
from orchestrator.groups import compose_groups, group_of
from orchestrator.space_table import decides


def with_options(axis: Axis, typed: Collection[str]) -> tuple[Axis, list[str]]:
    """Return an axis with what each of its options sets, and what a person should know of it.

    An axis over a setting is returned as it is.

    Args:
        axis: Any.
        typed: Settings that the command line gives: it decides over them, also beside an option.

    Raises:
        UsageError: All its trials would be one, or an option asks for what a point cannot give.
    """
    if axis.options is None:
        return axis, []
    options: dict[Any, dict[str, Any]] = {}
    overruled: dict[str, None] = {}
    for name in axis.values:
        chosen = compose_groups({axis.key: name}, {axis.key})
        if chosen.scale is not None:
            message = f"axis {axis.key}: option {name} makes a run small, which is for all trials"
            hint = f"--scale {chosen.scale}, or {axis.key}={name} alone"
            raise UsageError(Problem(message, axis.source, hint))
        settings = chosen.layer.settings.items()  # an option may build on another of its group
        own = {key: value for key, (value, place) in settings if group_of(place) == axis.key}
        options[name] = {key: value for key, value in own.items() if key not in typed}
        overruled |= dict.fromkeys(key for key in own if key in typed)
    if not any(decides(key) for settings in options.values() for key in settings):
        message = f"axis {axis.key}: its options decide nothing of the result, all trials are one"
        hint = f"one option for all trials: {axis.key}={axis.values[0]}"
        raise UsageError(Problem(message, axis.source, hint))
    notes = [f"{key} is set on the {COMMAND_LINE}, not by {axis.key}" for key in overruled]
    return replace(axis, options=options), notes

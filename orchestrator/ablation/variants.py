"""The space of an ablation: axes that were given, or parts to be left out, around a baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.ablation.baseline import point_of, read_baseline
from orchestrator.ablation.settings import AblationSettings
from orchestrator.axis import Axis
from orchestrator.compose import Composition
from orchestrator.errors import COMMAND_LINE, Problem, UsageError
from orchestrator.space import Space
from orchestrator.strategy.leave_one_out import is_off
from trainer.config import RunConfig

LIKELIHOOD = "gll"
"""The term of the loss that is never left out: the others are penalties beside it."""
AXIS = "-m loss.composite.smoothness.weight=0.0,0.05,0.1"


def around_baseline(
    space: Space, composition: Composition, settings: AblationSettings, place: str
) -> Space:
    """Return a space with its baseline; of an ablation without axes also with its axes.

    Args:
        space: What was given with `-m`.
        composition: The settings of a run before its point.
        settings: Of the ablation.
        place: Where its baseline was given.

    Raises:
        UsageError: There is nothing to vary, or the baseline is no point of it.
    """
    given = read_baseline(settings.baseline, place)
    if not space.axes and settings.mode == "leave-one-out":
        at = composition.config({key: (value, place) for key, value in given.items()})
        space = replace(space, axes=tuple(_parts(at)))
        if not space.axes:
            message = f"leave-one-out: nothing is on that task {at.data.task} could leave out"
            hint = "-m training.weight_decay=0.0,0.1 leaves out an axis that is given"
            raise UsageError(Problem(message, "ablation.mode", hint))
    if not space.axes:
        message = "got no axis, expected a setting or a group with several values"
        hint = f"{AXIS}, or ablation.mode=leave-one-out"
        raise UsageError(Problem(message, COMMAND_LINE, hint))
    if settings.mode == "leave-one-out":
        _check_off(space)
    return replace(space, baseline=point_of(space.axes, composition, given, place))


def untried(space: Space) -> list[str]:
    """Return a sentence for each axis of which leaving one out tries not all values.

    Args:
        space: With its baseline.
    """
    notes = []
    base = space.baseline or {}
    for axis in space.axes:
        idle = [v for v in axis.values if not is_off(v) and v != base.get(axis.key)]
        if idle and axis.key in base:
            notes.append(
                f"leave-one-out leaves {axis.key}={','.join(map(str, idle))} untried: the baseline"
                f" has {base[axis.key]}; ablation.baseline='{axis.key}={idle[0]}' starts from it"
            )
    return notes


def _parts(config: RunConfig) -> list[Axis]:
    """Return an axis for each part of a run's loss that is on: a penalty, or a symbolic rule."""
    if config.data.task != "ariel":
        return []
    found: dict[str, Any] = {}
    for name in type(config.loss.composite).model_fields:
        if name != LIKELIHOOD and getattr(config.loss.composite, name).weight:
            found[f"loss.composite.{name}.weight"] = 0.0
    for name in type(config.symbolic).model_fields:
        if getattr(config.symbolic, name).enabled:
            found[f"symbolic.{name}.enabled"] = False
    return [Axis(key, (off,), "ablation.mode") for key, off in found.items()]


def _check_off(space: Space) -> None:
    problems = []
    for axis in space.axes:
        if not any(map(is_off, axis.values)):
            got = ", ".join(map(str, axis.values)) or "a range"
            message = f"axis {axis.key}: got {got}, leave-one-out needs the value that is off"
            hint = f"{axis.key}=0,… (0, false or none is off), or ablation.mode=one-at-a-time"
            problems.append(Problem(message, axis.source, hint))
    if problems:
        raise UsageError(*problems)

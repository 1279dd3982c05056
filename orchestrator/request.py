"""What a person asked for: read from files and the command line, and put together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.axis import Axis
from orchestrator.compose import (
    COMMAND_LINE,
    Composition,
    Layer,
    Overrides,
    check,
    check_fields,
    check_options,
    compose_groups,
    read_override,
)
from orchestrator.errors import Problem, UsageError, gathering
from orchestrator.hardware import Hardware
from orchestrator.shared_files import find_template
from orchestrator.space_table import full_key, make_axis
from orchestrator.template import (
    Template,
    read_base_config,
    read_template,
)
from orchestrator.toml_file import flatten

AUTO = ("tier", "auto")


@dataclass(frozen=True)
class Request:
    """What a person asked for, as given on the command line.

    Args:
        base_config: A TOML file (or a trial's YAML snapshot), or None.
        strategy: Name or path of a sweep template; None is a single run.
        search: Search method instead of the template's.
        scale: Name of a scale, or None for full size.
        tier: Name of a tier, or None to pick one by machine.
        seeds: Number of seeds a point instead of the template's.
        max_trials: Most trials the plan may have; None: the template's, or `LARGEST_PLAN`.
        overrides: Positional arguments, Hydra's grammar.
        name: Of the run directory, instead of the template's.
    """

    base_config: Path | None = None
    strategy: str | None = None
    search: str | None = None
    scale: str | None = None
    tier: str | None = None
    seeds: int | None = None
    max_trials: int | None = None
    overrides: tuple[str, ...] = ()
    name: str | None = None


@dataclass
class Reading:
    """A request, read but not yet put together."""

    base: Layer = field(default_factory=lambda: Layer({}))
    template: Template | None = None
    overrides: Overrides = field(default_factory=Overrides)
    typed: dict[str, tuple[Any, str]] = field(default_factory=dict)
    listed: list[Axis] = field(default_factory=list)
    composition: Composition = field(default_factory=lambda: Composition({}))
    scale: str | None = None

    @property
    def fixed(self) -> dict[str, Any]:
        """What the command line sets, by dotted key; the largest value of an axis."""
        largest = {axis.key: max(axis.numbers) for axis in self.listed if axis.numbers}
        return {key: value for key, (value, _) in self.typed.items()} | largest


def read_request(request: Request, hardware: Hardware) -> Reading:
    """Read all that a request names, and check each setting for itself.

    Raises:
        UsageError: All that is wrong, at once.
    """
    reading = Reading()
    with gathering() as gather:
        with gather.step():
            if request.base_config is not None:
                reading.base = read_base_config(request.base_config)
        with gather.step():
            if request.strategy is not None:
                reading.template = read_template(find_template(request.strategy))
        files_are_read = not gather.problems
        for argument in request.overrides:
            with gather.step():
                read_override(argument, reading.overrides)
        for key, value in reading.overrides.settings.items():
            with gather.step():
                reading.typed[_once(key, reading)] = (value, COMMAND_LINE)
        for key, values in reading.overrides.axes.items():
            with gather.step():
                axis = make_axis(_once(key, reading), values, COMMAND_LINE)
                _check_axis(request, axis, values)
                reading.listed.append(axis)
        groups = dict(reading.overrides.groups)
        with gather.step():
            if request.tier is not None and "tier" in groups:
                message = f"got --tier {request.tier} and tier={groups['tier']}"
                raise UsageError(Problem(f"{message}, expected one of them", COMMAND_LINE))
        if request.tier is not None:
            groups["tier"] = request.tier
        explicit = {group for group, option in groups.items() if (group, option) != AUTO}
        if groups.get("tier", "auto") == "auto":
            groups["tier"] = hardware.best_tier()
        with gather.step():
            check_options(groups)
        if files_are_read and not explicit & {"model", "task"}:  # these say which keys there are
            with gather.step():
                check_fields(_files(reading).over(Layer(reading.typed)).settings)
    _compose(request, hardware, reading, groups, explicit)
    check_fields(reading.composition.over(Layer(reading.typed)).settings)
    return reading


def _once(key: str, reading: Reading) -> str:
    full = full_key(key, COMMAND_LINE)
    if full in reading.typed or full in [axis.key for axis in reading.listed]:
        raise UsageError(Problem(f"{full} is given twice", COMMAND_LINE, "give each setting once"))
    return full


def _check_axis(request: Request, axis: Axis, given: Any) -> None:
    if request.strategy is not None:
        return
    if isinstance(given, list):
        got, typed = f"{len(given)} values", ",".join(map(str, given))
    else:
        got, typed = "a range", "…"
    raise UsageError(
        Problem(
            f"{axis.key}: got {got}, a single run takes one",
            axis.source,
            f"arbiter sweep --strategy TEMPLATE {axis.key}={typed}",
        )
    )


def _compose(
    request: Request,
    hardware: Hardware,
    reading: Reading,
    groups: Mapping[str, str],
    explicit: Collection[str],
) -> None:
    """Put the groups, the base config and the template over each other."""
    group_layer, group_scale = compose_groups(groups, explicit)
    reading.scale = request.scale or group_scale
    composition = _files(reading, Composition({}).over(group_layer))
    if "tier" in explicit:  # a person's word now, against a file's from before
        own = {k: v for k, v in group_layer.settings.items() if k.startswith("tier.")}
        composition = composition.over(Layer(own))
    for key, (value, place) in group_layer.settings.items():
        after, source = composition.settings.get(key, (value, place))
        group = place.split("/")[1]
        if group in explicit and group != "tier" and after != value:
            composition.notes.append(
                f"{group}={groups[group]} sets {key} {value}; {source} {after}"
            )
    if "tier" not in explicit and composition.settings["tier.name"][0] == groups["tier"]:
        device = "no GPU is in use" if not hardware.gpus else f"{min(hardware.gpus):.0f} GiB a GPU"
        composition.notes.append(f"tier {groups['tier']}: {device}")
    reading.composition = composition


def _files(reading: Reading, under: Composition | None = None) -> Composition:
    composition = (under or Composition({})).over(reading.base)
    return composition.over(reading.template.layer) if reading.template else composition


def full_size(reading: Reading) -> dict[str, Any]:
    """Return every setting as it is without a scale and, if it is whole so, the command line."""
    try:
        config = check(reading.composition.settings)
    except UsageError:  # the command line may give what the files lack
        config = check(reading.composition.over(Layer(reading.typed)).settings)
    return flatten(config.model_dump())

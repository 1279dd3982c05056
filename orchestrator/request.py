"""What a person asked for: read from files and the command line, and put together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator.axis import Axis
from orchestrator.compose import (
    Composition,
    Layer,
    check,
    check_fields,
)
from orchestrator.errors import COMMAND_LINE, Problem, UsageError, gathering
from orchestrator.groups import check_options, compose_groups
from orchestrator.hardware import Hardware
from orchestrator.overrides import Overrides, read_override
from orchestrator.shared_files import find_template
from orchestrator.space_table import full_key, make_axis
from orchestrator.spellings import (
    ATTENTION,
    MICRO_BATCH,
    attention,
    micro_batch,
    respell,
    respell_axis,
)
from orchestrator.template import (
    Template,
    read_base_config,
    read_template,
)
from orchestrator.toml_file import flatten
from trainer.config import TierConfig, TrainingConfig

AUTO = ("tier", "auto")
BATCH = "training.batch_size"
Deferred = Mapping[str, tuple[str, Any, str]]


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
    deferred: dict[str, tuple[str, Any, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
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
        given = {key: (value, COMMAND_LINE) for key, value in reading.overrides.settings.items()}
        read = respell(given)
        gather.problems += read.problems
        reading.deferred, reading.notes = read.deferred, read.notes
        for key, typed in read.settings.items():
            with gather.step():
                reading.typed[_once(key, reading)] = typed
        for key, values in reading.overrides.axes.items():
            with gather.step():
                name, meant, notes = respell_axis(key, values, COMMAND_LINE)
                reading.notes += notes
                axis = make_axis(_once(name, reading), meant, COMMAND_LINE)
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
    own: dict[str, tuple[Any, str]] = {}
    if "tier" in explicit:  # a person's word now, against a file's from before
        own = {k: v for k, v in group_layer.settings.items() if k.startswith("tier.")}
    composition = composition.over(Layer(own))
    known = composition.over(Layer(reading.typed))
    older = _older(reading)
    for key in sorted({*older} & {*own}):
        name, _, place = older.pop(key)
        composition.notes.append(f"tier={groups['tier']} sets {key} {own[key][0]}; {place} {name}")
    composition = composition.over(_settled(older, reading, known))
    given = {k for k, (_, place) in group_layer.settings.items() if place.split("/")[1] in explicit}
    composition = composition.over(_filled(reading, composition, given))
    last = _settled(reading.deferred, reading, known)
    reading.typed |= last.settings
    composition.notes[:0] = [*reading.notes, *last.notes]
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


def _filled(reading: Reading, composition: Composition, given: Collection[str]) -> Layer:
    """Return a value for each placeholder that only an axis fills; the trials have their own.

    Args:
        reading: What was asked for.
        composition: Its files and groups.
        given: Settings of the groups that a person chose. A default fills no placeholder.

    Raises:
        UsageError: There are placeholders that nobody fills.
    """
    layers = [reading.base, *([reading.template.layer] if reading.template else [])]
    axes = {axis.key: axis for axis in (reading.template.axes if reading.template else ())}
    axes |= {axis.key: axis for axis in reading.listed}
    known = {*given, *reading.typed, *axes, *(key for layer in layers for key in layer.settings)}
    if reading.template is not None and reading.scale in reading.template.scales:
        small = reading.template.scales[reading.scale]
        known |= {*small.settings, *small.space}
    problems = []
    for layer in layers:
        for key, (name, place) in layer.blanks.items():
            if key not in known:
                message = f"placeholder {{{{{name}}}}} is not filled: {key} has no value"
                hint = f"{key}=VALUE on the command line"
                if reading.template is not None:
                    hint += f", or {key.rpartition('.')[2]} = [VALUE, …] in [space]"
                problems.append(Problem(message, place, hint))
    if problems:
        raise UsageError(*problems)
    return Layer(
        {
            key: (axes[key].values[0], axes[key].source)
            for layer in layers
            for key in layer.blanks
            if key in axes and key not in composition.settings
        }
    )


def _older(reading: Reading) -> dict[str, tuple[str, Any, str]]:
    """Return the deferred settings of the files that nothing said later replaces."""
    later = {*reading.typed, *reading.deferred}
    deferred = dict(reading.base.deferred)
    if reading.template is not None:
        for key in reading.template.layer.settings:
            deferred.pop(key, None)
        deferred |= reading.template.layer.deferred
    return {key: given for key, given in deferred.items() if key not in later}


def _settled(deferred: Deferred, reading: Reading, known: Composition) -> Layer:
    """Return what older settings mean, now that the batch and the device are known.

    Raises:
        UsageError: A batch cannot be split into so many parts.
    """
    settings: dict[str, tuple[Any, str]] = {}
    notes: list[str] = []
    with gathering() as gather:
        for ours, given in deferred.items():
            with gather.step():
                value: Any
                if ours == MICRO_BATCH:
                    axes = [*(reading.template.axes if reading.template else ()), *reading.listed]
                    tried = [
                        list(a.values)
                        for a in axes
                        if a.key == BATCH and a.key not in reading.typed
                    ]
                    batch = tried[-1] if tried else _value(known, BATCH, TrainingConfig)
                    value = micro_batch(given, batch)
                else:
                    assert ours == ATTENTION, ours
                    value = attention(given, _value(known, "tier.device", TierConfig))
                key, before, place = given
                settings[ours] = (value, place)
                why = ": the device is a CPU" if value == "auto" else ""
                given_as = f"{place}: {key} = {str(before).lower()}"
                notes.append(f"{given_as} is read as {ours} = {value}{why}")
    return Layer(settings, notes=tuple(notes))


def _value(known: Composition, key: str, section: type[BaseModel]) -> Any:
    """Return a setting, or its default."""
    default = section.model_fields[key.partition(".")[2]].default
    return known.settings.get(key, (default, ""))[0]


def _files(reading: Reading, under: Composition | None = None) -> Composition:
    composition = (under or Composition({})).over(reading.base)
    return composition.over(reading.template.layer) if reading.template else composition


def full_size(reading: Reading) -> dict[str, Any]:
    """Return every setting as it is without a scale and, if it is whole so, the command line."""
    try:
        config = check(reading.composition.settings)
    except UsageError:  # the command line may give what the files lack
        config = check(reading.composition.over(Layer(reading.typed)).settings)
    settings = flatten(config.model_dump())
    if config.data.task == "corpus":
        settings["training.seq_len"] = config.seq_len  # also where it is the task's own
    return settings

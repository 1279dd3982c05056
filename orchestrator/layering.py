"""Put the layers of a request over each other: groups, base config, template, command line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel

from orchestrator.axis import Axis
from orchestrator.compose import Composition, Layer, check
from orchestrator.errors import Problem, UsageError, gathering
from orchestrator.group_axis import with_options
from orchestrator.groups import compose_groups, group_of, place_of
from orchestrator.request import Reading
from orchestrator.spellings import ATTENTION, MICRO_BATCH, attention, micro_batch
from orchestrator.toml_file import flatten
from trainer.config import TierConfig, TrainingConfig

BATCH = "training.batch_size"
Deferred = Mapping[str, tuple[str, Any, str]]


def put_together(
    reading: Reading,
    groups: Mapping[str, str],
    explicit: Collection[str],
) -> None:
    """Put the groups, the base config and the template over each other."""
    chosen = compose_groups(groups, explicit)
    group_layer = chosen.layer
    reading.about = {**chosen.ablation, **reading.about}
    reading.scale = reading.request.scale or chosen.scale
    tried = [with_options(axis, reading.typed) for axis in reading.axes]
    reading.axes = tuple(axis for axis, _ in tried)
    reading.notes += [note for _, notes in tried for note in notes]
    composition = files_of(reading, Composition({}, options=chosen.options).over(group_layer))
    own: dict[str, tuple[Any, str]] = {}
    if "tier" in explicit:  # a person's word now, against a file's from before
        own = {k: v for k, v in group_layer.settings.items() if k.startswith("tier.")}
    composition.notes.extend(
        f"tier={groups['tier']} sets {key} {value}; {place} {before}"
        for key, (value, _) in own.items()
        for before, place in [composition.settings[key]]
        if before != value and key not in ("tier.name", "tier.device")
    )
    composition = composition.over(Layer(own))
    known = composition.over(Layer(reading.typed))
    older = _older(reading)
    for key in sorted({*older} & {*own}):
        name, _, place = older.pop(key)
        composition.notes.append(f"tier={groups['tier']} sets {key} {own[key][0]}; {place} {name}")
    composition = composition.over(_settled(older, reading, known))
    given = {k for k, (_, place) in group_layer.settings.items() if place.split("/")[1] in explicit}
    check_filled(reading, given)
    composition = composition.over(_filled(reading, composition))
    last = _settled(reading.deferred, reading, known)
    reading.typed |= last.settings
    composition.notes[:0] = [*reading.notes, *last.notes]
    for key, (value, place) in group_layer.settings.items():
        after, source = composition.settings.get(key, (value, place))
        group = group_of(place)
        if group in explicit and group != "tier" and after != value:
            composition.notes.append(
                f"{group}={groups[group]} sets {key} {value}; {source} {after}"
            )
    picked = composition.settings["tier.name"][1] == place_of("tier", groups["tier"])
    reading.automatic = "tier" not in explicit and picked and "tier.name" not in reading.typed
    reading.composition = composition


def check_filled(reading: Reading, given: Collection[str] = ()) -> None:
    """Refuse placeholders that nobody fills.

    Args:
        reading: What was asked for.
        given: Settings of the groups that a person chose. A default fills no placeholder.

    Raises:
        UsageError: They are named, with their places.
    """
    layers = layers_of(reading)
    known = {*given, *reading.typed, *_filling(reading)}
    known |= {key for layer in layers for key in layer.settings}
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


def _filled(reading: Reading, composition: Composition) -> Layer:
    """Return a value for each placeholder that only an axis fills; the trials have their own."""
    axes = _filling(reading)
    return Layer(
        {
            key: (axes[key].first(key), axes[key].source)
            for layer in layers_of(reading)
            for key in layer.blanks
            if key in axes and key not in composition.settings
        }
    )


def layers_of(reading: Reading) -> list[Layer]:
    """Return what the base config and the template say."""
    return [reading.base, *([reading.template.layer] if reading.template else [])]


def _filling(reading: Reading) -> dict[str, Axis]:
    """Return the axes by the settings that each of their values gives."""
    return {
        key: axis
        for axis in (*reading.axes, *reading.listed)
        for key in axis.keys
        if axis.options is None or all(key in axis.settings(value) for value in axis.values)
    }


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
                    axes = [*reading.axes, *reading.listed]
                    tried = [
                        list(a.values_of(BATCH))
                        for a in axes
                        if BATCH in a.keys and BATCH not in reading.typed
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


def files_of(reading: Reading, under: Composition | None = None) -> Composition:
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

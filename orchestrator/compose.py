"""From layers of settings to a checked run config. The only importer of Hydra.

Order, last wins: schema defaults, Hydra groups, base config, template, its scale, command
line, the trial's point. Every value keeps its source. All that is wrong is said at once.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.errors import Problem, UsageError, nearest
from orchestrator.shared_files import find
from orchestrator.toml_file import flatten, nest
from trainer.config import CorpusData, DecoderConfig, ModularData, QuadraticMLPConfig, RunConfig

SECTIONS = tuple(RunConfig.model_fields)
GROUPS = ("task", "model", "trainer", "tier")
VARIANTS: dict[str, tuple[type[BaseModel], ...]] = {
    "model.kind": (DecoderConfig, QuadraticMLPConfig),
    "data.task": (CorpusData, ModularData),
}
"""Sections of several kinds, by the key that names the kind."""


@dataclass(frozen=True)
class Layer:
    """Settings of one origin: dotted key to (value, source)."""

    settings: Mapping[str, tuple[Any, str]]


@dataclass(frozen=True)
class Composition:
    """The settings of a run before its point, each with its source.

    Args:
        settings: Dotted key to (value, source).
        notes: What a person should know about how they came together.
    """

    settings: dict[str, tuple[Any, str]]
    notes: list[str] = field(default_factory=list)

    def config(self, point: Mapping[str, tuple[Any, str]]) -> RunConfig:
        """Return the checked run config at a point of the space.

        Raises:
            UsageError: All that is wrong, each with its place.
        """
        return check(self.over(Layer(point)).settings)

    def over(self, layer: Layer) -> Composition:
        """Return this composition with a layer on top.

        A layer that names another kind of a section starts that section anew: the keys of the
        other kind have no meaning in it.
        """
        settings, notes = dict(self.settings), list(self.notes)
        for key, variants in VARIANTS.items():
            if key not in layer.settings:
                continue
            default = variants[0].model_fields[key.partition(".")[2]].default
            before, _ = settings.get(key, (default, "default"))
            after, why = layer.settings[key]
            section = key.partition(".")[0] + "."
            dropped = [k for k in settings if k.startswith(section) and k != key]
            if before != after and dropped:
                notes.append(
                    f'{key} = "{after}" ({why}) starts [{section[:-1]}] anew: dropped'
                    f" {', '.join(dropped)}"
                )
                for name in dropped:
                    del settings[name]
        return Composition(settings | dict(layer.settings), notes)


def check(settings: Mapping[str, tuple[Any, str]]) -> RunConfig:
    """Return the run config of dotted settings.

    Raises:
        UsageError: All that is wrong, each with its place.
    """
    try:
        return RunConfig.model_validate(nest({key: value for key, (value, _) in settings.items()}))
    except ValidationError as error:
        raise UsageError(*_problems(error, settings)) from error


def _problems(error: ValidationError, settings: Mapping[str, tuple[Any, str]]) -> list[Problem]:
    problems = []
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        kinds = {
            variant.model_fields[key.partition(".")[2]].default
            for key, variants in VARIANTS.items()
            for variant in variants
        }
        if len(path) > 1 and path[1] in kinds:
            del path[1]
        if item["type"] == "union_tag_invalid":
            path.append(item["ctx"]["discriminator"].strip("'"))
        key = next(
            (".".join(path[:n]) for n in range(len(path), 0, -1) if ".".join(path[:n]) in settings),
            ".".join(path),
        )
        if key in settings:
            place = settings[key][1]
        else:  # a check over several settings: name where those it speaks of came from
            words = set(re.findall(r"[\w.]+", item["msg"]))
            spoken = [
                source
                for name, (_, source) in settings.items()
                if name.startswith(key) and words & {name, name.rpartition(".")[2]}
            ]
            place = ", ".join(dict.fromkeys(spoken))
        section = path[0] if path and path[0] in SECTIONS else ""
        names = [name for name in setting_keys() if name.startswith(f"{section}.")] or SECTIONS
        hint = ""
        if item["type"] == "extra_forbidden":
            leaf = key.rpartition(".")[2]
            elsewhere = [name for name in setting_keys() if name.rpartition(".")[2] == leaf]
            hint = f"it is a setting of another section: {elsewhere[0]}" if elsewhere else ""
            if key in elsewhere:
                hint = f"{key} belongs to another kind of [{section}]"
        problems.append(Problem(explain(item, key, names), place, hint))
    return problems


def explain(item: Any, key: str, names: Iterable[str]) -> str:
    """Say what is wrong in one line, from an entry of pydantic's error list.

    Args:
        item: The entry.
        key: Dotted key it concerns.
        names: Known keys, for the nearest one.
    """
    kind, got = item["type"], item["input"]
    if kind == "extra_forbidden":
        leaf = key.rpartition(".")[2]
        known = [name.rpartition(".")[2] for name in names]
        return f"unknown key {key}{nearest(leaf, known) or nearest(key, names)}"
    if kind == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    if kind == "union_tag_invalid":
        return f"{key}: got {item['ctx']['tag']!r}, expected one of {item['ctx']['expected_tags']}"
    if kind.endswith("_type") or kind.endswith("_parsing"):
        expected = {
            "int": "a whole number",
            "float": "a number",
            "bool": "true or false",
            "string": "text",
        }.get(kind.partition("_")[0], item["msg"])
        return f"{key}: got {got!r}, expected {expected}"
    return f"{key}: got {got!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


@cache
def setting_keys() -> tuple[str, ...]:
    """Return every dotted key of the run config, of all kinds of its sections."""
    keys: dict[str, None] = {}
    variants = {key.partition(".")[0]: models for key, models in VARIANTS.items()}
    for section, info in RunConfig.model_fields.items():
        models = variants.get(section, ())
        if not models:
            assert isinstance(info.annotation, type)
            models = (typing.cast(type[BaseModel], info.annotation),)
        for model in models:
            keys |= dict.fromkeys(f"{section}.{name}" for name in model.model_fields)
    return tuple(keys)


@dataclass(frozen=True)
class Overrides:
    """Positional arguments of a command, parsed.

    Args:
        groups: `group=option`, by group.
        settings: `a.b=1`, by key.
        axes: `a.b=1,2`: the listed values, by key.
    """

    groups: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, list[Any]] = field(default_factory=dict)


def parse_overrides(arguments: Sequence[str]) -> Overrides:
    """Parse Hydra's override grammar.

    Raises:
        UsageError: An argument is not of the form `key=value`.
    """
    parsed = Overrides()
    if not arguments:
        return parsed
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, OverrideType, Sweep
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    problems = []
    for argument in arguments:
        try:
            override = parser.parse_override(argument)
        except HydraException as error:
            reason = str(error).splitlines()[0]
            problems.append(
                Problem(f"cannot read {argument!r}: {reason}", "command line", "key=value")
            )
            continue
        key = override.key_or_group
        value = override.value()
        if override.type is not OverrideType.CHANGE:
            problems.append(
                Problem(
                    f"{argument!r}: every setting exists, so it is only changed",
                    "command line",
                    argument.lstrip("+~"),
                )
            )
        elif key in GROUPS:
            parsed.groups[key] = str(value)
        elif isinstance(value, ChoiceSweep) and not (value.shuffle or value.tags):
            parsed.axes[key] = [_plain(v) for v in value.list]
        elif isinstance(value, Sweep):
            problems.append(
                Problem(
                    f"{argument!r}: only listed values are searched", "command line", f"{key}=1,2,3"
                )
            )
        else:
            parsed.settings[key] = _plain(value)
    if problems:
        raise UsageError(*problems)
    return parsed


def _plain(value: Any) -> Any:
    """Return Hydra's quoted strings as text."""
    return getattr(value, "text", value)


def compose_groups(groups: Mapping[str, str], explicit: Iterable[str]) -> tuple[Layer, str | None]:
    """Return the settings of the Hydra groups, and the scale they ask for.

    Args:
        groups: Option by group; others take the default of `configs/config.yaml`.
        explicit: Groups that a person chose. A tier that was picked by machine does not set
            the effective batch, or the same command would learn something else elsewhere.

    Raises:
        UsageError: There is no such option.
    """
    import omegaconf
    from hydra import compose, initialize_config_dir

    folder = find("configs")
    problems = []
    for group, option in groups.items():
        known = sorted(path.stem for path in (folder / group).glob("*.yaml"))
        if option not in known:
            problems.append(
                Problem(
                    f"no {group} {option!r}{nearest(option, known)}",
                    "command line",
                    f"{group} is one of {', '.join(known)}",
                )
            )
    if problems:
        raise UsageError(*problems)
    with initialize_config_dir(str(folder), version_base=None):
        config = compose(
            "config",
            overrides=[f"{group}={option}" for group, option in groups.items()],
            return_hydra_config=True,
        )
    settings: dict[str, tuple[Any, str]] = {}
    scale = None
    for group, option in config.hydra.runtime.choices.items():
        if option is None or "/" in group or group not in GROUPS:
            continue
        place = f"configs/{group}/{option}.yaml"
        tables = omegaconf.OmegaConf.to_container(
            omegaconf.OmegaConf.load(folder / group / f"{option}.yaml"), resolve=False
        )
        assert isinstance(tables, dict)
        scale = tables.pop("scale", scale)
        if group == "tier" and group not in explicit:
            tables.pop("training", None)
        for key in flatten({str(k): v for k, v in tables.items()}):
            settings[key] = (omegaconf.OmegaConf.select(config, key), place)
    return Layer(settings), scale

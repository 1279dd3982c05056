"""From layers of settings to a checked run config. The only importer of Hydra.

Order, last wins: schema defaults, Hydra groups, base config, template, its scale, command
line, the trial's point. Every value keeps its source. All that is wrong is said at once.
"""

from __future__ import annotations

import contextlib
import math
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache, cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.errors import Problem, UsageError, gathering, nearest
from orchestrator.placeholders import filled, names_in
from orchestrator.shared_files import find
from orchestrator.spellings import canonical
from orchestrator.toml_file import flatten, nest
from trainer.config import CorpusData, DecoderConfig, ModularData, QuadraticMLPConfig, RunConfig

SECTIONS = tuple(RunConfig.model_fields)
GROUPS = ("task", "model", "trainer", "tier")
COMMAND_LINE = "command line"
VARIANTS: dict[str, tuple[type[BaseModel], ...]] = {
    "model.kind": (DecoderConfig, QuadraticMLPConfig),
    "data.task": (CorpusData, ModularData),
}
"""Sections of several kinds, by the key that names the kind."""


@dataclass(frozen=True)
class Layer:
    """Settings of one origin.

    Args:
        settings: Dotted key to (value, source).
        deferred: What means a setting only beside the others (`spellings.DEFERRED`).
        notes: What a person should know about how they were read.
        blanks: Setting to (placeholder, source): what the file leaves to others to say.
    """

    settings: Mapping[str, tuple[Any, str]]
    deferred: Mapping[str, tuple[str, Any, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    blanks: Mapping[str, tuple[str, str]] = field(default_factory=dict)


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
        if not point.keys() & VARIANTS.keys() and not self._has_placeholders:
            with contextlib.suppress(ValidationError, UsageError, TypeError):
                return RunConfig.model_validate(self._tree_at(point))
        return check(self.over(Layer(point)).settings)  # says what is wrong, with its place

    @cached_property
    def _has_placeholders(self) -> bool:
        return any(names_in(value) for value, _ in self.settings.values())

    @cached_property
    def _tree(self) -> dict[str, Any]:
        return _nested(self.settings)

    def _tree_at(self, point: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
        """Return the nested settings at a point, which differ in few sections."""
        tree = dict(self._tree)
        for key, (value, _) in point.items():
            section, _, leaf = key.partition(".")
            tree[section] = tree.get(section, {}) | {leaf: value}
        return tree

    def over(self, layer: Layer) -> Composition:
        """Return this composition with a layer on top.

        A layer that names another kind of a section starts that section anew: the keys of the
        other kind have no meaning in it.
        """
        settings, notes = dict(self.settings), [*self.notes, *layer.notes]
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
        return RunConfig.model_validate(_nested(fill(settings)))
    except ValidationError as error:
        raise UsageError(*_problems(error.errors(), settings)) from error


def check_fields(settings: Mapping[str, tuple[Any, str]]) -> None:
    """Check each setting for itself: its name, its type, its range.

    What settings must be together is left to `check`: a layer that is still to come may mend it,
    and may fill a placeholder.

    Raises:
        UsageError: All that is wrong, each with its place.
    """
    try:
        known = fill(settings)
        there = {key: item for key, item in known.items() if not names_in(item[0])}
        RunConfig.model_validate(_nested(there))
    except ValidationError as error:
        alone = [item for item in error.errors() if item["type"] != "value_error"]
        if alone:
            raise UsageError(*_problems(alone, settings)) from error


def named(placeholder: str) -> tuple[str, ...]:
    """Return the settings that a placeholder may stand for: one, if it can be used."""
    leaf = canonical(placeholder.lower()).rpartition(".")[2]
    return tuple(key for key in setting_keys() if key.rpartition(".")[2] == leaf)


def fill(settings: Mapping[str, tuple[Any, str]]) -> dict[str, tuple[Any, str]]:
    """Return the settings with each placeholder filled that another setting fills."""
    known = dict(settings)

    def value_of(name: str, below: tuple[str, ...]) -> Any:
        (key,) = named(name) or ("",)
        if key in below:
            raise KeyError(key)
        return value_at(key, below)

    def value_at(key: str, below: tuple[str, ...] = ()) -> Any:
        value, _ = known[key]
        if not names_in(value):
            return value
        return filled(value, lambda name: value_of(name, (*below, key)))

    for key, (value, place) in settings.items():
        if isinstance(value, str) and names_in(value):
            with contextlib.suppress(KeyError, ValueError):  # what stays is refused by its type
                known[key] = (value_at(key), place)
    return known


def _nested(settings: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    try:
        return nest({key: value for key, (value, _) in settings.items()})
    except UsageError as error:
        deep = [source for key, (_, source) in settings.items() if key.count(".") > 1]
        raise UsageError(
            *(Problem(p.message, ", ".join(dict.fromkeys(deep))) for p in error.problems)
        ) from error


def _problems(items: Sequence[Any], settings: Mapping[str, tuple[Any, str]]) -> list[Problem]:
    kinds = {
        variant.model_fields[key.partition(".")[2]].default
        for key, variants in VARIANTS.items()
        for variant in variants
    }
    problems = []
    by_key: dict[str, list[Any]] = {}
    for item in items:
        path = [str(part) for part in item["loc"]]
        if len(path) > 1 and path[1] in kinds:
            del path[1]
        if item["type"].startswith("union_tag"):
            path.append(item["ctx"]["discriminator"].strip("'"))
        key = next(
            (".".join(path[:n]) for n in range(len(path), 0, -1) if ".".join(path[:n]) in settings),
            ".".join(path),
        )
        if item["type"] == "value_error":
            problems.append(Problem(explain(key, [item], ()), _spoken_of(item, key, settings)))
        else:
            by_key.setdefault(key, []).append(item)
    given = [key for key in settings if key in by_key]  # in the order of the files
    for key in dict.fromkeys([*given, *by_key]):
        same = by_key[key]
        section, _, leaf = key.partition(".")
        names = [name for name in setting_keys() if name.startswith(f"{section}.")] or SECTIONS
        place = settings[key][1] if key in settings else _under(key, settings)
        hint = ""
        if same[0]["type"] == "extra_forbidden":
            elsewhere = [name for name in setting_keys() if name.rpartition(".")[2] == leaf]
            hint = f"it is a setting of another section: {elsewhere[0]}" if elsewhere else ""
            if key in elsewhere:
                hint = f"{key} belongs to another kind of [{section}]"
        elif isinstance(same[0]["input"], list):
            listed = ",".join(str(value) for value in same[0]["input"])
            hint = f"{key}={listed} on the command line, or [space] in a template, tries each"
        problems.append(Problem(explain(key, same, names), place, hint))
    return problems


def _spoken_of(item: Any, key: str, settings: Mapping[str, tuple[Any, str]]) -> str:
    """Name where the settings came from that a check over several of them speaks of."""
    words = set(re.findall(r"[\w.]+", item["msg"]))
    spoken = [
        source
        for name, (_, source) in settings.items()
        if name.startswith(key) and words & {name, name.rpartition(".")[2]}
    ]
    return ", ".join(dict.fromkeys(spoken))


def _under(key: str, settings: Mapping[str, tuple[Any, str]]) -> str:
    """Name where the settings inside of a table came from."""
    inside = [source for name, (_, source) in settings.items() if name.startswith(f"{key}.")]
    return ", ".join(dict.fromkeys(inside))


def explain(key: str, items: Sequence[Any], names: Iterable[str]) -> str:
    """Say what is wrong with one key in one line, from entries of pydantic's error list.

    Args:
        key: Dotted key.
        items: The entries that concern it; a setting of several types has one for each.
        names: Known keys, for the nearest one.
    """
    kind, got = items[0]["type"], items[0]["input"]
    if kind == "extra_forbidden":
        leaf = key.rpartition(".")[2]
        leaves = [name.rpartition(".")[2] for name in names]
        return f"unknown key {key}{nearest(leaf, leaves) or nearest(key, names)}"
    if kind == "value_error":
        return str(items[0]["msg"]).removeprefix("Value error, ")
    if kind == "union_tag_invalid":
        got = items[0]["ctx"]["tag"]
    expected = " or ".join(dict.fromkeys(_expected(item) for item in items))
    close = nearest(got, re.findall(r"'([^']*)'", expected)) if isinstance(got, str) else ""
    return f"{key}: got {got!r}, expected {expected}{close}"


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "finite_number": "a finite number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "{expected}",
    "union_tag_invalid": "one of {expected_tags}",
    "model_type": "a table",
}


def _expected(item: Any) -> str:
    """Say what an entry of pydantic's error list would have taken."""
    if item["type"] in _EXPECTED:
        return _EXPECTED[item["type"]].format(**item.get("ctx", {}))
    text = str(item["msg"]).removeprefix("Input should be ")
    return text[0].lower() + text[1:]


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


def default_of(key: str, settings: Mapping[str, tuple[Any, str]]) -> Any:
    """Return the schema's default of a setting; None where this kind of run has no such setting.

    Args:
        key: Dotted key.
        settings: They say of which kind each section is.
    """
    section, _, leaf = key.partition(".")
    model = RunConfig.model_fields[section].annotation
    for name, variants in VARIANTS.items():
        if name.startswith(f"{section}."):
            kind = name.partition(".")[2]
            default = variants[0].model_fields[kind].default
            chosen = settings[name][0] if name in settings else default
            model = next((m for m in variants if m.model_fields[kind].default == chosen), None)
    info = (
        model.model_fields.get(leaf)
        if isinstance(model, type) and issubclass(model, BaseModel)
        else None
    )
    return None if info is None else info.get_default(call_default_factory=True)


@dataclass(frozen=True)
class Overrides:
    """Positional arguments of a command, parsed.

    Args:
        groups: `group=option`, by group.
        settings: `a.b=1`, by key.
        axes: `a.b=1,2`: the listed values, or the table of a range as in `[space]`, by key.
    """

    groups: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, list[Any] | dict[str, Any]] = field(default_factory=dict)


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
    except HydraException as error:
        if "=" not in argument:
            raise refuse(f"got {argument!r}, expected key=value", "training.steps=100") from error
        reason = str(error).splitlines()[0]
        hint = "put a value with spaces or signs in it in quotes: 'key=\"a b\"'"
        raise refuse(f"cannot read {argument!r}: {reason}", hint) from error
    key = override.key_or_group
    if override.type is not OverrideType.CHANGE:
        raise refuse(
            f"{argument!r}: settings are neither added nor deleted, every one exists",
            f"{key}=VALUE changes it; leave it out to keep it as it is",
        )
    if key in (*into.groups, *into.settings, *into.axes):
        raise refuse(f"{argument!r}: {key} is given twice", "give each setting once")
    if key in GROUPS:
        if isinstance(value, Sweep | Glob):
            raise refuse(f"{argument!r}: a group takes one option", f"{key}=NAME")
        into.groups[key] = str(_plain(value))
    elif isinstance(value, Glob):
        message = f"{argument!r}: a setting has no options to choose from by pattern"
        raise refuse(message, f"{key}=1,2,3")
    elif isinstance(value, Sweep):
        try:
            into.axes[key] = _swept(value)
        except ValueError as error:
            raise refuse(f"{argument!r}: {error}", f"{key}={SWEEPS}") from error
    else:
        into.settings[key] = _plain(value)


SWEEPS = "1,2,3, or range(1,4), interval(0,1), int(interval(2,12)), tag(log,interval(1e-5,1e-3))"


def _swept(sweep: Any) -> list[Any] | dict[str, Any]:
    """Return Hydra's sweep as `[space]` would write it.

    Raises:
        ValueError: It has a part that no search has a use for.
    """
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep

    if getattr(sweep, "shuffle", False):
        raise ValueError("the search decides the order: --search random shuffles")
    log = sweep.tags == {"log"} and isinstance(sweep, IntervalSweep)
    if sweep.tags and not log:
        tags = ", ".join(sorted(sweep.tags))
        raise ValueError(f"got tag {tags}, expected none, or log on an interval")
    if isinstance(sweep, ChoiceSweep):
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


def check_options(groups: Mapping[str, str]) -> None:
    """Refuse options of groups that do not exist. Hydra is not loaded for it.

    Raises:
        UsageError: There is no such option.
    """
    problems = []
    for group, option in groups.items():
        known = sorted(path.stem for path in (find("configs") / group).glob("*.yaml"))
        if option not in known:
            problems.append(
                Problem(
                    f"no {group} {option!r}{nearest(option, known)}",
                    COMMAND_LINE,
                    f"{group} is one of {', '.join(known)}",
                )
            )
    if problems:
        raise UsageError(*problems)


def compose_groups(groups: Mapping[str, str], explicit: Iterable[str]) -> tuple[Layer, str | None]:
    """Return the settings of the Hydra groups, and the scale they ask for.

    Args:
        groups: Option by group; others take the default of `configs/config.yaml`.
        explicit: Groups that a person chose. A tier that was picked by machine does not set
            the effective batch, or the same command would learn something else elsewhere.

    Raises:
        UsageError: There is no such option.
    """
    check_options(groups)
    import omegaconf
    from hydra import compose, initialize_config_dir

    folder = find("configs")
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

"""From layers of settings to a checked run config.

Order, last wins: schema defaults, Hydra groups, base config, template, its scale, command
line, the trial's point. Every value keeps its source. All that is wrong is said at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import Problem, UsageError
from orchestrator.explain import problems_of
from orchestrator.placeholders import filled, names_in
from orchestrator.settings import VARIANTS, has_kind, setting_keys
from orchestrator.spellings import canonical
from orchestrator.toml_file import nest
from trainer.config import IN_EPOCHS, RunConfig


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
        options: Chosen option by Hydra group.
    """

    settings: dict[str, tuple[Any, str]]
    notes: list[str] = field(default_factory=list)
    options: Mapping[str, str] = field(default_factory=dict)

    def config(self, point: Mapping[str, tuple[Any, str]]) -> RunConfig:
        """Return the checked run config at a point of the space.

        Raises:
            UsageError: All that is wrong, each with its place.
        """
        if not point.keys() & VARIANTS.keys() and not self._has_placeholders:
            with contextlib.suppress(ValidationError, UsageError, TypeError):
                return RunConfig.model_validate(self._tree_at(point))
        return check(self.at(point).settings)  # says what is wrong, with its place

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
            *path, leaf = key.split(".")
            table = tree
            for name in path:  # what is shared with other points stays as it is
                table[name] = dict(table.get(name, {}))
                table = table[name]
            table[leaf] = value
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
        for one, other in _INSTEAD.items():
            if one in layer.settings and other not in layer.settings:
                settings.pop(other, None)
        _refuse_both(layer)
        return replace(self, settings=settings | dict(layer.settings), notes=notes)

    def at(self, point: Mapping[str, tuple[Any, str]]) -> Composition:
        """Return this composition with the settings of a point on top.

        Another kind of a section keeps what both kinds have: it was said of this sweep. What only
        other kinds have is left out, and noted.
        """
        settings, notes = dict(self.settings), []
        for key in VARIANTS.keys() & point.keys():
            section, kind = key.partition(".")[0] + ".", point[key][0]
            idle = [k for k in settings if k.startswith(section) and not has_kind(key, kind, k)]
            if idle:
                notes.append(f'{key} = "{kind}" has no {", ".join(idle)}')
            for name in idle:
                del settings[name]
        return replace(self, settings=settings | dict(point), notes=notes)


def _refuse_both(layer: Layer) -> None:
    """Refuse one origin that counts the same in two units; a snapshot has none for the other."""
    given = {key: item for key, item in layer.settings.items() if item[0] is not None}
    problems = [
        Problem(
            f"got {epochs} = {given[epochs][0]} and {steps} = {given[steps][0]}, expected one of them",
            given[epochs][1],
        )
        for epochs, steps in IN_EPOCHS.items()
        if epochs in given and steps in given
    ]
    if problems:
        raise UsageError(*problems)


_INSTEAD = {**IN_EPOCHS, **{steps: epochs for epochs, steps in IN_EPOCHS.items()}}
"""Settings that say the same in two units: the later one is meant."""


def check(settings: Mapping[str, tuple[Any, str]]) -> RunConfig:
    """Return the run config of dotted settings.

    Raises:
        UsageError: All that is wrong, each with its place.
    """
    try:
        return RunConfig.model_validate(_nested(fill(settings)))
    except ValidationError as error:
        raise UsageError(*problems_of(error.errors(), settings)) from error


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
            raise UsageError(*problems_of(alone, settings)) from error


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

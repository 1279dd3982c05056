"""What a sweep asks for, as read from a TOML file: settings, space, search, objective."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.axis import Axis
from orchestrator.compose import Layer, named
from orchestrator.constraint import Constraint
from orchestrator.errors import Gather, Problem, UsageError, nearest, shown
from orchestrator.explain import explain
from orchestrator.familiar import suggestion, table_hint
from orchestrator.objective import Objective
from orchestrator.placeholders import is_whole, names_in
from orchestrator.settings import SECTIONS, setting_keys
from orchestrator.space_table import SpaceTable, axis_entries, make_axis, parse_seeds, read_space
from orchestrator.spellings import (
    OLDER_SECTIONS,
    asks_nothing,
    canonical,
    foreign,
    refusal,
    respell,
    respell_axis,
)
from orchestrator.toml_file import ConfigFile, flatten, read_config_file

TABLES = ("space", "search", "objective", "scale")
TEXTS = ("name", "description")
Section = TypeVar("Section", bound=BaseModel)


class SearchSection(BaseModel):
    """`[search]`: who proposes the points, and how many."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    method: str = "grid"
    max_trials: int | None = Field(None, ge=1, description="points x seeds")
    seed: int = Field(0, ge=0, description="of the strategy's random numbers")


class ObjectiveSection(BaseModel):
    """`[objective]`: what ranks."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    metric: str = "val/loss"
    mode: Literal["min", "max"] = "min"
    statistic: Literal["mean", "median"] = "mean"

    def judged(self) -> Objective:
        """Return the objective; a time until something happens is judged by its median."""
        asked = Objective(**self.model_dump())
        return replace(asked, statistic=asked.middle)


@dataclass(frozen=True)
class Scale:
    """`[scale.NAME]`: what a smaller run of the template sets and tries instead."""

    settings: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Template:
    """A parsed template; nothing in it has been checked against the run config yet.

    Args:
        name: For the run directory and the reports.
        layer: Its settings.
        axes: Its space, `seeds` left out.
        seeds: Seeds of every point; None where the template does not say.
        require: What every point must keep.
        search: Who proposes.
        objective: What ranks.
        scales: Smaller versions by name.
        places: Where each table or key stands in the file.
    """

    name: str
    layer: Layer
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...] | None
    require: tuple[Constraint, ...]
    search: SearchSection
    objective: Objective
    scales: dict[str, Scale]
    file: ConfigFile


def read_template(path: Path, gather: Gather) -> Template:
    """Read a template.

    Args:
        path: A TOML file.
        gather: Hears all that is wrong with its form; what is right is returned.

    Raises:
        UsageError: It cannot be read.
    """
    file = read_config_file(path)
    gather.problems += unknown_tables(file, (*SECTIONS, *TABLES))
    search = _section(file, "search", SearchSection, gather)
    objective = _section(file, "objective", ObjectiveSection, gather)
    judged = objective.judged()
    if judged.event and objective.statistic == "mean" and "statistic" in objective.model_fields_set:
        message = (
            f'objective.statistic: got "mean", which {objective.metric} has not: a run may end'
            " before it is reached"
        )
        hint = 'statistic = "median", or leave it out'
        gather.problems.append(Problem(message, file.place("objective.statistic"), hint))
    space = SpaceTable()
    with gather.step():
        space = read_space(_table(file, "space"), lambda key: file.place(f"space.{key}"))
    scales = _scales(file, gather)
    layer = settings_layer(file, gather)
    name = file.tables.get("name")
    return Template(
        name=name if isinstance(name, str) else path.stem,
        layer=replace(layer, notes=(*layer.notes, *_axis_notes(file))),
        axes=tuple(space.axes.values()),
        seeds=space.seeds,
        require=tuple(space.require),
        search=search,
        objective=judged,
        scales=scales,
        file=file,
    )


def read_base_config(path: Path, gather: Gather) -> Layer:
    """Read the settings of a base config; a space belongs in a template.

    Args:
        path: A TOML file, or the YAML snapshot of a trial.
        gather: Hears of all that a base config cannot have; what it can is returned.

    Raises:
        UsageError: It cannot be read.
    """
    file = read_config_file(path)
    gather.problems += unknown_tables(file, SECTIONS, also=TABLES)
    return settings_layer(file, gather)


def settings_layer(file: ConfigFile, gather: Gather) -> Layer:
    """Return the run-config tables of a file as a layer with a place for each key.

    Args:
        file: Any.
        gather: Hears of what other programs have and this one has not.
    """
    known = (*SECTIONS, *OLDER_SECTIONS)
    tables = {key: _table(file, key) for key in file.tables if key in known}
    settings = {key: (value, file.place(key)) for key, value in flatten(tables).items()}
    read = respell(settings)
    blanks, wrong = _blanks(file, read.settings)
    gather.problems += read.problems + wrong
    tokenizer, place = read.settings.get("data.tokenizer_path", (None, ""))
    if tokenizer is not None and "data.tokenizer" not in read.settings:
        read.settings["data.tokenizer"] = ("bpe", place)
        read.notes.append(f'{place}: data.tokenizer_path is read with data.tokenizer = "bpe"')
    return Layer(read.settings, read.deferred, tuple(read.notes), blanks)


def _blanks(
    file: ConfigFile, settings: dict[str, tuple[Any, str]]
) -> tuple[dict[str, tuple[str, str]], list[Problem]]:
    """Return the settings that a file leaves to others to say, and take them out of its own."""
    labels = {key: (file.tables[key], file.place(key)) for key in TEXTS if key in file.tables}
    blanks: dict[str, tuple[str, str]] = {}
    problems = []
    for key, (value, place) in (labels | settings).items():
        for name in names_in(value):
            meant = named(name)
            if len(meant) != 1:
                known = sorted({k.rpartition(".")[2].upper() for k in setting_keys()})
                close = nearest(name.upper(), known) or suggestion(name, ())
                message = f"unknown placeholder {{{{{name}}}}}{close}"
                hint = "a setting by its short name in capitals: {{DIM}} is model.dim"
                if meant:
                    message = f"placeholder {{{{{name}}}}} is ambiguous: {' and '.join(meant)}"
                problems.append(Problem(message, place, hint))
                continue
            blanks.setdefault(meant[0], (name, place))
            if key == meant[0] and is_whole(value):
                del settings[key]
    for table in TABLES:
        for key, value in flatten({table: _table(file, table)}).items():
            if found := names_in(value):
                message = f"{key}: got the placeholder {{{{{found[0]}}}}}, expected a value"
                hint = "a placeholder stands in a setting or a name; [space] is what fills it"
                problems.append(Problem(message, file.place(key), hint))
    return blanks, problems


def unknown_tables(
    file: ConfigFile, known: tuple[str, ...], also: tuple[str, ...] = ()
) -> list[Problem]:
    """Return a problem for each top-level key that has no place in this kind of file."""
    problems = []
    for key, value in file.tables.items():
        if key in (*known, *OLDER_SECTIONS) and isinstance(value, dict):
            continue
        if key in TEXTS:
            if not isinstance(value, str):
                message = f"{key}: got {shown(value)}, expected text"
                problems.append(Problem(message, file.place(key), f'{key} = "…"'))
        elif key in (*known, *OLDER_SECTIONS):
            problems.append(_no_table(file, key, value))
        elif key in also:
            problems.append(
                Problem(
                    f"[{key}] belongs in a sweep template, this is a base config",
                    file.place(key),
                    f"--strategy {file.path}",
                )
            )
        elif isinstance(value, dict):
            hint = table_hint(key)
            message = f"unknown table [{key}]{'' if hint else nearest(key, known)}"
            problems.append(Problem(message, file.place(key), hint or f"known: {', '.join(known)}"))
        else:
            problems.append(_unknown_key(file, key, value, (*known, *TEXTS)))
    return problems


def _unknown_key(file: ConfigFile, key: str, value: Any, known: Sequence[str]) -> Problem:
    """Return what is wrong with a key that stands in no table."""
    place = file.place(key)
    if (found := foreign(key)) is not None:
        if asks_nothing(key, value, {}, found):
            return Problem(
                f"{key} stands in no table, and changes nothing here", place, "leave it out"
            )
        return refusal(key, f"got {shown(value)}", place, found)
    meant = canonical(key)
    homes = [name for name in setting_keys() if meant in (name, name.rpartition(".")[2])]
    if homes:
        hint = " or ".join("[{0}] {2} = …".format(*name.partition(".")) for name in homes)
        return Problem(f"{key} stands in no table, it is {' or '.join(homes)}", place, hint)
    leaves = [name.rpartition(".")[2] for name in setting_keys()]
    close = nearest(key, known) or suggestion(key, leaves)
    return Problem(f"unknown key {key}{close}", place, f"known: {', '.join(known)}")


def _no_table(file: ConfigFile, key: str, value: Any) -> Problem:
    return Problem(f"{key}: got {shown(value)}, expected a table", file.place(key), f"[{key}]")


def _table(file: ConfigFile, key: str) -> dict[str, Any]:
    """Return a top-level table; empty where it is not one, which `unknown_tables` reports."""
    table = file.tables.get(key, {})
    return table if isinstance(table, dict) else {}


def _section(file: ConfigFile, name: str, model: type[Section], gather: Gather) -> Section:
    """Return a table as its model reads it; its defaults where it is wrong."""
    try:
        return model.model_validate(_table(file, name))
    except ValidationError as error:
        for item in error.errors():
            key = f"{name}.{item['loc'][0]}"
            message = explain(key, [item], model.model_fields)
            gather.problems.append(Problem(message, file.place(key)))
        return model()


def _axis_notes(file: ConfigFile) -> list[str]:
    """Return what was read as what in `[space]`."""
    notes: list[str] = []
    for key, values in axis_entries(_table(file, "space")).items():
        if key not in ("seeds", "zip", "require"):
            with contextlib.suppress(UsageError):  # `read_space` says it
                notes += respell_axis(key, values, file.place(f"space.{key}"))[2]
    return notes


def _scales(file: ConfigFile, gather: Gather) -> dict[str, Scale]:
    scales: dict[str, Scale] = {}
    problems = gather.problems
    for name, table in _table(file, "scale").items():
        if not isinstance(table, dict):
            problems.append(_no_table(file, f"scale.{name}", table))
            continue
        settings: dict[str, Any] = {}
        space: dict[str, Any] = {}
        for key, value in table.items():
            prefix = f"scale.{name}.{key}"
            if not isinstance(value, dict) and key in (*SECTIONS, "space"):
                problems.append(_no_table(file, prefix, value))
            elif key == "space":
                for short, values in axis_entries(value).items():
                    place = file.place(f"{prefix}.{short}")
                    with gather.step():
                        if short == "seeds":
                            parse_seeds(values, place)
                            space[short] = values
                        else:
                            space[make_axis(short, values, place).key] = values
            elif key in SECTIONS:
                flat = {f"{key}.{leaf}": v for leaf, v in flatten(value).items()}
                places = {k: (v, file.place(f"scale.{name}.{k}")) for k, v in flat.items()}
                read = respell(places)
                problems += read.problems
                for old, _, place in read.deferred.values():
                    message = f"{old} belongs in the template itself, or the base config"
                    problems.append(Problem(message, place, "tier.micro_batch, tier.attention"))
                settings |= {k: v for k, (v, _) in read.settings.items()}
            else:
                names = (*SECTIONS, "space")
                message = f"unknown table [{prefix}]{nearest(key, names)}"
                hint = f"known: {', '.join(names)}"
                problems.append(Problem(message, file.place(prefix), hint))
        scales[name] = Scale(settings, space)
    return scales

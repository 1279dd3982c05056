"""What a sweep asks for, as read from a TOML file: settings, space, search, objective."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.compose import SECTIONS, Layer, explain, setting_keys
from orchestrator.errors import Problem, UsageError, nearest
from orchestrator.objective import Objective
from orchestrator.space import Axis
from orchestrator.toml_file import ConfigFile, flatten, read_config_file

TABLES = ("space", "search", "objective", "scale")
LABELS = ("name", "description")


class SearchSection(BaseModel):
    """`[search]`: who proposes the points, and how many."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    method: str = "grid"
    max_trials: int | None = Field(None, ge=1, description="points x seeds")
    seed: int = Field(0, ge=0, description="of the strategy's random numbers")


class ObjectiveSection(BaseModel):
    """`[objective]`: what ranks."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    metric: str = Field("val/loss", pattern=r"^[a-z]+/[a-z0-9_]+$")
    mode: str = Field("min", pattern="^(min|max)$")
    statistic: str = Field("mean", pattern="^(mean|median)$")


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
        search: Who proposes.
        objective: What ranks.
        scales: Smaller versions by name.
        places: Where each table or key stands in the file.
    """

    name: str
    layer: Layer
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...] | None
    search: SearchSection
    objective: Objective
    scales: dict[str, Scale]
    file: ConfigFile


def read_template(path: Path) -> Template:
    """Read a template.

    Raises:
        UsageError: All that is wrong with its form, at once.
    """
    file = read_config_file(path)
    problems = unknown_tables(file, (*SECTIONS, *TABLES))
    search, wrong = _section(file, "search", SearchSection)
    problems += wrong
    objective, wrong = _section(file, "objective", ObjectiveSection)
    problems += wrong
    axes, seeds, wrong = _space(file, file.tables.get("space", {}), "space")
    problems += wrong
    scales, wrong = _scales(file)
    problems += wrong
    if problems:
        raise UsageError(*problems)
    assert isinstance(search, SearchSection) and isinstance(objective, ObjectiveSection)
    return Template(
        name=str(file.tables.get("name", path.stem)),
        layer=settings_layer(file),
        axes=axes,
        seeds=seeds,
        search=search,
        objective=Objective(**objective.model_dump()),
        scales=scales,
        file=file,
    )


def read_base_config(path: Path) -> Layer:
    """Read the settings of a base config; a space belongs in a template.

    Raises:
        UsageError: It holds tables that a base config cannot have.
    """
    file = read_config_file(path)
    problems = unknown_tables(file, SECTIONS, also=TABLES)
    if problems:
        raise UsageError(*problems)
    return settings_layer(file)


def settings_layer(file: ConfigFile) -> Layer:
    """Return the run-config tables of a file as a layer with a place for each key."""
    settings = flatten({key: file.tables[key] for key in SECTIONS if key in file.tables})
    return Layer({key: (value, file.place(key)) for key, value in settings.items()})


def unknown_tables(
    file: ConfigFile, known: tuple[str, ...], also: tuple[str, ...] = ()
) -> list[Problem]:
    """Return a problem for each top-level key that has no place in this kind of file."""
    problems = []
    for key, value in file.tables.items():
        if key in known and isinstance(value, dict):
            continue
        if key in LABELS and isinstance(value, str):
            continue
        if key in known:
            problems.append(Problem(f"{key} is a table: got {value!r}", file.place(key)))
        elif key in also:
            problems.append(
                Problem(
                    f"[{key}] belongs in a sweep template, this is a base config",
                    file.place(key),
                    f"--strategy {file.path}",
                )
            )
        else:
            names = (*known, *LABELS)
            shown = f"[{key}]" if isinstance(value, dict) else key
            problems.append(
                Problem(
                    f"unknown {'table' if isinstance(value, dict) else 'key'}"
                    f" {shown}{nearest(key, names)}",
                    file.place(key),
                    f"known: {', '.join(names)}",
                )
            )
    return problems


def _section(
    file: ConfigFile, name: str, model: type[BaseModel]
) -> tuple[BaseModel | None, list[Problem]]:
    try:
        return model.model_validate(file.tables.get(name, {})), []
    except ValidationError as error:
        return None, [
            Problem(
                explain(e, f"{name}.{e['loc'][0]}" if e["loc"] else name, model.model_fields),
                file.place(f"{name}.{e['loc'][0]}" if e["loc"] else name),
            )
            for e in error.errors()
        ]


def _space(
    file: ConfigFile, table: Any, prefix: str
) -> tuple[tuple[Axis, ...], tuple[int, ...] | None, list[Problem]]:
    """Read `[space]`: `seeds`, and axes by dotted or unambiguous short key."""
    axes: list[Axis] = []
    problems: list[Problem] = []
    seeds = None
    for key, value in flatten(table).items():
        place = file.place(f"{prefix}.{key}")
        try:
            if key == "seeds":
                seeds = parse_seeds(value, place)
            else:
                axes.append(make_axis(key, value, place))
        except UsageError as error:
            problems += error.problems
    return tuple(axes), seeds, problems


def make_axis(key: str, values: Any, place: str) -> Axis:
    """Return an axis over listed values.

    Raises:
        UsageError: There is no value, or the key is unknown or ambiguous.
    """
    if not isinstance(values, list):
        raise UsageError(
            Problem(
                f"axis {key}: got {values!r}, expected a list of values",
                place,
                f"{key} = [{values!r}], or move it to its own table to set it for all trials",
            )
        )
    if not values:
        raise UsageError(Problem(f"axis {key} has no values: expected at least one", place))
    return Axis(full_key(key, place), tuple(values), place)


def full_key(key: str, place: str) -> str:
    """Return the dotted key of a short one (`n_layers` -> `model.n_layers`).

    Raises:
        UsageError: Several sections, or none, have a setting of that name.
    """
    known = setting_keys()
    if "." in key:
        if key not in known:
            raise UsageError(Problem(f"unknown setting {key}{nearest(key, known)}", place))
        return key
    found = [name for name in known if name.rpartition(".")[2] == key]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(Problem(f"{key} is ambiguous: one of {', '.join(found)}", place))
    leaves = {name.rpartition(".")[2]: name for name in known}
    close = nearest(key, leaves)
    raise UsageError(Problem(f"unknown setting {key}{close}", place))


def parse_seeds(value: Any, place: str) -> tuple[int, ...]:
    """Return the seeds of `3` (0, 1, 2) or of a list.

    Raises:
        UsageError: Not a positive count or a list of different seeds.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return tuple(range(value))
    if isinstance(value, list) and value and all(type(v) is int and v >= 0 for v in value):
        return tuple(dict.fromkeys(value))
    raise UsageError(
        Problem(f"seeds: got {value!r}, expected a count of at least 1 or a list of seeds", place)
    )


def _scales(file: ConfigFile) -> tuple[dict[str, Scale], list[Problem]]:
    scales: dict[str, Scale] = {}
    problems: list[Problem] = []
    for name, table in file.tables.get("scale", {}).items():
        place = file.place(f"scale.{name}")
        if not isinstance(table, dict):
            problems.append(Problem(f"[scale.{name}] is a table: got {table!r}", place))
            continue
        settings = {key: value for key, value in table.items() if key != "space"}
        for key in settings:
            if key not in SECTIONS:
                problems.append(
                    Problem(f"unknown table [scale.{name}.{key}]{nearest(key, SECTIONS)}", place)
                )
        space = flatten(table.get("space", {}))
        scales[name] = Scale(
            {key: value for key, value in flatten(settings).items()},
            {k if k == "seeds" else full_key(k, place): v for k, v in space.items()},
        )
    return scales, problems

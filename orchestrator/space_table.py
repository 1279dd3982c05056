"""`[space]` of a template: axes in all their forms, seeds, what moves together, what must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from orchestrator.axis import Axis
from orchestrator.constraint import Constraint, parse_constraint
from orchestrator.errors import Problem, UsageError, gathering, nearest, shown
from orchestrator.familiar import suggestion
from orchestrator.groups import GROUPS, check_option
from orchestrator.interval import Interval
from orchestrator.settings import SECTIONS, is_apart, setting_keys
from orchestrator.space import space_of
from orchestrator.spellings import respell_axis
from orchestrator.toml_file import flatten
from trainer.identity import DECIDING

RANGES = ("uniform", "log_uniform", "integer")
LISTS = ("choice", "values")
WORDS = (*RANGES, *LISTS, "step", "points", "log", "when")
"""The keys of an axis's table."""

SEED = "training.seed"
FORMS = "[1, 2], { uniform = [0.0, 1.0] }, { log_uniform = [1e-5, 1e-3] }, { integer = [2, 12] }"
MOST_POINTS = 10_000
MOST_SEEDS = 10_000
SEED_LIMIT = 2**31
"""Seeds are below it, as `training.seed` is."""
LARGEST, LARGEST_INTEGER = 1e300, 10**15
"""Of an end of a range: the difference of two must be a number, whole numbers be counted."""


@dataclass
class SpaceTable:
    """What `[space]` says.

    Args:
        axes: In the order of the file.
        seeds: Of every point; None where it does not say.
        require: What every point must keep.
    """

    axes: dict[str, Axis] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    require: list[Constraint] = field(default_factory=list)

    def add(self, axis: Axis) -> None:
        """Add an axis.

        Raises:
            UsageError: The setting has one.
        """
        if axis.key in self.axes:
            raise UsageError(Problem(f"axis {axis.key} is given twice", axis.source))
        self.axes[axis.key] = axis


def read_space(table: dict[str, Any], place: Callable[[str], str]) -> SpaceTable:
    """Read the table.

    Args:
        table: As parsed.
        place: Where a key of it stands.

    Raises:
        UsageError: All that is wrong with its form.
    """
    read = SpaceTable()
    with gathering() as gather:
        for key, value in axis_entries(table).items():
            with gather.step():
                if key == "seeds":
                    read.seeds = parse_seeds(value, place(key))
                elif key == "zip":
                    _zips(value, place, read)
                elif key == "require":
                    rules = value if isinstance(value, list) else [value]
                    resolve = partial(full_key, place=place(key))
                    read.require = [parse_constraint(rule, place(key), resolve) for rule in rules]
                else:
                    read.add(make_axis(key, value, place(key)))
    return read


def axis_entries(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the entries by dotted key; the table of an axis stays whole."""
    names = {name for key in setting_keys() for name in (key, key.rpartition(".")[2])}
    found: dict[str, Any] = {}
    for key, value in table.items():
        full = f"{prefix}{key}"
        form = isinstance(value, dict) and any(word in value for word in WORDS)
        listed = full in GROUPS and isinstance(value, dict) and any(w in value for w in LISTS)
        is_axis = full in names or form
        if isinstance(value, dict) and value and not listed and (full in SECTIONS or not is_axis):
            found |= axis_entries(value, f"{full}.")
        elif value != {} or is_axis or full == "zip":
            found[full] = value
    return found


def _zips(value: Any, place: Callable[[str], str], read: SpaceTable) -> None:
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        message = f"zip: got {shown(value)}, expected tables of lists"
        raise UsageError(Problem(message, place("zip"), "[[space.zip]]"))
    for number, table in enumerate(value):
        entries = flatten(table)
        for key, values in entries.items():
            if isinstance(values, dict) or any(f".{word}" in key for word in WORDS):
                message = f"zip: {key} is not a list, expected one value for each of the others'"
                raise UsageError(Problem(message, place(f"zip.{key}"), f"{key} = [1, 2, 3]"))
        if len(entries) < 2:
            message = f"zip: got {len(entries)} axes, expected at least two that move together"
            raise UsageError(Problem(message, place("zip")))
        axes = [make_axis(key, values, place(f"zip.{key}")) for key, values in entries.items()]
        together = [replace(axis, zipped=number) for axis in axes]
        space_of(together)
        for axis in together:
            read.add(axis)


def make_axis(key: str, values: Any, place: str) -> Axis:
    """Return an axis over listed values, or over a range.

    Args:
        key: Dotted, or short.
        values: A list, or a table of `WORDS`.
        place: Where it was given.

    Raises:
        UsageError: There is no value, the form is unknown, or the key is unknown, ambiguous or
            decides nothing.
    """
    name, values, _ = respell_axis(key, values, place)
    full = full_key(name, place)
    if full == SEED:
        message = "the seed is no axis: it is the unit of evidence"
        raise UsageError(Problem(message, place, "seeds = 3 in [space], or --seeds 3"))
    if not decides(full):
        message = f"axis {key}: {'a tier' if full == 'tier' else full} decides nothing of the result, all its trials would be one"
        hint = f"one value for all trials: {full}=… on the command line"
        raise UsageError(Problem(message, place, hint))
    if isinstance(values, dict):
        return _from_table(full, key, values, place)
    if not isinstance(values, list):
        section, _, leaf = full.partition(".")
        hint = f"one value for all trials belongs in [{section}]: {leaf} = …"
        if full in GROUPS:
            hint = f"one option for all trials: {full}=NAME on the command line"
        message = f"axis {key}: got {shown(values)}, expected a list of values"
        raise UsageError(Problem(message, place, hint))
    if not values:
        raise UsageError(
            Problem(f"axis {key}: got no values, expected at least one", place, "or leave it out")
        )
    if full not in GROUPS:
        return Axis(full, tuple(values), place)
    with gathering() as gather:
        for option in values:
            with gather.step():
                check_option(full, option, place)
    return Axis(full, tuple(values), place, options={})


def _from_table(full: str, key: str, table: dict[str, Any], place: str) -> Axis:
    def refuse(message: str, hint: str = FORMS) -> UsageError:
        return UsageError(Problem(f"axis {key}: {message}", place, hint))

    for word in table:
        if word not in WORDS:
            raise refuse(f"unknown key {word}{nearest(word, WORDS)}")
    forms = [word for word in (*RANGES, *LISTS) if word in table]
    if len(forms) != 1:
        got = " and ".join(forms) or "none"
        raise refuse(f"got {got}, expected one of {', '.join((*RANGES, *LISTS))}")
    (form,) = forms
    when = {
        full_key(name, place): value if isinstance(value, list) else [value]
        for name, value in _conditions(table.get("when", {}), refuse).items()
    }
    if full in when:
        raise refuse("its own value cannot be its condition", "name another setting")
    if full in GROUPS and form in RANGES:
        raise refuse(f"got {form}, expected names: it is a group", f"{key}=glob(*) tries each")
    if form in LISTS:
        for word in ("step", "points", "log"):
            if word in table:
                raise refuse(f"{word} has no meaning for listed values", f"{form} = [1, 2, 3]")
        return replace(make_axis(key, table[form], place), when=when)
    interval = _interval(form, table, refuse)
    return Axis(full, interval.values, place, interval, when)


def _conditions(when: Any, refuse: Callable[..., UsageError]) -> Mapping[str, Any]:
    if not isinstance(when, dict):
        raise refuse(
            f"when: got {shown(when)}, expected a table", 'when = { "model.kind" = "decoder" }'
        )
    conditions = flatten({"": when}) if when else {}
    for name, value in conditions.items():
        if value in ([], {}):
            raise refuse(f"when: {name.lstrip('.')} has no value", "or leave it out")
    return {name.lstrip("."): value for name, value in conditions.items()}


def _interval(form: str, table: dict[str, Any], refuse: Callable[..., UsageError]) -> Interval:
    """Return the range of an axis's table."""
    integer = form == "integer"
    what = "whole numbers" if integer else "numbers"
    ends = table[form]
    if not (
        isinstance(ends, list) and len(ends) == 2 and all(_is_number(e, integer) for e in ends)
    ):
        raise refuse(f"got {form} = {shown(ends)}, expected two {what}")
    low, high = ends if integer else map(float, ends)
    if low >= high:
        raise refuse(f"got {form} = {ends!r}, expected the smaller end first")
    log = table.get("log", form == "log_uniform")
    if type(log) is not bool or (form != "integer" and "log" in table):
        raise refuse("log: true or false belongs to integer", f"log_uniform = {ends!r}")
    if log and low <= 0:
        raise refuse(f"got {form} = {ends!r}, expected ends above 0 for a logarithm")
    step, points = table.get("step"), table.get("points")
    if step is not None and points is not None:
        raise refuse("got step and points, expected one of them", "points = 5")
    if step is not None:
        if log:
            raise refuse("step has no meaning where ratios count", "points = 5")
        if not _is_number(step, integer) or not 0 < step <= high - low:
            raise refuse(f"got step = {shown(step)}, expected more than 0, at most {high - low}")
        if (high - low) / step > LARGEST_INTEGER:
            raise refuse(f"got step = {step!r}, expected at most 1e15 of them", "points = 5")
        step = step if integer else float(step)
    if points is not None and not (type(points) is int and 2 <= points <= MOST_POINTS):
        raise refuse(f"got points = {shown(points)}, expected 2 to {MOST_POINTS:,}", "points = 5")
    return Interval(low, high, log, integer, step, points)


def _is_number(value: Any, integer: bool) -> bool:
    kinds = (int,) if integer else (int, float)
    return type(value) in kinds and abs(value) <= (LARGEST_INTEGER if integer else LARGEST)


def decides(key: str) -> bool:
    """Return whether a setting is in the trial id (`trainer.identity.deciding_settings`)."""
    if key in GROUPS:
        return key != "tier"  # of the others their options say
    return key.partition(".")[0] in DECIDING and not is_apart(key)


def full_key(key: str, place: str) -> str:
    """Return the dotted key of a short one (`n_layers` -> `model.n_layers`); a group is its own.

    Raises:
        UsageError: Several sections, or none, have a setting of that name.
    """
    known = setting_keys()
    if key in known or key in GROUPS:
        return key
    found = [name for name in known if name.rpartition(".")[2] == key]
    if len(found) == 1:
        return found[0]
    if found:
        message = f"{key} is ambiguous: got a name of {len(found)} settings"
        raise UsageError(Problem(message, place, f"one of {', '.join(found)}"))
    hint = "seeds = 3 in [space], or --seeds 3" if key in ("seeds", "training.seeds") else ""
    leaf = key.rpartition(".")[2]
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    close = nearest(key, same_leaf) if key.count(".") > 1 else ""
    if same_leaf and not close:
        hint = f"there is {' and '.join(same_leaf)}"
    leaves = [name.rpartition(".")[2] for name in known]
    close = close or suggestion(leaf, ()) or (nearest(key, known) if "." in key else "")
    close = close or nearest(leaf, leaves)
    raise UsageError(Problem(f"unknown setting {key}{'' if hint else close}", place, hint))


def parse_seeds(value: Any, place: str) -> tuple[int, ...]:
    """Return the seeds of `3` (0, 1, 2) or of a list.

    Raises:
        UsageError: Not a count from 1 to `MOST_SEEDS`, or a list of different seeds.
    """
    hint = "seeds = 3, or seeds = [0, 1, 2]"
    if isinstance(value, list) and value and all(type(v) is int and v >= 0 for v in value):
        wrong = [seed for n, seed in enumerate(value) if seed >= SEED_LIMIT or seed in value[:n]]
        if not wrong:
            return tuple(value)
        why = "a seed below 2,147,483,648" if wrong[0] >= SEED_LIMIT else "each seed once"
        raise UsageError(Problem(f"seeds: got {wrong[0]}, expected {why}", place, hint))
    if type(value) is int and 1 <= value <= MOST_SEEDS:
        return tuple(range(value))
    message = (
        f"seeds: got {shown(value)}, expected a count from 1 to {MOST_SEEDS:,} or a list of seeds"
    )
    raise UsageError(Problem(message, place, hint))

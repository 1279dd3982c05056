"""Read all that a request names, and refuse at once all that is wrong with it."""

from __future__ import annotations

import re
from typing import Any

from orchestrator.ablation.settings import PREFIX, read_settings
from orchestrator.axis import Axis
from orchestrator.compose import Layer, check_fields
from orchestrator.errors import COMMAND_LINE, Gather, Problem, UsageError, gathering
from orchestrator.groups import GROUPS, check_options, options_of
from orchestrator.hardware import Hardware
from orchestrator.layering import check_filled, files_of, layers_of, put_together
from orchestrator.overrides import SWEEPS, Pattern, parse_overrides, read_override
from orchestrator.request import Reading, Request
from orchestrator.settings import words_of
from orchestrator.shared_files import find_template
from orchestrator.space_check import check_space
from orchestrator.space_table import SEED, full_key, make_axis
from orchestrator.spellings import respell, respell_axis
from orchestrator.template import read_base_config, read_template

AUTO = ("tier", "auto")
LIMIT = "limits.wall_clock_minutes"
"""What `ablation.timeout_minutes` sets."""


def read_request(request: Request, hardware: Hardware) -> Reading:
    """Read all that a request names, and check each setting for itself.

    Raises:
        UsageError: All that is wrong, at once.
    """
    reading = Reading(request)
    with gathering() as gather:
        known = _read_files(reading, gather)
        _read_arguments(reading, gather)
        groups, explicit = _options(reading, hardware, gather)
        tried = {axis.key for axis in reading.axes}
        with gather.step():  # before Hydra is loaded; a scale may still make it smaller
            if request.scale is None and "trainer" not in explicit:
                space, seeds = reading.space(reading.axes), reading.seeds() or (None,)
                check_space(space, len(seeds), reading.most, reading.method, reading.space_place)
        if known and not (explicit | tried) & {"model", "task", "trainer"}:
            reading.scale = request.scale
            with gather.step():
                check_filled(reading)
        with gather.step():
            # An option may say which keys there are, and so may a file that cannot be read.
            if known and not (explicit | tried) & {"model", "task"}:
                check_fields(files_of(reading).over(Layer(reading.typed)).settings)
    put_together(reading, groups, explicit)
    with gathering() as gather:
        with gather.step():
            if request.ablation:
                _read_ablation(reading)
        with gather.step():
            check_fields(reading.composition.over(Layer(reading.typed)).settings)
    return reading


def _read_ablation(reading: Reading) -> None:
    """Read what was said of the ablation, in a preset and on the command line."""
    settings = read_settings(reading.about)
    with gathering() as gather:
        for name, key in (("seeds", SEED), ("timeout_minutes", LIMIT)):
            if key in reading.typed and reading.place_about(name) == COMMAND_LINE:
                message = f"got {PREFIX}{name} and {key}={reading.typed[key][0]}"
                problem = Problem(f"{message}, expected one of them", COMMAND_LINE)
                gather.problems.append(problem)
    if settings.timeout_minutes is not None and LIMIT not in reading.typed:
        reading.typed[LIMIT] = (settings.timeout_minutes, reading.place_about("timeout_minutes"))
    reading.ablation = settings


def _read_files(reading: Reading, gather: Gather) -> bool:
    """Read the base config and the template, and return whether both could be read."""
    request, unread = reading.request, Gather()
    with unread.step():
        if request.base_config is not None:
            reading.base = read_base_config(request.base_config, gather)
    with unread.step():
        if request.strategy is not None:
            reading.template = read_template(find_template(request.strategy), gather)
    gather.problems += unread.problems
    return not unread.problems


def _read_arguments(reading: Reading, gather: Gather) -> None:
    """Read what was typed: options of groups, settings, axes."""
    for argument in reading.request.overrides:
        with gather.step():
            if not (reading.request.ablation and _read_about(argument, reading)):
                read_override(argument, reading.overrides)
    reading.typed |= reading.request.settings
    meant_by = _placeholders(reading)
    given: dict[str, tuple[Any, str]] = {}
    for word, value in reading.overrides.settings.items():
        with gather.step():
            key = meant_by.get(word, word)
            if key in given:
                raise _twice(key)
            given[key] = value, COMMAND_LINE
    read = respell(given)
    gather.problems += read.problems
    reading.deferred, reading.notes = read.deferred, read.notes
    for key, typed in read.settings.items():
        with gather.step():
            reading.typed[_once(key, reading)] = typed
    for key, values in reading.overrides.axes.items():
        with gather.step():
            key = meant_by.get(key, key)
            name, meant, notes = respell_axis(key, values, COMMAND_LINE)
            reading.notes += notes
            full = _once(name, reading)
            if isinstance(meant, Pattern):
                meant = _matching(full, meant)
            axis = make_axis(full, meant, COMMAND_LINE)
            _check_axis(reading.request, axis, values)
            reading.listed.append(axis)
    with gather.step():
        seeds = reading.request.seeds
        if seeds is not None and SEED in reading.typed:
            message = f"got --seeds {seeds} and {SEED}={reading.typed[SEED][0]}"
            raise UsageError(Problem(f"{message}, expected one of them", COMMAND_LINE))


def _read_about(argument: str, reading: Reading) -> bool:
    """Read an argument that speaks of the ablation; return False of any other."""
    key, _, text = argument.partition("=")
    if not key.startswith(PREFIX):
        return False
    name = key.removeprefix(PREFIX)
    if name in reading.about:
        raise _twice(key)
    if name == "baseline" and _POINT.match(text):  # Hydra's grammar wants quotes in quotes
        reading.about[name] = (text, COMMAND_LINE)
        return True
    read = parse_overrides([argument])
    for found in (read.settings, read.axes):
        for word, value in found.items():
            reading.about[word.removeprefix(PREFIX)] = (value, COMMAND_LINE)
    return True


_POINT = re.compile(r"[\w.]+=")


def _placeholders(reading: Reading) -> dict[str, str]:
    """Return the placeholders of the files, each with the setting it stands for.

    `DIM=64` fills `{{DIM}}`, as `dim=64` does.
    """
    return {name: key for layer in layers_of(reading) for key, (name, _) in layer.blanks.items()}


def _options(
    reading: Reading, hardware: Hardware, gather: Gather
) -> tuple[dict[str, str], set[str]]:
    """Return the option of each group, and the groups of which a person chose it."""
    tier = reading.request.tier
    groups = dict(reading.overrides.groups)
    with gather.step():
        if tier is not None and "tier" in groups:
            message = f"got --tier {tier} and tier={groups['tier']}"
            raise UsageError(Problem(f"{message}, expected one of them", COMMAND_LINE))
    if tier is not None:
        groups["tier"] = tier
    if (task := reading.request.task) is not None and not _names_another(reading, task):
        groups.setdefault("task", task)
    explicit = {group for group, option in groups.items() if (group, option) != AUTO}
    if groups.get("tier", "auto") == "auto":
        name = files_of(reading).over(Layer(reading.typed)).settings.get("tier.name", ("", ""))[0]
        groups["tier"] = name if name in options_of("tier") else hardware.best_tier()
    with gather.step():
        check_options(groups)
    over_groups = [axis for axis in reading.listed if axis.options is not None]
    reading.listed = [axis for axis in reading.listed if axis.options is None]
    of_template = reading.template.axes if reading.template else ()
    reading.axes = tuple(a for a in (*of_template, *over_groups) if a.key not in explicit)
    return groups, explicit


def _names_another(reading: Reading, task: str) -> bool:
    """Return whether a file, a typed setting or an axis says which task it is, and not this one."""
    known = files_of(reading).over(Layer(reading.typed)).settings
    axes = {axis.key for axis in (*reading.axes, *reading.listed)}
    return known.get("data.task", (task, ""))[0] != task or bool(axes & {"task", "data.task"})


def _once(key: str, reading: Reading) -> str:
    full = full_key(key, COMMAND_LINE)
    if full in reading.typed or full in [axis.key for axis in reading.listed]:
        raise _twice(full)
    return full


def _twice(key: str) -> UsageError:
    return UsageError(Problem(f"{key} is given twice", COMMAND_LINE, "give each setting once"))


def _matching(key: str, pattern: Pattern) -> list[Any]:
    """Return the options of a group, or the values of a setting, that a pattern means.

    Raises:
        UsageError: There is nothing to choose from, or nothing matches.
    """
    words = {name: name for name in options_of(key)} if key in GROUPS else words_of(key)
    if not words:
        message = f"{key}={pattern}: a pattern chooses among names, and this takes other values"
        raise UsageError(Problem(message, COMMAND_LINE, f"{key}={SWEEPS}"))
    names = pattern.matching(words)
    if not names:
        message = f"{key}={pattern}: matches nothing, expected one of {', '.join(words)}"
        raise UsageError(Problem(message, COMMAND_LINE, f"{key}=glob(*) tries each"))
    return [words[name] for name in names]


def _check_axis(request: Request, axis: Axis, given: Any) -> None:
    if request.strategy is not None or request.ablation:
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

"""What is wrong with a setting, in words: pydantic's errors with their places and nearest names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.errors import Problem, nearest, shown
from orchestrator.familiar import suggestion
from orchestrator.settings import SECTIONS, VARIANTS, setting_keys


def problems_of(items: Sequence[Any], settings: Mapping[str, tuple[Any, str]]) -> list[Problem]:
    """Return what is wrong with settings, those of one key in one problem.

    Args:
        items: Pydantic's error list.
        settings: Dotted key to (value, source).
    """
    problems = []
    by_key: dict[str, list[Any]] = {}
    for item in items:
        path = _path(item)
        key = next(
            (".".join(path[:n]) for n in range(len(path), 0, -1) if ".".join(path[:n]) in settings),
            ".".join(path),
        )
        inside = [name for name in settings if name.startswith(f"{key}.")]
        if item["type"] == "value_error":
            problems.append(Problem(explain(key, [item], ()), _spoken_of(item, key, settings)))
        elif item["type"] == "extra_forbidden" and inside:  # a table that nobody knows
            by_key |= {name: [item | {"input": settings[name][0]}] for name in inside}
        else:
            by_key.setdefault(key, []).append(item)
    given = [key for key in settings if key in by_key]  # in the order of the files
    for key in dict.fromkeys([*given, *by_key]):
        same = by_key[key]
        section = key.partition(".")[0]
        names = [name for name in setting_keys() if name.startswith(f"{section}.")] or SECTIONS
        place = settings[key][1] if key in settings else _under(key, settings)
        hint = ""
        if same[0]["type"] == "extra_forbidden":
            leaf = key.rpartition(".")[2]
            elsewhere = [k for k in setting_keys() if k.endswith(f".{leaf}") and leaf != "name"]
            where = "here it is" if key.count(".") > 1 else "it is a setting of another section:"
            hint = f"{where} {elsewhere[0]}" if elsewhere else ""
            if key in elsewhere:
                hint = f"{key} belongs to another kind of [{section}]"
        elif isinstance(same[0]["input"], list):
            listed = ",".join(str(value) for value in same[0]["input"])
            hint = f"{key}={listed} on the command line, or [space] in a template, tries each"
        problems.append(Problem(explain(key, same, names), place, hint))
    return problems


def _path(item: Any) -> list[str]:
    """Return where in a run config an error is, without the kinds of its sections."""
    path = [str(part) for part in item["loc"]]
    kinds = {
        model.model_fields[key.partition(".")[2]].default
        for key, models in VARIANTS.items()
        for model in models
    }
    if len(path) > 1 and path[1] in kinds:
        del path[1]
    if item["type"].startswith("union_tag"):
        path.append(item["ctx"]["discriminator"].strip("'"))
    return path


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
        others = (name.rpartition(".")[2] for name in names)
        leaves = [name for name in others if name != leaf]
        return f"unknown key {key}{suggestion(leaf, leaves)}"
    if kind == "value_error":
        return str(items[0]["msg"]).removeprefix("Value error, ")
    if kind == "union_tag_invalid":
        got = items[0]["ctx"]["tag"]
    expected = " or ".join(dict.fromkeys(_expected(item) for item in items))
    close = nearest(got, re.findall(r"'([^']*)'", expected)) if isinstance(got, str) else ""
    return f"{key}: got {shown(got)}, expected {expected}{close}"


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

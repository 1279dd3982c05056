"""An evaluation, which is plain nested values (`trainer.evaluation`), as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.pipeline.document import Block, Table, Text
from orchestrator.pipeline.figures import is_number

HEADLINES: Mapping[str, tuple[str, ...]] = {
    "bits per byte": ("likelihood", "val", "bits_per_byte"),
    "perplexity": ("likelihood", "val", "perplexity"),
    "accuracy": ("likelihood", "val", "accuracy"),
    "memorisation gap": ("memorisation", "gap"),
    "probe accuracy": ("probes", "all", "accuracy"),
}
"""Heading to the part and the value by which checkpoints are compared."""
DONE, LEFT_OUT = "done", "left out"
"""What became of a part (`trainer.evaluation.result.Status`)."""


def headline(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Return the few figures by which checkpoints are compared, those that there are."""
    found = {}
    for heading, (part, *path) in HEADLINES.items():
        value: Any = evaluation["parts"].get(part, {}).get("values")
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if is_number(value):
            found[heading] = value
    return found


def cut_short(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts for which there was no time, each with the reason."""
    parts = evaluation["parts"].items()
    return {name: part.get("reason", "") for name, part in parts if part["status"] == LEFT_OUT}


def _not_measured(evaluation: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: f"{part['status']}: {part.get('reason', '')}".rstrip(": ")
        for name, part in evaluation["parts"].items()
        if part["status"] != DONE
    }


def seconds_of(evaluation: Mapping[str, Any]) -> float:
    """Return the seconds it took."""
    return sum(float(value) for _, value in _scalars(evaluation["timing"]) if is_number(value))


def tables_of(evaluation: Mapping[str, Any]) -> Iterator[Block]:
    """Yield all that an evaluation says: a table a part, and one for each list in it."""
    for name, part in evaluation["parts"].items():
        if "values" in part:
            yield from _part(_words(name).capitalize(), part["values"])
    if missing := _not_measured(evaluation):
        yield Table(("not measured", "why"), tuple(missing.items()))


def _part(title: str, values: Mapping[str, Any]) -> Iterator[Block]:
    alike = _alike(values)
    alone = {name: value for name, value in values.items() if name not in alike}
    if alike:
        columns = list(next(iter(alike.values())))
        rows = [(_words(name), *(of[key] for key in columns)) for name, of in alike.items()]
        yield Table((title.lower(), *map(_words, columns)), tuple(rows), title)
    facts = tuple((_words(name), value) for name, value in _scalars(alone) if value is not None)
    if facts:
        yield Table(("figure", "value"), facts, "" if alike else title)
    for name, value in _lists(values):
        yield from _list(f"{title}: {_words(name)}", value)


def _alike(values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the most of the parts that measure the same; {} where no two do."""
    groups: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and not any(_nested(item) for item in value.values()):
            groups.setdefault(tuple(value), {})[name] = value
    largest = max(groups.values(), key=len, default={})
    return largest if len(largest) > 1 else {}


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping | list)


def _list(title: str, values: Sequence[Any]) -> Iterator[Block]:
    if values and all(isinstance(value, Mapping) for value in values):
        flat = [dict(_scalars(value)) for value in values]
        columns = tuple(dict.fromkeys(name for row in flat for name in row))
        if columns:
            rows = tuple((n, *map(row.get, columns)) for n, row in enumerate(flat))
            yield Table(("from 0", *map(_words, columns)), rows, title)
    elif values:
        said = ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)
        yield Text(f"{title}: {said}")


def _scalars(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}, ")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", value


def _lists(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _lists(value, f"{prefix}{name}, ")
        elif isinstance(value, list):
            yield f"{prefix}{name}", value


def _words(name: str) -> str:
    return name.replace("_", " ")

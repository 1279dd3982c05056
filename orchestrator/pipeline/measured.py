"""An evaluation, which is plain nested values, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.pipeline.document import Block, Cell, Table, Text
from orchestrator.pipeline.figures import is_number

TIMING = "timing"
ELSEWHERE = {TIMING, "gates", "passed", "step"}
"""Parts that the report has in another place."""
HEADLINES = ("bits_per_byte", "perplexity", "accuracy", "gap", "mean_reciprocal_rank")
"""Last part of the names that are compared between checkpoints."""


def headline(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Return the few figures by which checkpoints are compared, by dotted name."""
    return {
        name: value
        for name, value in _scalars(_own(evaluation))
        if is_number(value) and name.replace("/", ".").rpartition(".")[2].endswith(HEADLINES)
    }


def timing_of(evaluation: Mapping[str, Any]) -> float | None:
    """Return the seconds an evaluation took, where it says so."""
    timing = evaluation.get(TIMING)
    if is_number(timing):
        return float(timing)  # type: ignore[arg-type]
    if not isinstance(timing, Mapping):
        return None
    total = timing.get("total_s")
    seconds = [value for _, value in _scalars(timing) if is_number(value)]
    return float(total) if is_number(total) else float(sum(seconds)) if seconds else None


def tables_of(evaluation: Mapping[str, Any]) -> Iterator[Block]:
    """Yield all that an evaluation says: a table a part, and one for each list in it."""
    alone: list[tuple[Cell, ...]] = []
    parts: list[Block] = []
    for name, value in _own(evaluation).items():
        if isinstance(value, Mapping):
            parts += _part(_words(name), value)
        elif isinstance(value, list):
            parts += _list(_words(name), value)
        else:
            alone.append((_words(name), value))
    if alone:
        yield Table(("figure", "value"), tuple(alone))
    yield from parts


def _own(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in evaluation.items() if key not in ELSEWHERE}


def _part(title: str, values: Mapping[str, Any]) -> Iterator[Block]:
    rows = tuple((name, value) for name, value in _scalars(values) if value is not None)
    if rows:
        yield Table(("figure", "value"), rows, title)
    for name, value in _lists(values):
        yield from _list(f"{title}: {_words(name)}", value)


def _list(title: str, values: Sequence[Any]) -> Iterator[Block]:
    if values and all(isinstance(value, Mapping) for value in values):
        flat = [dict(_scalars(value)) for value in values]
        columns = tuple(dict.fromkeys(name for row in flat for name in row))
        if columns:
            rows = tuple(tuple(row.get(column) for column in columns) for row in flat)
            yield Table(tuple(map(_words, columns)), rows, title)
    elif values:
        said = ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)
        yield Text(f"{title}: {said}")


def _scalars(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", value


def _lists(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _lists(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", value


def _words(name: str) -> str:
    return name.replace("_", " ")

"""An evaluation for a person: a table a part, the gates last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tabulate import tabulate

from orchestrator.leaderboard.text import brief, duration, markdown_text, one_line, plain
from trainer.evaluation.result import Evaluation, Part, Status

FORMATS = ("table", "md", "json")
MOST_LAYERS = 12
"""Layers that a table shows of a deep model, spread evenly; JSON has them all."""
MISSING = "-"

Rows = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""Headers and rows."""


def render_evaluation(evaluation: Evaluation, checkpoint: str, output: str) -> str:
    """Return an evaluation in one of `FORMATS`.

    Args:
        evaluation: What was found.
        checkpoint: Its path as a person would type it.
        output: One of `FORMATS`.
    """
    if output == "json":
        return document(evaluation, checkpoint)
    return "\n\n".join(_blocks(evaluation, checkpoint, output == "md")) + "\n"


def document(evaluation: Evaluation, checkpoint: str) -> str:
    """Return an evaluation as JSON."""
    found = evaluation.to_dict()
    found["checkpoint"] = {"path": checkpoint} | found["checkpoint"]
    return json.dumps(plain(found), indent=1, allow_nan=False) + "\n"


def _blocks(evaluation: Evaluation, checkpoint: str, markdown: bool) -> Iterator[str]:
    about, setting = evaluation.checkpoint, evaluation.setting
    seconds = evaluation.load_s + sum(part.seconds for part in evaluation.parts)
    facts = [
        ["checkpoint", one_line(checkpoint)],
        ["trial", f"{about['trial_id']} at step {about['step']}"],
        ["computed", f"{setting['device']} in {setting['precision']}, {duration(seconds)}"],
    ]
    if markdown:
        yield "\n".join(f"- {name}: {markdown_text(value)}" for name, value in facts)
    else:
        yield tabulate(facts, tablefmt="plain", disable_numparse=True)
    for part in evaluation.parts:
        yield _block(part, markdown)
    if evaluation.gates:
        rows = [
            [g.name, _cell(g.value), brief(g.limit), "passed" if g.passed else "FAILED"]
            for g in evaluation.gates
        ]
        yield _titled("Gates", "", (["gate", "value", "limit", ""], rows), markdown)


def _block(part: Part, markdown: bool) -> str:
    title = part.name.capitalize()
    if part.status is not Status.DONE:
        reason = f"{part.status.value}: {one_line(part.reason)}"
        return f"## {title}\n\n{markdown_text(reason)}" if markdown else f"{title}\n  {reason}"
    note, rows = _TABLES[part.name](part.values)
    return _titled(title, note, rows, markdown)


def _titled(title: str, note: str, rows: Rows, markdown: bool) -> str:
    headers, cells = rows
    if markdown:
        shown = [[markdown_text(str(cell)) for cell in row] for row in cells]
        table = tabulate(
            shown, list(map(markdown_text, headers)), tablefmt="pipe", disable_numparse=True
        )
        head = f"## {title}\n\n" + (f"{markdown_text(note)}\n\n" if note else "")
        return head + table
    align = ["left", *["right"] * (len(headers) - 1)]
    table = tabulate(cells, headers, disable_numparse=True, colalign=align)
    return f"{title}{f': {note}' if note else ''}\n{table}"


def _cell(value: Any) -> str:
    if value is None:
        return MISSING
    return brief(value) if isinstance(value, int | float) else one_line(str(value))


def _likelihood(values: dict[str, Any]) -> tuple[str, Rows]:
    splits = {name: row for name, row in values.items() if name != "baseline"}
    names = list(dict.fromkeys(key for row in splits.values() for key in row))
    note = ", ".join(f"{key} {brief(value)}" for key, value in values["baseline"].items())
    rows = [[name, *(_cell(row.get(key)) for key in names)] for name, row in splits.items()]
    return f"baseline {note}", (["split", *names], rows)


def _memorisation(values: dict[str, Any]) -> tuple[str, Rows]:
    texts = {name: values[name] for name in ("seen", "unseen")}
    names = list(values["seen"])
    rows = [[name, *(_cell(row[key]) for key in names)] for name, row in texts.items()]
    return f"gap {brief(values['gap'])}", (["text", *names], rows)


def _probes(values: dict[str, Any]) -> tuple[str, Rows]:
    groups = {k.removeprefix("group "): v for k, v in values.items() if isinstance(v, dict)}
    names = list(values["all"])
    rows = [[one_line(name), *(_cell(row[key]) for key in names)] for name, row in groups.items()]
    return one_line(values["set"]), (["group", *names], rows)


def _activations(values: dict[str, Any]) -> tuple[str, Rows]:
    note = f"{values['positions']:,} positions"
    return _layers(note, values["layers"])


def _attention(values: dict[str, Any]) -> tuple[str, Rows]:
    layers = [{k: v for k, v in layer.items() if k != "heads"} for layer in values["layers"]]
    even = brief(values["uniform_entropy_nats"])
    return _layers(f"means of the heads; looking everywhere alike has {even} nats", layers)


def _layers(note: str, layers: Sequence[dict[str, float]]) -> tuple[str, Rows]:
    indices = list(range(len(layers)))
    if len(layers) > MOST_LAYERS:
        last, parts = len(layers) - 1, MOST_LAYERS - 1
        indices = [round(i * last / parts) for i in range(MOST_LAYERS)]
        note += f"; {MOST_LAYERS} of {len(layers)} layers, --format json has all"
    names = list(layers[0])
    rows = [[str(i), *(_cell(layers[i][name]) for name in names)] for i in indices]
    return note, (["layer", *names], rows)


_TABLES = {
    "likelihood": _likelihood,
    "memorisation": _memorisation,
    "probes": _probes,
    "activations": _activations,
    "attention": _attention,
}

"""A plan as a table, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from orchestrator.plan import Plan

FORMATS = ("table", "md", "csv", "json")


def render_plan(plan: Plan, output: str) -> str:
    """Return the plan in one of `FORMATS`."""
    if output == "json":
        return plan.to_json()
    headers = ["trial", *plan.axes, "seed", "parameters", "steps", "flops"]
    rows = [
        [
            trial.id,
            *(_cell(trial.changed.get(key, ""), output) for key in plan.axes),
            trial.seed,
            trial.parameters if output == "csv" else f"{trial.parameters:,}",
            trial.config.training.steps,
            f"{trial.flops:.3g}",
        ]
        for trial in plan.trials
    ]
    if output == "csv":
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([headers, *rows])
        return buffer.getvalue()
    if output == "md":
        return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    table = tabulate(rows, headers=headers, disable_numparse=True)
    count = f"{len(plan.trials)} trial{'' if len(plan.trials) == 1 else 's'}"
    return f"{table}\n\n{count}, ranked by {plan.objective.metric} ({plan.objective.mode})\n"


def render_config(settings: Mapping[str, tuple[Any, str]]) -> str:
    """Return every setting, its value and its source."""
    rows = [[key, repr(value), source] for key, (value, source) in settings.items()]
    return tabulate(rows, headers=["setting", "value", "source"], disable_numparse=True)


def _cell(value: Any, output: str) -> str:
    """Return a value that a user gave as text that is only text, wherever it is shown."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    if output == "md":
        return html.escape(text, quote=False).replace("\\", "\\\\").replace("|", "\\|")
    if output == "csv" and isinstance(value, str) and text[:1] in ("=", "+", "-", "@"):
        return f"'{text}"  # a spreadsheet would take it for a formula
    return text

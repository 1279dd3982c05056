"""A plan as a table, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
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
            *(trial.changed[key] for key in plan.axes),
            trial.seed,
            trial.parameters if output == "csv" else f"{trial.parameters:,}",
            trial.config.training.steps,
            f"{trial.flops:.3g}",
        ]
        for trial in plan.trials
    ]
    if output == "csv":
        buffer = io.StringIO()
        csv.writer(buffer).writerows([headers, *rows])
        return buffer.getvalue()
    if output == "md":
        return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    table = tabulate(rows, headers=headers, disable_numparse=True)
    notes = "".join(f"note: {note}\n" for note in plan.notes)
    return f"{table}\n\n{len(plan.trials)} trials, ranked by {plan.objective.metric}\n{notes}"


def render_config(settings: Mapping[str, tuple[Any, str]]) -> str:
    """Return every setting, its value and its source."""
    rows = [[key, repr(value), source] for key, (value, source) in settings.items()]
    return tabulate(rows, headers=["setting", "value", "source"], disable_numparse=True)

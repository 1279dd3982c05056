"""A plan and what it will cost, as a table, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from orchestrator.fitting import MOST_GPUS
from orchestrator.forecast import Forecast, gib
from orchestrator.leaderboard.table import short_names
from orchestrator.leaderboard.text import csv_value, duration, plain, setting
from orchestrator.plan import Plan
from orchestrator.tier_memory import CARDS, Need, gpus_shown, shapes_of

FORMATS = ("table", "md", "csv", "json")
LONGEST_TABLE, TAIL = 60, 10
"""Rows of a table for a terminal, and how many of them are its last where others are left out."""

RIGHT = ("parameters", "memory", "GPUs", "steps", "tokens", "time")
MOST_SHAPES = 12
"""Shapes whose needs a table has; the largest, where there are more."""
TAKEN = {"trial", "seed", "state", "reused from", *RIGHT}


def render_plan(plan: Plan, forecast: Forecast, output: str) -> str:
    """Return the plan in one of `FORMATS`."""
    if output == "json":
        return _json(plan, forecast)
    if output == "csv":
        return _csv(plan, forecast)
    rows = _rows(plan, forecast, output)
    axes = [key if name in TAKEN else name for key, name in short_names(plan.axes).items()]
    headers = ["trial", *axes, "seed", "state", *RIGHT, "reused from"]
    idle = [
        name
        for name, used in (
            ("GPUs", any(outlook.gpus for outlook in forecast.outlooks)),
            ("reused from", any(outlook.run for outlook in forecast.outlooks)),
        )
        if not used
    ]
    for name in idle:
        place = headers.index(name)
        headers, rows = (
            [*headers[:place], *headers[place + 1 :]],
            [[*row[:place], *row[place + 1 :]] for row in rows],
        )
    if output == "md":
        table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
        needs = _needs(plan, output)
        return "\n".join([table, "", *needs, *(f"- {line}" for line in _totals(plan, forecast))])
    folded = len(rows) - LONGEST_TABLE
    if folded > 0:
        more = [f"… {folded:,} more", *[""] * (len(headers) - 1)]
        rows = [*rows[: LONGEST_TABLE - TAIL], more, *rows[-TAIL:]]
    table = tabulate(
        rows,
        headers=headers,
        disable_numparse=True,
        colalign=["right" if header in RIGHT else "left" for header in headers],
    )
    totals = _totals(plan, forecast)
    if folded > 0:
        totals.append("--format md, csv and json have every trial")
    return "\n".join([table, "", *_needs(plan, output), *totals])


def render_config(settings: Mapping[str, tuple[Any, str]], output: str) -> str:
    """Return every setting, its value and its source in one of `FORMATS`."""
    if output == "json":
        document = {
            key: {"value": plain(value), "source": source}
            for key, (value, source) in settings.items()
        }
        return json.dumps(document, indent=1, allow_nan=False)
    headers = ["setting", "value", "source"]
    if output == "csv":
        cells = [[key, csv_value(v), csv_value(source)] for key, (v, source) in settings.items()]
        return _written([headers, *cells])
    rows = [
        [key, _cell(setting(value), output), _cell(source, output)]
        for key, (value, source) in settings.items()
    ]
    form = "github" if output == "md" else "simple"
    return tabulate(rows, headers=headers, tablefmt=form, disable_numparse=True)


def basis(forecast: Forecast) -> list[str]:
    """Say, line by line, what the predicted times rest on."""
    calibration = forecast.calibration
    if calibration is None or not calibration.samples:
        rule = "times: a rule of thumb by operations and device"
        return [rule if calibration else f"{rule}; --calibrate times some steps here"]
    n = len(calibration.samples)
    return [
        f"times: {n} of {calibration.shapes} shapes timed here, one at a time",
        *(
            f"{s.trial_id}: {_milliseconds(s.step_s)} a step ({s.steps} timed),"
            f" {_milliseconds(s.evaluation_s)} an evaluation"
            f" ({'timed' if s.evaluated else 'as steps of as many tokens'}),"
            f" {gib(s.memory_bytes)} of tensors"
            for s in calibration.samples
        ),
    ]


def _rows(plan: Plan, forecast: Forecast, output: str) -> list[list[str]]:
    return [
        [
            trial.id,
            *(_cell(trial.changed.get(key, ""), output) for key in plan.axes),
            str(trial.seed),
            outlook.state,
            f"{trial.parameters:,}",
            gib(trial.memory.total),
            gpus_shown(outlook.gpus) if outlook.gpus else "",
            f"{trial.config.training.steps:,}",
            _short(trial.tokens),
            duration(outlook.left_s) if outlook.left_s else "",
            _cell(outlook.run or "", output),
        ]
        for trial, outlook in zip(plan.trials, forecast.outlooks, strict=True)
    ]


def _needs(plan: Plan, output: str) -> list[str]:
    """Return the table of what each shape needs under each tier, and an empty line."""
    shapes = shapes_of(plan.trials)
    largest = sorted(shapes, key=lambda shape: shape.parameters, reverse=True)[:MOST_SHAPES]
    axes = short_names(tuple(shapes[0].values))
    headers = [*axes.values(), "parameters"]
    headers += [f"{tier} ({card_gib:g} GiB)" for tier, card_gib in CARDS.items()]
    rows = [
        [
            *(_cell(value, output) for value in shape.values.values()),
            f"{shape.parameters:,}",
            *(_need(need) for need in shape.needs),
        ]
        for shape in shapes
        if shape in largest
    ]
    form = "github" if output == "md" else "simple"
    title = "memory per tier, and the share or number of GPUs of that size"
    if len(shapes) > MOST_SHAPES:
        title += f": the largest {MOST_SHAPES} of {len(shapes)} shapes"
    table = tabulate(rows, headers=headers, tablefmt=form, disable_numparse=True)
    automatic = [
        f"tier auto on {need.card_gib:g} GiB, {_short(shape.parameters)} parameters: {need.automatic}"
        for shape in shapes
        if shape in largest
        for need in shape.needs
        if need.automatic
    ]
    if output == "md":
        return [f"{title}:", "", table, "", *(f"- {line}" for line in automatic)]
    return [f"{title}:", table, "", *automatic, *([""] if automatic else [])]


def _need(need: Need) -> str:
    if need.gpus is None:
        return f"{need.memory_gib:.1f} GiB: does not fit on {MOST_GPUS}"
    each = " each" if need.gpus > 1 else ""
    return f"{need.memory_gib:.1f} GiB{each}, {gpus_shown(need.gpus)}"


def _totals(plan: Plan, forecast: Forecast) -> list[str]:
    """Say in a few lines what it comes to."""
    count = f"{len(plan.trials)} trial{'' if len(plan.trials) == 1 else 's'}"
    states = ", ".join(f"{n} {state}" for state, n in forecast.states.items())
    if plan.duplicates:
        count += f" ({plan.duplicates} duplicate{'' if plan.duplicates == 1 else 's'} left out)"
    lines = [f"{count}, ranked by {plan.objective.metric} ({plan.objective.mode}): {states}"]
    if not forecast.cohorts:
        return [*lines, "nothing is left to train"]
    at_once = f"{forecast.workers} at a time" if forecast.workers > 1 else "one at a time"
    lines.append(
        f"about {duration(forecast.wall_s)}, {at_once}, for {_short(forecast.tokens_left)} tokens"
    )
    lines += basis(forecast)
    if forecast.checkpoint_bytes:
        need, free = gib(forecast.checkpoint_bytes), gib(forecast.free_bytes)
        lines.append(f"checkpoints take up to {need} of {free} that are free")
    return lines


def _json(plan: Plan, forecast: Forecast) -> str:
    document = plan.to_dict()
    for trial, planned, outlook in zip(
        document["trials"], plan.trials, forecast.outlooks, strict=True
    ):
        trial_memory = planned.memory
        trial |= {
            "state": outlook.state,
            "reused_from": outlook.run,
            "predicted_s": outlook.left_s,
            "memory_bytes": asdict(trial_memory) | {"total": trial_memory.total},
            "gpus": outlook.gpus,
        }
    document["memory_per_tier"] = [asdict(shape) for shape in shapes_of(plan.trials)]
    document["forecast"] = forecast.to_dict()
    return json.dumps(document, indent=1, allow_nan=False)


def _csv(plan: Plan, forecast: Forecast) -> str:
    headers: Sequence[str] = ["trial", *plan.axes, "seed", "state", "parameters", "steps", "tokens"]
    rows = [
        [
            trial.id,
            *(_cell(trial.changed.get(key, ""), "csv") for key in plan.axes),
            trial.seed,
            outlook.state,
            trial.parameters,
            trial.config.training.steps,
            trial.tokens,
            f"{trial.flops:.6g}",
            f"{outlook.left_s:.6g}",
            trial.memory.total,
            f"{outlook.gpus:.6g}",
            _cell(outlook.run or "", "csv"),
        ]
        for trial, outlook in zip(plan.trials, forecast.outlooks, strict=True)
    ]
    return _written(
        [[*headers, "flops", "predicted_s", "memory_bytes", "gpus", "reused_from"], *rows]
    )


def _written(rows: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _short(count: int) -> str:
    """Return a count in three digits: `13.1 B`, `125 M`, `40.0 k`."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _cell(value: Any, output: str) -> str:
    """Return a value that a user gave as text that is only text, wherever it is shown."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    if output == "md":
        return html.escape(text, quote=False).replace("\\", "\\\\").replace("|", "\\|")
    if output == "csv" and isinstance(value, str) and text[:1] in ("=", "+", "-", "@"):
        return f"'{text}"  # a spreadsheet would take it for a formula
    return text

"""How far predictions break the symbolic rules, over training and at its end, rule on or off."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from orchestrator.diagnostics.figure import (
    FAINT,
    LINE,
    Figure,
    Key,
    Panel,
    Sheet,
    axis,
    keys_of,
    plot,
    plotted,
    thinned,
    variant_line,
)
from orchestrator.diagnostics.loss_curves import (
    MOST_POINTS,
    Curve,
    Rows,
    curve,
    grey_note,
    mean_curve,
)
from orchestrator.diagnostics.variants import Variant
from orchestrator.ledger import TrialRecord
from trainer.spectral_config import SymbolicConfig

MOST_ROWS = 80
ROW_PX = 22
LONGEST_BESIDE = 30
"""Characters of a label, with which a plot still has room in half a page."""
FRAME_PX = 90


def figure(variants: Sequence[Variant], rows: Rows) -> Figure | None:
    """Return the page; None where no rule was ever judged."""
    panels: list[Panel] = []
    sheet: list[tuple[object, ...]] = []
    for rule in SymbolicConfig.model_fields:
        curves = {
            trial.id: curve(rows[trial.id], f"val/{rule}")
            for variant in variants
            for trial in variant.trials
        }
        seen = [v for v in variants if any(curves[trial.id][0] for trial in v.trials)]
        if not seen:
            continue
        panels.append(Panel(f"{rule}, over training", _over_training(seen, curves, rule), 320))
        sheet += [
            (v.name, trial.id, trial.seed, rule, str(is_on(trial, rule)).lower(), step, value)
            for v in seen
            for trial in v.trials
            for step, value in zip(*curves[trial.id], strict=True)
        ]
    for rule in SymbolicConfig.model_fields:
        ended = {v: ends for v in variants if (ends := _ends(v, rows, rule))}
        if ended:
            shown = dict(list(ended.items())[:MOST_ROWS])
            height_px = ROW_PX * len(shown) + FRAME_PX
            wide = any(len(variant.label) > LONGEST_BESIDE for variant in shown)
            panels.append(Panel(f"{rule}, at the end", _at_the_end(shown, rule), height_px, wide))
    if not panels:
        return None
    drawn = max(sum(any(rows[t.id] for t in v.trials) for v in variants), 0)
    cut = [f"At the end: the first {MOST_ROWS} of {drawn}."] if drawn > MOST_ROWS else []
    return Figure(
        name="rule_violations",
        title="Symbolic-rule violations",
        said="What each rule finds wrong on the validation planets, before its weight; 0 where it holds."
        " It is logged whether the rule is part of the loss or not. At the end: a dot or ring for the mean,"
        " a stroke for each seed.",
        panels=tuple(panels),
        legend=(
            *keys_of(variants),
            Key("on", "rule on: solid line, filled dot", None),
            Key("off", "rule off: dashed line, open ring", None, "dash"),
        ),
        sheets=(
            Sheet(
                "rule_violations",
                ("variant", "trial_id", "seed", "rule", "on", "step", "violation"),
                sheet,
            ),
        ),
        notes=(*grey_note(variants), *cut),
    )


def is_on(trial: TrialRecord, rule: str) -> bool:
    """Return whether a rule was part of a trial's loss."""
    found = trial.config.get("symbolic", {}).get(rule, {})
    return bool(found.get("enabled")) and bool(found.get("weight"))


def _over_training(variants: Sequence[Variant], curves: dict[str, Curve], rule: str) -> go.Figure:
    traces = []
    for variant in reversed(variants):
        trials = variant.finished or variant.trials
        steps, values = mean_curve([c for t in trials if (c := curves[t.id])[0]])
        if steps:
            some = thinned(len(steps), MOST_POINTS)
            dash = "solid" if is_on(trials[0], rule) else "dash"
            traces.append(variant_line(variant, np.array(steps)[some], values[some], dash=dash))
    return plot(traces, "optimizer step", "violation", yaxis_rangemode="tozero")


def _ends(variant: Variant, rows: Rows, rule: str) -> list[float]:
    """Return the last violation of each seed that finished."""
    found = [curve(rows[trial.id], f"val/{rule}")[1] for trial in variant.finished]
    return [values[-1] for values in found if values]


def _at_the_end(ended: dict[Variant, list[float]], rule: str) -> go.Figure:
    traces = []
    for row, (variant, values) in enumerate(ended.items()):
        on = is_on(variant.trials[0], rule)
        colour = variant.colour or FAINT
        mean = math.fsum(values) / len(values)
        common = {
            "name": plotted(f"{variant.label}, rule {'on' if on else 'off'}"),
            "legendgroup": variant.key if variant.colour else "others",
            "hoverinfo": "x+name",
            "mode": "markers",
        }
        if len(values) > 1:
            seeds = {"symbol": "line-ns", "size": 9, "line": {"color": colour, "width": 1.4}}
            traces.append(go.Scatter(x=values, y=[row] * len(values), marker=seeds, **common))
        ring = {
            "symbol": "circle" if on else "circle-open",
            "size": 9,
            "color": colour,
            "line": {"width": 2, "color": colour},
        }
        traces.append(go.Scatter(x=[mean], y=[row], marker=ring, **common))
    return plot(
        traces,
        "violation",
        xaxis=axis("violation", rangemode="tozero"),
        yaxis=axis(
            "",
            tickmode="array",
            tickvals=list(range(len(ended))),
            ticktext=[plotted(variant.label) for variant in ended],
            range=[len(ended) - 0.5, -0.5],
            gridcolor=LINE,
            zeroline=False,
        ),
    )

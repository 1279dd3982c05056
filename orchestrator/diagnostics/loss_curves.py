"""The loss and each of its terms over training, by variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.diagnostics.figure import (
    Figure,
    Panel,
    Sheet,
    keys_of,
    plot,
    seed_line,
    thinned,
    variant_line,
)
from orchestrator.diagnostics.variants import Variant
from trainer.reporting import Reason
from trainer.spectral_config import CompositeConfig, SymbolicConfig

Rows = Mapping[str, Sequence[tuple[int, dict[str, float]]]]
"""Trial id to `(step, metrics)`, by step."""
Curve = tuple[list[int], list[float]]

TERMS = (*CompositeConfig.model_fields, *SymbolicConfig.model_fields)
MOST_POINTS = 400
"""Of a curve that is drawn."""


def figure(variants: Sequence[Variant], rows: Rows, objective: str) -> Figure | None:
    """Return the page; None where nothing was reported.

    Args:
        variants: Of the run.
        rows: What its trials reported.
        objective: The metric that the run is judged by, which is drawn first.
    """
    wanted = dict.fromkeys([objective, "train/loss", "val/loss", *(f"val/{t}" for t in TERMS)])
    panels, drawn = [], []
    for metric in wanted:
        traces = [
            trace for variant in reversed(variants) for trace in _traces(variant, rows, metric)
        ]
        if traces:
            drawn.append(metric)
            panels.append(Panel(metric, plot(traces, "optimizer step"), height_px=270))
    if not panels:
        return None
    return Figure(
        name="loss_curves",
        title="Loss curves",
        said="Each term and each rule's violation is drawn as it is, before its weight; only"
        " train/loss and val/loss are weighted sums, and those of variants with other weights do not"
        " compare. Thick: the mean over the seeds that finished. Thin: each seed; dotted where it did"
        " not finish.",
        panels=tuple(panels),
        legend=keys_of(variants),
        sheets=(
            Sheet(
                "loss_curves",
                ("variant", "trial_id", "seed", "step", "metric", "value"),
                [
                    (variant.name, trial.id, trial.seed, step, metric, value)
                    for variant in variants
                    for trial in variant.trials
                    for metric in drawn
                    for step, value in zip(*curve(rows[trial.id], metric), strict=True)
                ],
            ),
        ),
        notes=grey_note(variants),
        columns=3,
    )


def grey_note(variants: Sequence[Variant]) -> tuple[str, ...]:
    """Return what is to be said where there are more variants than colours."""
    grey = sum(variant.colour is None for variant in variants)
    if not grey:
        return ()
    shown = len(variants) - grey
    what = "and the baseline " if any(v.baseline for v in variants) else ""
    return (
        f"The best {what}have a colour ({shown} of {len(variants)}); the others are grey, only their"
        " means are drawn, and the pointer names them. All numbers are in the CSV.",
    )


def curve(rows: Sequence[tuple[int, dict[str, float]]], metric: str) -> Curve:
    """Return steps and values of one metric of a trial; values that are no number are left out."""
    found = [(step, row[metric]) for step, row in rows if metric in row]
    found = [(step, value) for step, value in found if math.isfinite(value)]
    return [step for step, _ in found], [value for _, value in found]


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the mean over seeds at the steps that all of them have."""
    if not curves:
        return [], []
    common = set.intersection(*(set(steps) for steps, _ in curves))
    values: dict[int, list[float]] = {step: [] for step in sorted(common)}
    for steps, seed in curves:
        for step, value in zip(steps, seed, strict=True):
            if step in values:
                values[step].append(value)
    return list(values), [math.fsum(v) / len(v) for v in values.values()]


def _traces(variant: Variant, rows: Rows, metric: str) -> list[object]:
    traces: list[object] = []
    if variant.colour is not None:
        for trial in variant.trials:
            steps, values = curve(rows[trial.id], metric)
            finished = trial.reason is Reason.FINISHED
            if steps and (len(variant.trials) > 1 or not finished):
                some = thinned(len(steps), MOST_POINTS)
                dash = "solid" if finished else "dot"
                traces.append(
                    seed_line(variant, trial.seed, np.array(steps)[some], values[some], dash=dash)
                )
    seeds = [found for t in variant.finished if (found := curve(rows[t.id], metric))[0]]
    steps, values = mean_curve(seeds)
    if steps:
        some = thinned(len(steps), MOST_POINTS)
        traces.append(variant_line(variant, np.array(steps)[some], values[some]))
    return traces

"""Whether σ is right: z-scores beside N(0, 1), before and after σ is calibrated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from orchestrator.diagnostics.figure import (
    PHYSICAL,
    PHYSICAL_NAME,
    Figure,
    Key,
    Panel,
    Sheet,
    Table,
    keys_of,
    line,
    plot,
    variant_line,
)
from orchestrator.diagnostics.held_out import Judgements
from orchestrator.diagnostics.loss_curves import grey_note
from orchestrator.diagnostics.variants import Variant
from orchestrator.diagnostics.z_counts import EDGES, EXPECTED, LEVELS, ZCounts

NORMAL = "normal"
AS_PREDICTED, CALIBRATED = "as predicted", "calibrated"


def figure(variants: Sequence[Variant], judged: Judgements) -> Figure | None:
    """Return the page; None where no trial has a prediction."""
    found = {v: [judged.trials[t.id] for t in s] for v in variants if (s := judged.seeds_of(v))}
    if not found:
        return None
    counts = {
        AS_PREDICTED: {v: ZCounts.total(one.raw for one in s) for v, s in found.items()},
        CALIBRATED: {v: ZCounts.total(one.calibrated for one in s) for v, s in found.items()},
    }
    physical = {
        AS_PREDICTED: ZCounts.total(one.raw for one in judged.physical),
        CALIBRATED: ZCounts.total(one.calibrated for one in judged.physical),
    }
    named = [(PHYSICAL_NAME, sigma, physical[sigma]) for sigma in counts]
    named += [(v.name, sigma, counts[sigma][v]) for v in found for sigma in counts]
    tallest = max(float(c.density.max()) for *_, c in named)
    panels = [
        Panel(f"σ {sigma}", _histogram(counts[sigma], physical[sigma], tallest), height_px=360)
        for sigma in counts
    ]
    outside = max(counts.outside for _, _, counts in named)
    bounds = f"[{EDGES[0]:g}, {EDGES[-1]:g}]"
    return Figure(
        name="z_scores",
        title="z-scores and coverage",
        said="All test planets, wavelengths and seeds of a variant together. Narrower than N(0, 1):"
        " σ is too large. Wider: it is too small, which costs far more. σ is calibrated on the"
        " validation planets.",
        panels=tuple(panels),
        legend=(
            Key(NORMAL, "N(0, 1)", None, "dotted"),
            Key(PHYSICAL, PHYSICAL_NAME, None, "dash"),
            *keys_of(list(found)),
        ),
        tables=(_table(named),),
        sheets=(
            Sheet(
                "z_scores",
                ("variant", "sigma", "z_from", "z_to", "count", "density"),
                [
                    (name, sigma, float(low), float(high), int(count), float(density))
                    for name, sigma, counts in named
                    for low, high, count, density in zip(
                        EDGES, EDGES[1:], counts.histogram, counts.density, strict=False
                    )
                ],
            ),
            Sheet(
                "coverage",
                (
                    *("variant", "sigma", "n", "z_mean", "z_std", "fgs1_z_rms"),
                    *(f"coverage_{level:g}_sigma" for level in LEVELS),
                ),
                [(*key, c.n, c.mean, c.std, c.fgs1_rms, *c.coverage) for *key, c in named],
            ),
        ),
        notes=(
            *grey_note(list(found)),
            *([f"Up to {outside:.1%} of a line lie outside {bounds}."] if outside > 5e-4 else []),
        ),
    )


def _histogram(counts: dict[Variant, ZCounts], physical: ZCounts, tallest: float) -> go.Figure:
    middle = (EDGES[:-1] + EDGES[1:]) / 2
    fine = np.linspace(EDGES[0], EDGES[-1], 241)
    normal = np.exp(-(fine**2) / 2) / np.sqrt(2 * np.pi)
    traces = [
        line(PHYSICAL, PHYSICAL_NAME, middle, physical.density, colour=None, dash="dash"),
        *(variant_line(v, middle, c.density, shape="hvh") for v, c in reversed(counts.items())),
        line(NORMAL, "N(0, 1)", fine, normal, colour=None, width=1.6, dash="dot"),
    ]
    y_range = [0, 1.06 * max(tallest, float(normal.max()))]
    return plot(traces, "z = (truth − μ) / σ", "density", yaxis_range=y_range)


def _table(named: Sequence[tuple[str, str, ZCounts]]) -> Table:
    """Return coverage and spread to read off, what they should be first."""
    ideal = ("N(0, 1)", "", "0", "1", "1", *(f"{share:.1%}" for share in EXPECTED))
    return Table(
        "Coverage: share of |z| up to so many σ",
        (
            *("variant", "σ", "mean of z", "std of z", "rms of z at FGS1"),
            *(f"{level:g} σ" for level in LEVELS),
        ),
        (
            ideal,
            *(
                (
                    *(name, sigma, f"{counts.mean:+.2f}", f"{counts.std:.2f}"),
                    f"{counts.fgs1_rms:.2f}",
                    *(f"{share:.1%}" for share in counts.coverage),
                )
                for name, sigma, counts in named
            ),
        ),
        words=2,
    )

"""Whether σ is right: z-scores beside N(0, 1), before and after σ is calibrated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    raw: dict[Variant, ZCounts] = {}
    calibrated: dict[Variant, ZCounts] = {}
    for variant in variants:
        if seeds := judged.seeds_of(variant):
            found = [judged.trials[trial.id] for trial in seeds]
            raw[variant] = ZCounts.total(one.raw for one in found)
            calibrated[variant] = ZCounts.total(one.calibrated for one in found if one.calibrated)
    if not raw:
        return None
    physical = ZCounts.total(one.raw for one in judged.physical)
    middle = (EDGES[:-1] + EDGES[1:]) / 2
    fine = np.linspace(EDGES[0], EDGES[-1], 241)
    normal = np.exp(-(fine**2) / 2) / np.sqrt(2 * np.pi)
    tallest = max(float(c.density.max()) for c in (*raw.values(), *calibrated.values()))
    y_range = [0, 1.06 * max(tallest, float(normal.max()))]
    panels = []
    for title, counts in ((AS_PREDICTED, raw), (CALIBRATED, calibrated)):
        traces = [
            *(variant_line(v, middle, c.density, shape="hvh") for v, c in reversed(counts.items())),
            line(NORMAL, "N(0, 1)", fine, normal, colour=None, width=1.6, dash="dot"),
        ]
        if title == AS_PREDICTED:
            key = PHYSICAL, PHYSICAL_NAME
            traces.insert(0, line(*key, middle, physical.density, colour=None, dash="dash"))
        drawn = plot(traces, "z = (truth − μ) / σ", "density", yaxis_range=y_range)
        panels.append(Panel(f"σ {title}", drawn, height_px=360))
    named = [
        (PHYSICAL_NAME, AS_PREDICTED, physical),
        *((v.name, AS_PREDICTED, counts) for v, counts in raw.items()),
        *((v.name, CALIBRATED, counts) for v, counts in calibrated.items()),
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
            *keys_of(list(raw)),
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
            *grey_note(list(raw)),
            *([f"Up to {outside:.1%} of a line lie outside {bounds}."] if outside > 5e-4 else []),
        ),
    )


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
    )

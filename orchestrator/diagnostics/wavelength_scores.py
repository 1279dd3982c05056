"""Where in the spectrum the score is won and lost: r by variant and wavelength."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from orchestrator.diagnostics.figure import (
    PHYSICAL_NAME,
    Figure,
    Panel,
    Sheet,
    axis,
    plot,
    plotted,
)
from orchestrator.diagnostics.held_out import Judgements
from orchestrator.diagnostics.variants import Variant
from trainer.tasks.ariel.score import Array

MOST_ROWS = 80
ROW_PX = 23
FRAME_PX = 104
LEAST_BAR_PX, MOST_BAR_PX = 100, 240
LOWEST = -1.0
"""A lower r has the colour of this one: −1 is worse than knowing nothing by as much as there is to
gain."""


def figure(variants: Sequence[Variant], judged: Judgements) -> Figure | None:
    """Return the page; None where no trial has a prediction."""
    um = judged.wavelengths_um
    found = [(v, seeds) for v in variants if (seeds := judged.seeds_of(v))]
    if not found or um is None:
        return None
    physical = np.mean([one.scores for one in judged.physical], axis=0)
    scores = {v: np.mean([judged.trials[t.id].scores for t in seeds], axis=0) for v, seeds in found}
    totals = {v: float(np.mean([judged.trials[t.id].total for t in s])) for v, s in found}
    of_physical = float(np.mean([one.total for one in judged.physical]))
    names = [PHYSICAL_NAME, *(variant.name for variant in scores)]
    labels = [PHYSICAL_NAME, *(variant.label for variant in scores)]
    rows = [physical, *scores.values()]
    every = [of_physical, *totals.values()]
    shown = slice(MOST_ROWS)
    low = max(LOWEST, min(float(row.min()) for row in rows[shown]))
    high = max(float(row.max()) for row in rows[shown])
    panels = [
        Panel(
            "r, the mean over test planets and seeds",
            _map(labels[shown], rows[shown], every[shown], um, (low, high), "Cividis", "r"),
            height_px=ROW_PX * len(rows[shown]) + FRAME_PX,
            wide=True,
        )
    ]
    against = next((variant for variant in scores if variant.baseline), None)
    others = [variant for variant in scores if variant is not against][shown]
    if against is not None and others:
        differences = [scores[variant] - scores[against] for variant in others]
        reach = float(np.quantile(np.abs(differences), 0.98)) or 1e-3
        panels.append(
            Panel(
                f"Difference of r to {against.label}",
                _map(
                    [variant.label for variant in others],
                    differences,
                    [totals[variant] - totals[against] for variant in others],
                    um,
                    (-reach, reach),
                    "RdBu",
                    "Δr",
                ),
                height_px=ROW_PX * len(others) + FRAME_PX,
                wide=True,
            )
        )
    notes = [] if low > LOWEST else [f"An r below {LOWEST:g} has the colour of {LOWEST:g}."]
    if len(rows) > MOST_ROWS:
        notes.append(f"The first {MOST_ROWS} of {len(rows)} rows; all are in the CSV.")
    return Figure(
        name="wavelength_scores",
        title="Score by wavelength",
        said="r of the challenge's score: 1 is perfect, 0 is knowing nothing, less is worse than that."
        " FGS1 stands apart; all: their weighted mean, which is the score before it is clipped.",
        panels=tuple(panels),
        sheets=(
            Sheet(
                "wavelength_scores",
                ("variant", "column", "wavelength_um", "r"),
                [
                    (name, f"wl_{column + 1}", float(um[column]), float(r))
                    for name, row in zip(names, rows, strict=True)
                    for column, r in enumerate(row)
                ],
            ),
        ),
        notes=tuple(notes),
    )


def _map(
    labels: Sequence[str],
    rows: Sequence[Array],
    every: Sequence[float],
    um: Array,
    limits: tuple[float, float],
    scale: str,
    unit: str,
) -> go.Figure:
    """Return a map: AIRS over wavelength, and FGS1 and all together in columns of their own."""
    table: NDArray[np.float32] = np.asarray(rows, dtype=np.float32)
    y = np.arange(len(labels))
    colours = {"zmin": limits[0], "zmax": limits[1], "colorscale": scale}
    bar = {
        "title": {"text": unit},
        "thickness": 12,
        "outlinewidth": 0,
        "tickformat": ".3~g",
        "nticks": 5 if len(labels) > 4 else 3,
        "lenmode": "pixels",
        "len": min(max(ROW_PX * len(labels), LEAST_BAR_PX), MOST_BAR_PX),
        "y": 1,
        "yanchor": "top",
    }
    signed = "+.3f" if unit == "Δr" else ".3f"

    def column(values: NDArray[np.float32], name: str, x_axis: str) -> go.Heatmap:
        return go.Heatmap(
            x=[name],
            y=y,
            z=values.reshape(-1, 1),
            xaxis=x_axis,
            texttemplate=f"%{{z:{signed}}}",
            textfont={"size": 11.5},
            showscale=False,
            ygap=1,
            hoverinfo="x+z",
            **colours,
        )

    return plot(
        [
            go.Heatmap(
                x=um[1:].astype(np.float32),
                y=y,
                z=table[:, 1:],
                colorbar=bar,
                ygap=1,
                hovertemplate=f"%{{x:.3f}} µm<br>{unit} %{{z:.4~g}}<extra></extra>",
                **colours,
            ),
            column(table[:, 0], "FGS1", "x2"),
            column(np.asarray(every, dtype=np.float32), "all", "x3"),
        ],
        "wavelength [µm]",
        xaxis=axis("AIRS: wavelength [µm]", domain=[0.17, 1.0], showgrid=False),
        xaxis2=axis("0.7 µm", domain=[0.0, 0.075], showgrid=False, anchor="y", type="category"),
        xaxis3=axis("", domain=[0.08, 0.155], showgrid=False, anchor="y", type="category"),
        yaxis=axis(
            "",
            tickmode="array",
            tickvals=y,
            ticktext=[plotted(label) for label in labels],
            autorange="reversed",
            anchor="x2",
            showgrid=False,
            zeroline=False,
            ticks="",
        ),
    )

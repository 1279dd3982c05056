"""What a page shows: panels, tables, and the numbers behind them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from orchestrator.diagnostics.variants import Variant

INK, SOFT, LINE, FAINT = "#010203", "#040506", "#070809", "#0a0b0c"
"""Stand for the colours of the page's text, of its lesser text, of its lines and of curves that are one
of many: the page knows them, and whether it is light or dark."""
PHYSICAL = "physical"
PHYSICAL_NAME = "physical baseline"
OTHERS = "others"
"""Keys of the legend beside those of variants."""


@dataclass(frozen=True)
class Panel:
    """One plot.

    Args:
        title: What is drawn, with its unit.
        plot: As Plotly draws it.
        height_px: Of it.
        wide: Whether it takes the page's width.
    """

    title: str
    plot: go.Figure
    height_px: int = 300
    wide: bool = False


@dataclass(frozen=True)
class Sheet:
    """Numbers as `<name>.csv`: a header and rows of plain values."""

    name: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Table:
    """A table for people; the first columns, as many as `words`, are text, the others numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


@dataclass(frozen=True)
class Key:
    """A line of the legend: what it stands for, its colour (None: the text's) and its stroke."""

    key: str
    name: str
    colour: str | None
    stroke: str = "solid"


@dataclass(frozen=True)
class Figure:
    """One page.

    Args:
        name: Of its file, without the ending.
        title: Its heading.
        said: What is to be seen, in a sentence or two.
        panels: The plots.
        sheets: The numbers behind them.
        legend: What the lines stand for; empty where the plots say it themselves.
        tables: Figures to read off.
        notes: What is left out, and other limits.
        columns: Panels side by side, where the page is wide enough: 2 or 3.
    """

    name: str
    title: str
    said: str
    panels: tuple[Panel, ...]
    sheets: tuple[Sheet, ...]
    legend: tuple[Key, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    columns: int = 2


def keys_of(variants: Sequence[Variant]) -> tuple[Key, ...]:
    """Return the legend of variants; the grey ones share a line."""
    coloured = [Key(v.key, v.name, v.colour) for v in variants if v.colour is not None]
    others = len(variants) - len(coloured)
    name = f"{others} {'other' if others == 1 else 'others'}"
    return (*coloured, Key(OTHERS, name, FAINT)) if others else tuple(coloured)


def line(
    key: str,
    name: str,
    x: ArrayLike,
    y: ArrayLike,
    *,
    colour: str | None,
    width: float = 2.0,
    dash: str = "solid",
    shape: str = "linear",
) -> go.Scatter:
    """Return a curve, as short as it can be written.

    Args:
        key: Of the legend; switches it on and off.
        name: What the pointer says.
        x: Its places.
        y: As many values, finite.
        colour: None for that of the text.
        width: Of the line in px.
        dash: `solid`, `dash` or `dot`.
        shape: `linear`, or `hvh` for steps around the places.
    """
    xs, ys = np.asarray(x), np.asarray(y)
    return go.Scatter(
        x=xs.astype(np.int32 if np.issubdtype(xs.dtype, np.integer) else np.float32),
        y=ys.astype(np.float32),
        mode="lines" if len(ys) > 1 else "markers",
        line={"color": colour or INK, "width": width, "dash": dash, "shape": shape},
        marker={"color": colour or INK, "size": 6},
        name=plotted(name),
        legendgroup=key,
        hoverinfo="x+y+name",
    )


def variant_line(
    variant: Variant, x: ArrayLike, y: ArrayLike, *, dash: str = "solid", shape: str = "linear"
) -> go.Scatter:
    """Return the curve of a variant over all its seeds; a grey one is thin."""
    if variant.colour is None:
        return line(
            OTHERS,
            variant.label,
            x,
            y,
            colour=FAINT,
            width=1,
            dash=dash,
            shape=shape,
        )
    return line(
        variant.key, variant.label, x, y, colour=variant.colour, width=2.2, dash=dash, shape=shape
    )


def seed_line(
    variant: Variant, seed: int, x: ArrayLike, y: ArrayLike, *, dash: str = "solid"
) -> go.Scatter:
    """Return the curve of one seed: thin and pale."""
    assert variant.colour is not None
    name = f"{variant.label}, seed {seed}"
    red, green, blue = bytes.fromhex(variant.colour.removeprefix("#"))
    pale = f"rgba({red},{green},{blue},0.45)"
    return line(variant.key, name, x, y, colour=pale, width=0.9, dash=dash)


def plot(traces: Sequence[Any], x_title: str, y_title: str = "", **layout: Any) -> go.Figure:
    """Return a plot without a title or a legend of its own, in the colours of the page.

    Args:
        traces: What is drawn, the last on top.
        x_title: What is to the right, with its unit.
        y_title: What is upwards, with its unit.
        layout: Of Plotly, over what is set here.
    """
    figure = go.Figure(
        data=list(traces),
        layout=go.Layout(
            template=go.layout.Template(),
            showlegend=False,
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            font={"color": INK, "size": 12.5, "family": "system-ui, sans-serif"},
            margin={"l": 62, "r": 16, "t": 28, "b": 46},  # the pointer's tools are above the plot
            modebar={"bgcolor": "rgba(0,0,0,0)", "color": SOFT, "activecolor": INK},
            hovermode="closest",
            hoverlabel={"namelength": -1},
            xaxis=axis(x_title),
            yaxis=axis(y_title),
        ),
    )
    figure.update_layout(**layout)
    return figure


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return an axis in the colours of the page."""
    return {
        "title": {"text": plotted(title), "standoff": 8, "font": {"size": 12.5}},
        "gridcolor": LINE,
        "linecolor": LINE,
        "zerolinecolor": LINE,
        "tickcolor": LINE,
        "hoverformat": ".4~g",
        "exponentformat": "power",
        "automargin": True,
        **more,
    }


def plotted(text: str) -> str:
    """Return text that Plotly shows as it is: it takes `<…>` and `&…;` for markup."""
    return html.escape(text, quote=False)


def thinned(points: int, most: int) -> slice:
    """Return which of so many points to draw; all numbers are in the CSV."""
    return slice(None, None, -(-points // most) or 1)

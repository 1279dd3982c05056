"""A report as one HTML page that works offline, in the style of the leaderboard's.

It fetches nothing and runs nothing: its Content-Security-Policy allows its own style alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.leaderboard.report import environment, ticks_between
from orchestrator.leaderboard.text import spelled
from orchestrator.pipeline.document import Chart, Document, Sample, Table, Text
from orchestrator.pipeline.figures import numeric_columns, shown

TEMPLATE = "report.html.j2"
PLOT_PX = 220
WIDE = 1000
"""Units across a plot, whatever its width on the screen."""


@dataclass(frozen=True)
class Plot:
    """A chart laid out: x in units of `WIDE`, y in pixels from the top.

    Args:
        lines: Name of each curve, its class and its points as SVG writes them.
        ends: Last value of each curve in words.
        x_ticks: `(percent, label)`.
        y_ticks: `(pixel, label)`.
        said: The chart in one sentence.
    """

    lines: tuple[tuple[str, str, str], ...]
    ends: tuple[tuple[str, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    said: str


def page(document: Document) -> str:
    """Return the page."""
    text: str = (
        environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            document=document,
            sections=[*document.sections, document.runs],
            kind=kind_of,
            plot=plot,
            shown=shown,
            spelled=_spelled,
            numeric=numeric_columns,
            plot_px=PLOT_PX,
            wide=WIDE,
        )
    )
    return text


def kind_of(block: object) -> str:
    """Return which part of the template writes a block."""
    kinds = {Text: "text", Table: "table", Chart: "chart", Sample: "sample"}
    return kinds[type(block)]


def plot(chart: Chart) -> Plot:
    """Lay out a chart."""
    steps = [step for curve in chart.curves for step, _ in curve.points]
    values = [value for curve in chart.curves for _, value in curve.points]
    left, right = min(steps), max(steps)
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin

    def x(step: float) -> float:
        return (step - left) / ((right - left) or 1)

    def y(value: float) -> float:
        return PLOT_PX * (high - value) / (high - low)

    def points(curve: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{WIDE * x(step):.1f},{y(value):.1f}" for step, value in curve)

    marks = ("first", "second", "third")
    ends = tuple((curve.name, shown(curve.points[-1][1])) for curve in chart.curves)
    return Plot(
        lines=tuple(
            (curve.name, marks[n % len(marks)], points(curve.points))
            for n, curve in enumerate(chart.curves)
        ),
        ends=ends,
        x_ticks=tuple(
            (round(100 * x(tick), 2), f"{tick:,.10g}") for tick in ticks_between(left, right or 1)
        ),
        y_ticks=tuple((round(y(tick), 1), f"{tick:.10g}") for tick in ticks_between(low, high)),
        said=f"{chart.title} by step; last " + ", ".join(f"{name} {value}" for name, value in ends),
    )


def _spelled(text: str) -> str:
    """Return text with its line breaks, and all else that acts on a page spelled out."""
    return "\n".join(spelled(line) for line in text.split("\n"))

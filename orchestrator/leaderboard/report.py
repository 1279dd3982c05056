"""The leaderboard as one HTML page that works offline.

The page fetches nothing and runs one script, its own: the Content-Security-Policy allows
nothing but the style and the script whose hashes it names, so markup that slipped through
the escaping would still not run.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from orchestrator.leaderboard.ranking import Entry
from orchestrator.leaderboard.table import Leaderboard, sections, short_names
from orchestrator.leaderboard.text import entry_figure, figure, one_line, plain, setting

TEMPLATE = "report.html.j2"
MOST_BARS = 20
ROW_PX = 26
"""Height of a line of the chart; the style sheet has it too."""


@dataclass(frozen=True)
class Best:
    """The first of the ranked points, as the top of the page has it.

    Args:
        settings: Its short names and values.
        said: Its figure in words.
        test: The figure of the test metric in words; empty where there is none.
        n_seeds: How many seeds it has.
    """

    settings: tuple[tuple[str, str], ...]
    said: str
    test: str
    n_seeds: int


@dataclass(frozen=True)
class Bar:
    """One ranked point in the chart; positions in percent of the plot's width.

    Args:
        rank: Its rank.
        label: Its settings in short.
        said: Its figure in words.
        y: Middle of its line in pixels.
        x: The objective; what it exceeds where `open`.
        open: Whether its median was not reached.
        low: Where the spread begins; None with one seed.
        high: Where it ends.
        seeds: Each seed's objective.
    """

    rank: int
    label: str
    said: str
    y: int
    x: float
    open: bool
    low: float | None
    high: float | None
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """The best points and their spread, with `(percent, label)` for the ticks of the axis."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    legend: str
    plot_px: int

    @property
    def band(self) -> tuple[float, float] | None:
        """The spread of the best point, to be seen behind the others."""
        low, high = self.bars[0].low, self.bars[0].high
        return None if low is None or high is None else (low, high)


def page(board: Leaderboard) -> str:
    """Return the page."""
    template = environment(Path(__file__).parent).get_template(TEMPLATE)
    text: str = template.render(
        board=board,
        best=best(board),
        unranked=Counter(entry.state for entry in board.entries if entry.rank is None),
        sections=[
            (name, title, section if name == "unranked" else section.without(board.test_metric))
            for name, title, section in sections(board)
        ],
        links=[(title, quote(to)) for title, to in board.links],
        chart=chart(board),
        zip=partial(zip, strict=True),
    )
    return text


@cache  # with it the templates that it has compiled: a page is written many times
def environment(folder: Path) -> jinja2.Environment:
    """Return what renders the templates of a folder, which may include `page.css` of this one.

    Everything is escaped, and a name that was not given is an error.
    """
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"csp_hash": csp_hash, "sort_key": sort_key, "one_line": one_line}
    return made


def best(board: Leaderboard) -> Best | None:
    """Return what the top of the page says of the winner; None where no point is ranked."""
    if not board.entries or board.entries[0].rank is None:
        return None
    entry, short = board.entries[0], short_names(board.axes)
    return Best(
        settings=tuple((one_line(short[k]), setting(v)) for k, v in entry.changed.items()),
        said=entry_figure(entry, board.objective),
        test=figure(entry.test, entry.test_spread, board.objective),
        n_seeds=entry.n_seeds,
    )


def chart(board: Leaderboard) -> Chart | None:
    """Lay out the chart; None with fewer than two ranked points."""
    ranked = [entry for entry in board.entries if entry.rank is not None]
    if len(ranked) < 2:
        return None
    shown = ranked[:MOST_BARS]
    reach = [value for entry in shown for value in _reach(entry)]
    low, high = min(reach), max(reach)
    margin = 0.03 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - margin, high + margin
    if not math.isfinite(high - low):
        return None

    def x(value: float) -> float:
        return round(100 * (value - low) / (high - low), 3)

    short = short_names(board.axes)
    bars = [
        Bar(
            rank=entry.rank or 0,
            label=board.variant(entry)
            if board.names_variants
            else one_line(
                ", ".join(f"{short[axis]} {setting(v)}" for axis, v in entry.changed.items())
            ),
            said=entry_figure(entry, board.objective),
            y=ROW_PX // 2 + ROW_PX * line,
            x=x(_place(entry)),
            open=entry.value is None,
            low=x(entry.interval[0]) if entry.interval else None,
            high=x(entry.interval[1]) if entry.interval else None,
            seeds=tuple(x(value) for value in entry.seed_values if value is not None),
        )
        for line, entry in enumerate(shown)
    ]
    legend = [f"the best {len(bars)} of {len(ranked)}"] if len(bars) < len(ranked) else []
    if any(bar.low is not None for bar in bars):
        median = board.objective.middle == "median"
        spread = "interquartile range" if median else "standard deviation"
        legend.append(
            f"dot: {board.objective.middle}, line: {spread}, rings: seeds, band: the best's line"
        )
    if any(bar.open for bar in bars):
        legend.append(">: no median, watched until there")
    ticks = tuple((x(value), f"{value:.10g}") for value in ticks_between(low, high))
    return Chart(tuple(bars), ticks, "; ".join(legend), ROW_PX * len(bars))


def ticks_between(low: float, high: float, most: int = 5) -> list[float]:
    """Return round values in `[low, high]`, at most `most` of them and one step apart."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10, 20) if m * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [count * step for count in range(first, last + 1)][:most]


def csp_hash(text: str) -> str:
    """Return the source expression by which a policy allows an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode()}'"


def sort_key(value: Any) -> str:
    """Return what the page sorts a cell by; empty sorts last."""
    value = plain(value)
    return "" if value is None else one_line(str(value))


def _reach(entry: Entry) -> Iterable[float]:
    """Every value that the entry's line of the chart has to hold."""
    yield from (value for value in entry.seed_values if value is not None)
    yield from entry.interval or ()
    yield _place(entry)


def _place(entry: Entry) -> float:
    """Return where a ranked point stands: at its median, or at what that exceeds."""
    place = entry.bound if entry.value is None else entry.value
    assert place is not None
    return place

"""The progress of a sweep as lines of styled text that fit a width. Plain values: no terminal.

    lines(progress, progress.select(room), width=80)

What does not fit gives way in the order of `FORMS`; what still does not is cut with an ellipsis.
A curve fills as much of its column as the trial has done of its steps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rich.cells import cell_len, set_cell_size

from orchestrator.leaderboard.table import LONGEST_SETTING, settings_of, short_names
from orchestrator.leaderboard.text import is_number, number, one_line, setting
from orchestrator.ledger import State
from orchestrator.progress import STAND_INS, Progress, Track
from orchestrator.sparkline import ASCII, BLOCKS, sparkline
from trainer.reporting import Reason

CURVE_WIDTH, SHORT_CURVE, LEAST_CURVE = 24, 12, 6
UNLIMITED = 10_000
"""A width that everything fits in."""


class Style(StrEnum):
    """What a piece of text is, for whoever colours it."""

    PLAIN = "plain"
    FAINT = "faint"
    STRONG = "strong"
    GOOD = "good"
    BAD = "bad"
    BUSY = "busy"


@dataclass(frozen=True)
class Span:
    """Text of one style, without line breaks or control characters."""

    text: str
    style: Style = Style.PLAIN


Line = tuple[Span, ...]


@dataclass(frozen=True)
class Form:
    """Which columns there are, from roomy to narrow.

    Args:
        hidden: Names of columns that are left out.
        curve: Width of the curve's column.
        heading: Characters of an axis' heading; its values may need more.
    """

    hidden: frozenset[str]
    curve: int
    heading: int


FORMS = (
    Form(frozenset(), CURVE_WIDTH, LONGEST_SETTING),
    Form(frozenset(), SHORT_CURVE, LONGEST_SETTING),
    Form(frozenset({"trial"}), SHORT_CURVE, LONGEST_SETTING),
    Form(frozenset({"trial"}), SHORT_CURVE, 12),
    Form(frozenset({"trial", "best"}), SHORT_CURVE, 12),
    Form(frozenset({"trial", "best"}), SHORT_CURVE, 8),
    Form(frozenset({"trial", "best"}), LEAST_CURVE, 8),
    Form(frozenset({"trial", "best", "time"}), LEAST_CURVE, 6),
    Form(frozenset({"trial", "best", "time", "curve"}), 0, 4),
)


@dataclass(frozen=True)
class Column:
    """One column: its cells, one a trial, and how they stand."""

    name: str
    heading: str
    cells: tuple[Span, ...]
    right: bool = False

    @property
    def width(self) -> int:
        """Columns of the terminal that its widest cell needs."""
        return max(cell_len(text) for text in (self.heading, *(c.text for c in self.cells)))


def lines(
    progress: Progress,
    tracks: Sequence[Track],
    width: int = UNLIMITED,
    *,
    ascii_only: bool = False,
    details: bool = False,
) -> list[Line]:
    """Lay a sweep out: two lines about all of it, a line a trial, a line about the others.

    Args:
        progress: The sweep.
        tracks: Trials to show (`Progress.select`).
        width: Columns of the terminal.
        ascii_only: Whether it shows nothing but ASCII.
        details: Whether to end each line with the sentence about how the trial ended.
    """
    found = [_summary(progress, width), (Span(_best(progress)),)]
    if tracks:
        found.append(())
        found += _table(progress, tracks, width, details)
    if rest := _rest(progress, tracks):
        found.append((Span(rest, Style.FAINT),))
    fitting = [_cut(line, width) for line in found]
    return [_ascii(line) for line in fitting] if ascii_only else fitting


def plain(line: Line) -> str:
    """Return a line as text."""
    return "".join(span.text for span in line).rstrip()


# About all of it


def counted(progress: Progress) -> str:
    """Return `3 of 9 done, 2 running, 4 waiting, 1 diverged`."""
    counts = {k: n for k, n in progress.counts.items() if k != Reason.FINISHED.value}
    parts = [f"{progress.done} of {progress.planned} done"]
    return ", ".join([*parts, *(f"{n} {label}" for label, n in counts.items())])


def timed(progress: Progress) -> str:
    """Return `1:05, about 4 min left`; before the first steps, that it is starting."""
    said = clock(progress.elapsed_s)
    if not progress.begun and not progress.closed:
        return f"{said}, starting"
    eta = progress.eta_s
    return said if eta is None else f"{said}, about {roughly(eta)} left"


def best_words(progress: Progress) -> str:
    """Return the best finished trial or, before there is one, the one that leads."""
    metric = progress.objective.metric
    if (track := progress.best) is not None:
        assert track.value is not None
        return f"best: {metric} {number(track.value)}, {settings_of(track.changed, track.seed)}"
    if (track := progress.leading) is not None:
        value = number(track.last(metric) or 0.0)
        return f"leading: {metric} {value}, {settings_of(track.changed, track.seed)}"
    return ""


def _best(progress: Progress) -> str:
    better = "lower" if progress.objective.mode == "min" else "higher"
    return best_words(progress) or f"by {progress.objective.metric}, {better} is better"


def _summary(progress: Progress, width: int) -> Line:
    """Name, counts and time; the name gives way first."""
    counts, times = counted(progress), timed(progress)
    room = width - cell_len(counts) - cell_len(times) - 4
    name = fitted(one_line(progress.name), max(8, min(room, cell_len(progress.name))))
    gap = max(2, min(room - cell_len(name), 4) + 2) if width < UNLIMITED else 2
    return (
        Span(name, Style.STRONG),
        Span(f"  {counts}"),
        Span(f"{' ' * gap}{times}", Style.FAINT),
    )


def _rest(progress: Progress, tracks: Sequence[Track]) -> str:
    """Say what is not shown, and what a curve is where that differs."""
    said = []
    hidden = Counter(progress.counts)
    hidden.subtract(track.label for track in tracks)
    if tracks and any(hidden.values()):
        said.append("not shown: " + ", ".join(f"{n} {label}" for label, n in hidden.items() if n))
    metrics = _curve_metrics(progress, tracks)
    if len(metrics) > 1:
        said.append(f"curve: {metrics[0]}, faint: {' or '.join(metrics[1:])}")
    return "; ".join(said)


# A line a trial


def _table(progress: Progress, tracks: Sequence[Track], width: int, details: bool) -> list[Line]:
    for form in FORMS:
        columns = _columns(progress, tracks, form)
        spare = width - _total(columns)
        if spare >= 0:
            break
    if 0 < form.curve < CURVE_WIDTH and spare > 0:
        wider = min(CURVE_WIDTH, form.curve + spare)
        columns = _columns(progress, tracks, replace(form, curve=wider))
    if details and any(track.detail for track in tracks):
        told = tuple(Span(one_line(track.detail), Style.FAINT) for track in tracks)
        columns.append(Column("detail", "detail", told))
    widths = [column.width for column in columns]
    head = [Span(_padded(c.heading, w, c.right), Style.FAINT) for c, w in _zip(columns, widths)]
    found = [_joined(head)]
    for i in range(len(tracks)):
        cells = [
            Span(_padded(column.cells[i].text, width, column.right), column.cells[i].style)
            for column, width in _zip(columns, widths)
        ]
        found.append(_joined(cells))
    return found


def _columns(progress: Progress, tracks: Sequence[Track], form: Form) -> list[Column]:
    metric, best = progress.objective.metric, progress.best
    states = tuple(Span(t.label + (" ★" if t is best else ""), _style(t)) for t in tracks)
    metrics = _curve_metrics(progress, tracks)
    curve = metrics[0] if len(metrics) == 1 and len(metrics[0]) <= form.curve else "curve"

    def draw(track: Track) -> Span:
        found = track.curve(progress.objective)
        if found is None or form.curve == 0:
            return Span("")
        style = Style.PLAIN if found[0] == metrics[0] else Style.FAINT
        reached = math.ceil(form.curve * min(1.0, track.step / track.steps))
        return Span(sparkline(found[1].values, reached), style)

    columns = [
        Column("trial", "trial", tuple(Span(t.id, Style.FAINT) for t in tracks)),
        *_axes(progress, tracks, form.heading),
        Column("seed", "seed", tuple(Span(str(t.seed)) for t in tracks), right=True),
        Column("state", "state", states),
        Column("step", "step", tuple(Span(f"{t.step}/{t.steps}") for t in tracks), right=True),
        Column("curve", curve, tuple(draw(t) for t in tracks)),
        Column("last", "last", tuple(_value(last(t, metric)) for t in tracks), right=True),
        Column("best", "best", tuple(_value(t.best) for t in tracks), right=True),
        Column("time", "time", tuple(Span(_time(progress, t)) for t in tracks), right=True),
    ]
    kept = [column for column in columns if column.name not in form.hidden]
    return [c for c in kept if c.name == "state" or any(cell.text for cell in c.cells)]


def _axes(progress: Progress, tracks: Sequence[Track], longest: int) -> list[Column]:
    names = short_names(progress.axes)
    columns = []
    for axis in progress.axes:
        values = [track.changed.get(axis) for track in tracks]
        cells = tuple(
            Span(_setting(track.changed[axis]) if axis in track.changed else "") for track in tracks
        )
        widest = max(cell_len(cell.text) for cell in cells)
        heading = fitted(one_line(names[axis]), max(longest, widest))
        columns.append(Column(axis, heading, cells, all(map(is_number, values))))
    return columns


def _curve_metrics(progress: Progress, tracks: Sequence[Track]) -> list[str]:
    """Return what the curves show, the metric nearest to the objective first."""
    shown = {found[0] for track in tracks if (found := track.curve(progress.objective))}
    order = [progress.objective.metric, *STAND_INS]
    return sorted(shown, key=order.index)


def last(track: Track, metric: str) -> float | None:
    """Return the objective of a finished trial, the newest one that was read of another."""
    return track.value if track.value is not None else track.last(metric)


def _value(value: float | None) -> Span:
    return Span("" if value is None else number(value))


def _time(progress: Progress, track: Track) -> str:
    seconds = track.time_s(progress.at)
    if not seconds and track.state is State.WAITING:
        return ""
    return f"{seconds:.1f}s" if seconds < 59.95 else clock(seconds)


def _setting(value: object) -> str:
    return fitted(setting(value), LONGEST_SETTING)


def _style(track: Track) -> Style:
    if track.state is State.RUNNING:
        return Style.BUSY
    if track.state is State.WAITING or track.reason is None:
        return Style.FAINT
    if track.reason.failure:
        return Style.BAD
    return Style.GOOD if track.reason is Reason.FINISHED else Style.PLAIN


# Text in columns


def clock(seconds: float) -> str:
    """Return `0:42`, `12:05` or `3:02:05`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def roughly(seconds: float) -> str:
    """Return a duration in as many digits as a forecast deserves: `25 s`, `4 min`, `2 h 10 min`."""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(10 * round(minutes / 10), 60)
    return f"{hours} h {minutes:02d} min" if hours < 24 else f"{hours} h"


def fitted(text: str, width: int) -> str:
    """Return text cut to a width, with an ellipsis where something is missing."""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "…"


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _joined(cells: Sequence[Span]) -> Line:
    return tuple(part for cell in cells for part in (cell, Span("  ")))[:-1]


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def _zip(columns: Sequence[Column], widths: Sequence[int]) -> zip[tuple[Column, int]]:
    return zip(columns, widths, strict=True)


def _cut(line: Line, width: int) -> Line:
    """Return the part of a line that fits."""
    kept: list[Span] = []
    for span in line:
        room = width - sum(cell_len(before.text) for before in kept)
        if cell_len(span.text) > room:
            return (*kept, Span(fitted(span.text, room), span.style)) if room > 0 else tuple(kept)
        kept.append(span)
    return tuple(kept)


IN_ASCII = str.maketrans(f"{BLOCKS}…★", f"{ASCII}~*")


def _ascii(line: Line) -> Line:
    """Return a line as a terminal that knows no other characters can show it."""
    return tuple(
        Span(span.text.translate(IN_ASCII).encode("ascii", "replace").decode(), span.style)
        for span in line
    )

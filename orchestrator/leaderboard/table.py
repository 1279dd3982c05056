"""The one table behind every format: entries as columns and cells.

`cells` is the only place where an entry becomes columns, so Markdown, CSV, JSON, HTML and the
terminal cannot disagree. A cell has a value (exact, for CSV and JSON) and a text (one line, for
people).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.leaderboard.comparison_notes import comparison_notes
from orchestrator.leaderboard.notes import Verdict, notes, verdict_on
from orchestrator.leaderboard.paired import Comparison, Paired, paired
from orchestrator.leaderboard.ranking import Entry, rank
from orchestrator.leaderboard.text import (
    duration,
    entry_figure,
    figure,
    is_number,
    one_line,
    setting,
    share,
    spelled,
    with_interval,
)
from orchestrator.leaderboard.variant import MOST_AXES, variant_of
from orchestrator.ledger import TrialRecord
from orchestrator.names import short_name
from orchestrator.objective import Objective

SHOWN_IDS = 3
LONGEST_SETTING = 24
"""Characters of one value in what sets a trial apart."""


@dataclass(frozen=True)
class Leaderboard:
    """All that a leaderboard says. Make one with `build`.

    Args:
        title: The sweep's name.
        run_directory: Where the sweep lives, as a user would type it; part of the commands.
        n_trials: Trials of the sweep, ranked or not.
        objective: What it was ranked by.
        entries: The points, ranked ones first.
        axes: Dotted names of the changed settings, in order of appearance.
        verdict: On ranks 1 and 2; None where fewer than two points are ranked.
        notes: Sentences a reader needs in order to believe the ranking, or not to.
        comparison: What the points are compared with; None where the sweep names no baseline.
        paired: How each point differs from it, by point id; points that cannot be compared are
            left out.
        links: Title and address of what belongs to it, relative to its files.
    """

    title: str
    run_directory: str
    n_trials: int
    objective: Objective
    entries: tuple[Entry, ...]
    axes: tuple[str, ...]
    verdict: Verdict | None
    notes: tuple[str, ...]
    comparison: Comparison | None = None
    paired: Mapping[str, Paired] = field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()

    @property
    def most_shown(self) -> int | None:
        """Ranked points that a person is shown first; None for all."""
        return None if self.comparison is None else self.comparison.top_n

    @property
    def baseline(self) -> Entry | None:
        """The point that the others are compared with."""
        if self.comparison is None:
            return None
        found = (e for e in self.entries if e.point_id == self.comparison.baseline)
        return next(found, None)

    @property
    def names_variants(self) -> bool:
        """Whether a point is named by what it changes of the baseline, not by all its values."""
        return len(self.axes) > MOST_AXES and self.baseline is not None

    def variant(self, entry: Entry) -> str:
        """Return what a point changes of the baseline."""
        assert self.baseline is not None
        return variant_of(entry.changed, self.baseline.changed)

    @property
    def test_metric(self) -> str | None:
        """The metric shown for the best point, which played no part in choosing it."""
        return self.objective.test_metric

    @property
    def criterion(self) -> str:
        """The objective in words."""
        better = "lower" if self.objective.mode == "min" else "higher"
        if self.objective.event:
            over = "Kaplan-Meier median over seeds with the interquartile range"
        elif self.objective.statistic == "median":
            over = "median over seeds with the interquartile range"
        else:
            over = "mean over seeds ± sample standard deviation"
        return f"{self.objective.metric}, {better} is better; {over}"


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: Full name, for CSV and JSON.
        heading: Short name for people; None where they are spared the column.
        numeric: True where its values are numbers.
        code: True where its text is to be typed or copied.
        axis: True for a changed setting.
    """

    name: str
    heading: str | None = None
    numeric: bool = False
    code: bool = False
    axis: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell: the exact plain value, and the line a person reads."""

    value: Any
    text: str = ""


@dataclass(frozen=True)
class Table:
    """Columns and rows; the first `n_ranked` rows have a rank."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    n_ranked: int

    def section(self, ranked: bool) -> Table:
        """Return the ranked rows or the others, with the columns that tell people something."""
        rows = self.rows[: self.n_ranked] if ranked else self.rows[self.n_ranked :]
        kept = [
            i
            for i, column in enumerate(self.columns)
            if column.heading is not None
            and any(row[i].text for row in rows)
            and not (ranked and column.name == "state")  # what is ranked has finished
        ]
        return Table(
            tuple(self.columns[i] for i in kept),
            tuple(tuple(row[i] for i in kept) for row in rows),
            len(rows) if ranked else 0,
        )

    def without(self, name: str | None) -> Table:
        """Return the table without one column."""
        kept = [i for i, column in enumerate(self.columns) if column.name != name]
        return Table(
            tuple(self.columns[i] for i in kept),
            tuple(tuple(row[i] for i in kept) for row in self.rows),
            self.n_ranked,
        )

    def part(self, rows: slice) -> Table:
        """Return some of the rows of a section of ranked ones."""
        return Table(self.columns, self.rows[rows], len(self.rows[rows]))


def build(
    trials: Sequence[TrialRecord],
    objective: Objective,
    *,
    title: str,
    run_directory: str,
    comparison: Comparison | None = None,
) -> Leaderboard:
    """Rank the trials of a sweep and say what a reader has to know.

    Args:
        trials: All trials of the ledger.
        objective: What to rank by.
        title: The sweep's name.
        run_directory: Where the sweep lives, as a user would type it (`runs/depth-…`).
        comparison: What the points are compared with, from `Comparison.of`.
    """
    entries = tuple(rank(trials, objective))
    verdict = verdict_on(entries, objective)
    said: list[str] = []
    found: dict[str, Paired] = {}
    if comparison is not None:
        found = paired(entries, comparison.baseline, objective)
        said = list(comparison_notes(found, entries, comparison.baseline, objective))
    return Leaderboard(
        title=title,
        run_directory=run_directory,
        n_trials=len(trials),
        objective=objective,
        entries=entries,
        axes=tuple(dict.fromkeys(axis for entry in entries for axis in entry.changed)),
        verdict=verdict,
        notes=(*said, *notes(entries, verdict, trials, objective)),
        comparison=comparison,
        paired=found,
    )


def cells(board: Leaderboard) -> Table:
    """Lay a leaderboard out in columns and rows; every format is written from this."""
    metric, test_metric = board.objective.metric, board.test_metric
    suffix = "iqr" if board.objective.middle == "median" else "sd"
    short = short_names(board.axes)

    columns: list[tuple[Column, Callable[[Entry], Cell]]] = [
        (Column("rank", "rank", numeric=True), lambda e: Cell(e.rank, _text(e.rank)))
    ]
    if board.names_variants:
        columns.append((Column("variant", "variant"), lambda e: Cell(v := board.variant(e), v)))
    for axis in board.axes:
        values = [entry.changed.get(axis) for entry in board.entries]
        numeric = all(is_number(value) for value in values if value is not None)
        columns.append(
            (
                Column(
                    axis,
                    None if board.names_variants else short[axis],
                    numeric=numeric,
                    axis=True,
                ),
                lambda e, axis=axis: (  # type: ignore[misc]
                    Cell(e.changed[axis], setting(e.changed[axis]))
                    if axis in e.changed
                    else Cell(None)
                ),
            )
        )
    columns += [
        (
            Column(metric, metric, numeric=True),
            lambda e: Cell(e.value, entry_figure(e, board.objective)),
        ),
        (Column(f"{metric}_{suffix}", numeric=True), lambda e: Cell(e.spread)),
        (Column("n_finished", "seeds", numeric=True), lambda e: Cell(e.n_finished, _seeds(e))),
        (Column("n_seeds", numeric=True), lambda e: Cell(e.n_seeds)),
    ]
    if board.comparison is not None:
        columns += _compared(board.paired)
    if board.objective.event:
        columns += [
            (
                Column("n_censored", "censored", numeric=True),
                lambda e: Cell(e.n_censored, f"{e.n_censored or ''}"),
            ),
            (
                Column(f"{metric}_lower_bound", numeric=True),
                lambda e: Cell(e.bound if e.value is None else None),
            ),
            (Column("seed_bounds"), lambda e: Cell(e.seed_bounds)),
        ]
    if test_metric is not None:
        columns += [
            (
                Column(test_metric, f"{test_metric} (best only)", numeric=True),
                lambda e: Cell(e.test, figure(e.test, e.test_spread, board.objective)),
            ),
            (Column(f"{test_metric}_{suffix}", numeric=True), lambda e: Cell(e.test_spread)),
        ]
    columns += [
        (Column("state", "state"), lambda e: Cell(e.state, _state(e))),
        (Column("reason"), lambda e: Cell(e.reason)),
        (
            Column("active_s", "time", numeric=True),
            lambda e: Cell(e.active_s, duration(e.active_s)),
        ),
        (Column("steps", numeric=True), lambda e: Cell(e.steps)),
        (
            Column("trial_ids", "trials", code=True),
            lambda e: Cell(e.trial_ids, _ids(e)),
        ),
        (Column("seeds"), lambda e: Cell(e.seeds)),
        (Column("seed_values"), lambda e: Cell(e.seed_values)),
        (
            Column("command", "command", code=True),
            lambda e: Cell(command_of(board, e), spelled(command_of(board, e))),
        ),
    ]
    return Table(
        tuple(column for column, _ in columns),
        tuple(tuple(cell(entry) for _, cell in columns) for entry in board.entries),
        sum(entry.rank is not None for entry in board.entries),
    )


def sections(board: Leaderboard) -> list[tuple[str, str, Table]]:
    """Return the tables of a page, those with rows: name, title and cells.

    Where only so many points are to be shown first, the ranked ones are two tables.
    """
    table = cells(board)
    ranked, most = table.section(ranked=True), board.most_shown
    found = [("ranked", "Ranked", ranked)]
    if most is not None and len(ranked.rows) > most:
        best = "Best point" if most == 1 else f"Best {most} points"
        found = [
            ("ranked", best, ranked.part(slice(most))),
            ("lower", "Ranked lower", ranked.part(slice(most, None))),
        ]
    found.append(("unranked", "Not ranked", table.section(ranked=False)))
    return [one for one in found if one[2].rows]


def _compared(found: Mapping[str, Paired]) -> list[tuple[Column, Callable[[Entry], Cell]]]:
    """Return the columns that say how a point differs from the baseline."""

    def told(of: Callable[[Paired], Any], text: Callable[[Paired], str]) -> Callable[[Entry], Cell]:
        def cell(entry: Entry) -> Cell:
            one = found.get(entry.point_id)
            return Cell(None) if one is None else Cell(of(one), text(one))

        return cell

    def end(which: int) -> Callable[[Paired], float | None]:
        return lambda one: None if one.interval is None else one.interval[which]

    difference = told(lambda p: p.difference, lambda p: with_interval(p.difference, p.interval))
    return [
        (Column("difference", "difference (95 % interval)", numeric=True), difference),
        (Column("difference_low", numeric=True), told(end(0), lambda p: "")),
        (Column("difference_high", numeric=True), told(end(1), lambda p: "")),
        (Column("p_value", numeric=True), told(lambda p: p.p, lambda p: "")),
        (
            Column("p_corrected", "p (Holm)", numeric=True),
            told(lambda p: p.corrected, lambda p: share(p.corrected)),
        ),
        (
            Column("judgement", "verdict"),
            told(lambda p: p.judgement.value, lambda p: p.judgement.value),
        ),
        (Column("pairs", numeric=True), told(lambda p: p.pairs, lambda p: "")),
    ]


def short_names(axes: Iterable[str]) -> dict[str, str]:
    """Return a heading for each axis: its short name where no other axis has the same."""
    axes = list(axes)
    last = [short_name(axis) or axis for axis in axes]
    taken = {"rank", "seeds", "state", "time", "trials", "command"}
    return {
        axis: name if last.count(name) == 1 and name not in taken else axis
        for axis, name in zip(axes, last, strict=True)
    }


def settings_of(changed: Mapping[str, Any], seed: int) -> str:
    """Return what sets a trial apart, for a person: `n_layers=4 learning_rate=0.003 seed=1`.

    Args:
        changed: Axis to value.
        seed: `training.seed`.
    """
    names = short_names(changed)
    words = [
        f"{one_line(names[axis])}={one_line(setting(value), LONGEST_SETTING)}"
        for axis, value in changed.items()
    ]
    return " ".join([*words, f"seed={seed}"])


def _text(value: int | None) -> str:
    return "" if value is None else str(value)


def _seeds(entry: Entry) -> str:
    if entry.n_finished == entry.n_seeds:
        return str(entry.n_seeds)
    return f"{entry.n_finished} of {entry.n_seeds}"


def _state(entry: Entry) -> str:
    """Say how a point ended; a ranked one has finished, whatever its seeds had to tell."""
    if entry.rank is not None:
        return entry.state
    # "incomplete" adds nothing to "2 of 3 seeds finished; ...".
    said = [] if entry.state == "incomplete" and entry.reason else [entry.state]
    return one_line(": ".join([*said, entry.reason] if entry.reason else said))


def _ids(entry: Entry) -> str:
    """Name up to three trials of a point; CSV and JSON name all."""
    shown = entry.trial_ids[:SHOWN_IDS]
    more = len(entry.trial_ids) - len(shown)
    return one_line(", ".join(shown) + (f" and {more} more" if more else ""))


def command_of(board: Leaderboard, entry: Entry) -> str:
    """Return what trains the first seed of a point again."""
    path = f"{board.run_directory}/trials/{entry.trial_ids[0]}/config.yaml"
    return f"arbiter train --base-config {shlex.quote(path)}"

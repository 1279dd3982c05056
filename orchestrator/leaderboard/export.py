"""A leaderboard for people and for programs, out of one table.

`cells` is the only place where an entry becomes columns, so Markdown, CSV, JSON, HTML and the
terminal cannot disagree. A cell has a value (exact, for CSV and JSON) and a text (one line, for
people). What a user or an exception wrote may stand in a cell and is data in every format:

- for people, control characters, line breaks and invisible direction marks are spelled out;
- Markdown: what could be markup is a character entity, so no renderer forms a link, an
  element or another column of it;
- CSV: text that a spreadsheet would take for a formula gets an apostrophe in front; numbers
  are numbers;
- JSON: strict (no NaN) and ASCII; floats round-trip. It is the exact copy.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, StorageError
from orchestrator.leaderboard.ranking import Entry, rank
from orchestrator.ledger import TrialRecord
from orchestrator.objective import Objective

FORMATS = ("table", "md", "csv", "json", "html")
FILE_FORMATS = ("md", "csv", "json", "html")
SCHEMA_VERSION = 1
LONGEST_TEXT = 400
"""Characters of a cell for people; CSV and JSON have all of them."""


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
        notes: Sentences a reader needs in order to believe the ranking, or not to.
    """

    title: str
    run_directory: str
    n_trials: int
    objective: Objective
    entries: tuple[Entry, ...]
    axes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def test_metric(self) -> str | None:
        """The metric shown for the best point, which played no part in choosing it."""
        return self.objective.test_metric

    @property
    def criterion(self) -> str:
        """The objective in words."""
        better = "lower" if self.objective.mode == "min" else "higher"
        if self.objective.statistic == "median":
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
            if column.heading is not None and any(row[i].text for row in rows)
        ]
        return Table(
            tuple(self.columns[i] for i in kept),
            tuple(tuple(row[i] for i in kept) for row in rows),
            len(rows) if ranked else 0,
        )


def build(
    trials: Sequence[TrialRecord], objective: Objective, *, title: str, run_directory: str
) -> Leaderboard:
    """Rank the trials of a sweep and say what a reader has to know.

    Args:
        trials: All trials of the ledger.
        objective: What to rank by.
        title: The sweep's name.
        run_directory: Where the sweep lives, as a user would type it (`runs/depth-…`).
    """
    entries = tuple(rank(trials, objective))
    return Leaderboard(
        title=title,
        run_directory=run_directory,
        n_trials=len(trials),
        objective=objective,
        entries=entries,
        axes=tuple(dict.fromkeys(axis for entry in entries for axis in entry.changed)),
        notes=tuple(_notes(entries, trials, objective)),
    )


def cells(board: Leaderboard) -> Table:
    """Lay a leaderboard out in columns and rows; every format is written from this."""
    metric, test_metric = board.objective.metric, board.test_metric
    suffix = "iqr" if board.objective.statistic == "median" else "sd"
    short = short_names(board.axes)

    columns: list[tuple[Column, Callable[[Entry], Cell]]] = [
        (Column("rank", "rank", numeric=True), lambda e: Cell(e.rank, _text(e.rank)))
    ]
    for axis in board.axes:
        values = [entry.changed.get(axis) for entry in board.entries]
        numeric = all(_is_number(value) for value in values if value is not None)
        columns.append(
            (
                Column(axis, short[axis], numeric=numeric, axis=True),
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
            lambda e: Cell(e.value, figure(e.value, e.spread, board.objective)),
        ),
        (Column(f"{metric}_{suffix}", numeric=True), lambda e: Cell(e.spread)),
        (Column("n_finished", "seeds", numeric=True), lambda e: Cell(e.n_finished, _seeds(e))),
        (Column("n_seeds", numeric=True), lambda e: Cell(e.n_seeds)),
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
            lambda e: Cell(e.trial_ids, one_line(", ".join(e.trial_ids))),
        ),
        (Column("seeds"), lambda e: Cell(e.seeds)),
        (Column("seed_values"), lambda e: Cell(e.seed_values)),
        (
            Column("command", "command", code=True),
            lambda e: Cell(_command(board, e), spelled(_command(board, e))),
        ),
    ]
    return Table(
        tuple(column for column, _ in columns),
        tuple(tuple(cell(entry) for _, cell in columns) for entry in board.entries),
        sum(entry.rank is not None for entry in board.entries),
    )


def render(board: Leaderboard, format: str) -> str:
    """Return a leaderboard as text.

    Args:
        board: From `build`.
        format: One of `FORMATS`; "table" is for a terminal.

    Raises:
        ValueError: The format is not known.
    """
    if format == "html":
        from orchestrator.leaderboard.report import page

        return page(board)
    writers = {"table": _terminal, "md": _markdown, "csv": _csv, "json": _json}
    if format not in writers:
        raise ValueError(f"format: got {format!r}, expected one of {', '.join(FORMATS)}")
    return writers[format](board)


def write_leaderboard(directory: Path, board: Leaderboard) -> None:
    """Write `leaderboard.md`, `.csv`, `.json` and `.html`, each whole or not at all.

    Args:
        directory: The run directory; it exists.
        board: From `build`.

    Raises:
        StorageError: The disk is full, or the directory cannot be written to. Earlier files
            are as they were.
    """
    texts = {format: render(board, format) for format in FILE_FORMATS}
    temporary: dict[Path, Path] = {}
    try:
        for format, text in texts.items():
            path = directory / f"leaderboard.{format}"
            temporary[path] = directory / f".leaderboard.{format}.{os.getpid()}.tmp"
            with temporary[path].open("wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        for path, written in temporary.items():
            written.replace(path)
    except OSError as error:
        raise StorageError(
            Problem(f"cannot write the leaderboard: {error.strerror}", str(directory))
        ) from error
    finally:
        for written in temporary.values():
            # A directory that cannot be written to holds nothing of ours.
            with suppress(OSError):
                written.unlink(missing_ok=True)


# What a person reads


def short_names(axes: Iterable[str]) -> dict[str, str]:
    """Return a heading for each axis: its last component where no other axis has the same."""
    axes = list(axes)
    last = [axis.rpartition(".")[2] or axis for axis in axes]
    taken = {"rank", "seeds", "state", "time", "trials", "command"}
    return {
        axis: name if last.count(name) == 1 and name not in taken else axis
        for axis, name in zip(axes, last, strict=True)
    }


def number(value: float) -> str:
    """Return a measured number with four decimals, or four digits where those say nothing."""
    if value == 0:
        return "0"
    return f"{value:.4f}" if 0.01 <= abs(value) < 1e6 else f"{value:.4g}"


def figure(value: float | None, spread: float | None, objective: Objective) -> str:
    """Return a value with its spread; empty where there is none."""
    if value is None:
        return ""
    if spread is None:
        return number(value)
    # As many decimals as the value has, unless they would all be zeros.
    fine = "e" not in number(value) and spread >= 0.0001
    around = f"{spread:.4f}" if fine else f"{spread:.2g}"
    if objective.statistic == "median":
        return f"{number(value)} (IQR {around})"
    return f"{number(value)} ± {around}"


def setting(value: Any) -> str:
    """Return the value of an axis: floats with six digits, other plain values as TOML has them."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else one_line(_compact(value))


def duration(seconds: float) -> str:
    """Return `12.3 s`, `4 min 10 s` or `2 h 05 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def one_line(text: str, longest: int | None = LONGEST_TEXT) -> str:
    """Return text without line breaks and with control characters spelled out.

    Args:
        text: Whatever a user or an exception wrote.
        longest: Characters to keep, an ellipsis included; None for all.
    """
    line = spelled(" ".join(text.split()))
    return line if longest is None or len(line) <= longest else line[: longest - 1] + "…"


def spelled(text: str) -> str:
    """Return text with what would act on a terminal, or hide or reorder text, spelled out."""
    return "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    category = unicodedata.category(character)
    # The two joiners are part of ordinary words and emoji.
    harmless = category not in ("Cc", "Cf", "Cs", "Zl", "Zp") or character in "\u200c\u200d"
    return character if harmless else character.encode("unicode_escape").decode()


def _text(value: int | None) -> str:
    return "" if value is None else str(value)


def _seeds(entry: Entry) -> str:
    if entry.n_finished == entry.n_seeds:
        return str(entry.n_seeds)
    return f"{entry.n_finished} of {entry.n_seeds}"


def _state(entry: Entry) -> str:
    """A ranked point has finished, which needs no word."""
    said = [] if entry.rank is not None else [entry.state]
    # "incomplete" adds nothing to "2 of 3 seeds finished; ...".
    if entry.state == "incomplete" and entry.reason:
        said = []
    return one_line(": ".join([*said, entry.reason] if entry.reason else said))


def _command(board: Leaderboard, entry: Entry) -> str:
    path = f"{board.run_directory}/trials/{entry.trial_ids[0]}/config.yaml"
    return f"arbiter train --base-config {shlex.quote(path)}"


def _notes(
    entries: Sequence[Entry], trials: Sequence[TrialRecord], objective: Objective
) -> Iterable[str]:
    ranked = [entry for entry in entries if entry.rank is not None]
    metric, test_metric = objective.metric, objective.test_metric
    if entries and all(entry.n_seeds == 1 for entry in entries):
        yield "One seed per point: the ranking has no measure of chance."
    elif any(entry.n_seeds == 1 for entry in ranked):
        yield "Some points have one seed: their place has no measure of chance."
    if len(ranked) > 1:
        yield from _closeness(ranked)
    if ranked and test_metric is not None:
        if ranked[0].test is None:
            yield f"The best point was chosen by {metric}; it did not report {test_metric}."
        else:
            yield (
                f"The best point was chosen by {metric}; {test_metric} is shown for that point"
                " only, because choosing by it would make it a second validation metric."
            )
    if not ranked:
        yield f"No point is ranked: none has all its seeds finished with a finite {metric}."
    elif len(ranked) < len(entries):
        left = len(entries) - len(ranked)
        yield (
            f"{left} of {len(entries)} points {'is' if left == 1 else 'are'} not ranked: a point"
            f" is ranked when all its seeds finished with a finite {metric}."
        )
    yield from _baselines(trials)


def _closeness(ranked: Sequence[Entry]) -> Iterable[str]:
    """Whether first and second can be told apart."""
    first, second = ranked[0], ranked[1]
    shared = sum(entry.rank == 1 for entry in ranked)
    if shared > 1:
        yield f"{shared} points share rank 1; the first of them in the plan is listed first."
        return
    assert first.value is not None and second.value is not None
    spreads = [entry.spread for entry in (first, second) if entry.spread is not None]
    gap = abs(first.value - second.value)
    if spreads and gap < max(spreads):
        yield (
            f"Ranks 1 and 2 are {gap:.2g} apart, less than the spread of their seeds"
            f" ({max(spreads):.2g}): it takes more seeds to tell them apart."
        )


def _baselines(trials: Sequence[TrialRecord]) -> Iterable[str]:
    found: dict[str, list[float]] = {}
    for trial in trials:
        for name, value in trial.final.items():
            if name.startswith("baseline/") and math.isfinite(value):
                found.setdefault(name, []).append(value)
    for name, values in sorted(found.items()):
        low, high = f"{min(values):.4g}", f"{max(values):.4g}"
        span = low if low == high else f"{low} to {high}, depending on the point"
        yield f"{name} {span}: what a model that learned nothing would reach."


# The formats


def _terminal(board: Leaderboard) -> str:
    from tabulate import tabulate

    parts = [f"{one_line(board.title)}\n{one_line(board.criterion)}"]
    table = cells(board)
    for ranked in (True, False):
        section = table.section(ranked)
        # The command differs by the trial's id only; it would fill the line.
        kept = [i for i, column in enumerate(section.columns) if column.name != "command"]
        if not section.rows:
            continue
        columns = [section.columns[i] for i in kept]
        text = tabulate(
            [[row[i].text for i in kept] for row in section.rows],
            headers=[one_line(str(column.heading)) for column in columns],
            tablefmt="simple",
            disable_numparse=True,
            colalign=["right" if column.numeric else "left" for column in columns],
            maxcolwidths=[None if column.numeric or column.code else 48 for column in columns],
        )
        parts.append(text if ranked else f"Not ranked\n\n{text}")
    parts.append("\n".join(one_line(note) for note in board.notes))
    if board.entries:
        path = shlex.quote(f"{board.run_directory}/trials/TRIAL/config.yaml")
        parts.append(spelled(f"A row again: arbiter train --base-config {path}"))
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(board: Leaderboard) -> str:
    blocks = [
        f"# {markdown_text(board.title)}",
        f"Ranked by {markdown_text(board.criterion)}. {_counts(board)}",
        "\n".join(f"- {markdown_text(note)}" for note in board.notes),
    ]
    table = cells(board)
    for ranked, heading in ((True, "Ranked"), (False, "Not ranked")):
        section = table.section(ranked)
        if not section.rows:
            continue
        lines = [
            [markdown_text(str(column.heading)) for column in section.columns],
            ["---:" if column.numeric else "---" for column in section.columns],
        ]
        for row in section.rows:
            lines.append(
                [
                    markdown_code(cell.text) if column.code else markdown_text(cell.text)
                    for column, cell in zip(section.columns, row, strict=True)
                ]
            )
        blocks += [f"## {heading}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _csv(board: Leaderboard) -> str:
    table = cells(board)
    file = io.StringIO(newline="")
    # RFC 4180 line ends; the writer then also quotes a lone carriage return.
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow([csv_value(column.name) for column in table.columns])
    for row in table.rows:
        writer.writerow([csv_value(cell.value) for cell in row])
    return file.getvalue()


def _json(board: Leaderboard) -> str:
    table = cells(board)
    entries = []
    for row in table.rows:
        pairs = list(zip(table.columns, row, strict=True))
        entry = {column.name: plain(cell.value) for column, cell in pairs if not column.axis}
        entry["changed"] = {column.name: plain(cell.value) for column, cell in pairs if column.axis}
        entries.append(entry)
    document = {
        "schema_version": SCHEMA_VERSION,
        "title": board.title,
        "run_directory": board.run_directory,
        "n_trials": board.n_trials,
        "objective": {
            "metric": board.objective.metric,
            "mode": board.objective.mode,
            "statistic": board.objective.statistic,
            "test_metric": board.test_metric,
        },
        "axes": list(board.axes),
        "notes": list(board.notes),
        "entries": entries,
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _counts(board: Leaderboard) -> str:
    """How many points and trials there are."""
    points = f"{len(board.entries)} {'point' if len(board.entries) == 1 else 'points'}"
    return f"{points}, {board.n_trials} {'trial' if board.n_trials == 1 else 'trials'}."


# One value in one format

MARKUP = re.compile(r"[\\`*\[\]<>|&~#!^{}$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)")
BARE_HOST = re.compile(r"(?<=www)\.", re.IGNORECASE)
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""The last four are the full-width forms, which spreadsheets of East Asian locales read alike."""


def markdown_text(text: str) -> str:
    """Return Markdown that shows `text` and nothing else, in a paragraph or a table cell.

    Entities, unlike backslashes, are read alike by all renderers: an escaped `|` behind
    another backslash splits a cell in some. An `@` stands in a code span, since an e-mail
    address or a mention is found after entities are resolved.
    """
    text = MARKUP.sub(lambda found: f"&#{ord(found[0])};", one_line(text, longest=None))
    text = BARE_HOST.sub("&#46;", text)
    return re.sub("@+", lambda found: f"`{found[0]}`", text)


def markdown_code(text: str) -> str:
    """Return `text` as a code span, or escaped where a code span could not hold it."""
    if not text or re.search(r"[|`\\]", text):
        return markdown_text(text)
    return f"`{text}`"


def csv_value(value: Any) -> str | int | float | None:
    """Return what the CSV writer is to write.

    Numbers stay numbers. Lists are JSON. Text that a spreadsheet would take for a formula gets
    an apostrophe; text that has the apostrophe already gets another, so that taking one away
    gives back what was there.
    """
    value = plain(value)
    if value is None or _is_number(value):
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str):
        return _compact(value)
    text = "".join(c if c in "\t\r\n" else _spelled(c) for c in value)
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def plain(value: Any) -> Any:
    """Return a value that strict JSON can hold; a number that is not finite becomes its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compact(value: Any) -> str:
    return json.dumps(plain(value), allow_nan=False)

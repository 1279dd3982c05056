"""A leaderboard in every format, and its files: each whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from orchestrator.errors import Problem, StorageError
from orchestrator.leaderboard.table import Leaderboard, Table, cells, sections
from orchestrator.leaderboard.text import (
    csv_value,
    markdown_code,
    markdown_text,
    one_line,
    plain,
    spelled,
)

FORMATS = ("table", "md", "csv", "json", "html")
FILE_FORMATS = ("md", "csv", "json", "html")
SCHEMA_VERSION = 1


def render(board: Leaderboard, format: str, width: int | None = None) -> str:
    """Return a leaderboard as text.

    Args:
        board: From `build`.
        format: One of `FORMATS`; "table" is for a terminal.
        width: Columns of that terminal, for its sentences; None where a line may be of any length.

    Raises:
        ValueError: The format is not known.
    """
    if format == "html":
        from orchestrator.leaderboard.report import page

        return page(board)
    if format == "table":
        return _terminal(board, width)
    writers = {"md": _markdown, "csv": _csv, "json": _json}
    if format not in writers:
        raise ValueError(f"format: got {format!r}, expected one of {', '.join(FORMATS)}")
    return writers[format](board)


def render_top(board: Leaderboard, most: int, width: int | None = None) -> str:
    """Return the best points and the notes, short enough for the end of a sweep.

    Args:
        board: From `build`.
        most: Points to show.
        width: Columns of the terminal, as for `render`.
    """
    section = cells(board).section(ranked=True)
    parts = []
    if section.rows:
        more = len(section.rows) - most
        if more == 1:  # the row takes no more space than the line that would stand for it
            most, more = most + 1, 0
        names = (
            "rank",
            "variant",
            *board.axes,
            board.objective.metric,
            "n_finished",
            "difference",
            "judgement",
        )
        text = _aligned(section, names, most)
        parts.append(text + (f"\n… and {more} more" if more > 0 else ""))
    parts.append(_sentences(board.notes, width))
    return "\n\n".join(part for part in parts if part) + "\n"


def write_leaderboard(directory: Path, board: Leaderboard, stem: str = "leaderboard") -> None:
    """Write `leaderboard.md`, `.csv`, `.json` and `.html`, each whole or not at all.

    Args:
        directory: The run directory; it exists.
        board: From `build`.
        stem: Their name instead of `leaderboard`.

    Raises:
        StorageError: The disk is full, or the directory cannot be written to. Earlier files
            are as they were.
    """
    texts = {format: render(board, format) for format in FILE_FORMATS}
    temporary: dict[Path, Path] = {}
    try:
        for format, text in texts.items():
            path = directory / f"{stem}.{format}"
            temporary[path] = directory / f".{stem}.{format}.{os.getpid()}.tmp"
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


def _terminal(board: Leaderboard, width: int | None) -> str:
    parts = [f"{one_line(board.title)}\n{one_line(board.criterion)}"]
    table = cells(board)
    for ranked in (True, False):
        section = table.section(ranked)
        if not section.rows:
            continue
        # The command differs by the trial's id only; it would fill the line.
        text = _aligned(section, [c.name for c in section.columns if c.name != "command"])
        parts.append(text if ranked else f"Not ranked\n\n{text}")
    parts.append(_sentences(board.notes, width))
    if board.entries:
        path = shlex.quote(f"{board.run_directory}/trials/TRIAL/config.yaml")
        parts.append(spelled(f"A row again: arbiter train --base-config {path}"))
    return "\n\n".join(part for part in parts if part) + "\n"


def _sentences(notes: Sequence[str], width: int | None) -> str:
    """Return notes, a line each; broken between words where the terminal is narrower."""
    lines = [one_line(note) for note in notes]
    if width is not None:
        lines = [textwrap.fill(line, width, break_on_hyphens=False) for line in lines]
    return "\n".join(lines)


def _aligned(section: Table, names: Sequence[str], most: int | None = None) -> str:
    """Return the named columns of the first rows as text."""
    from tabulate import tabulate

    kept = [i for i, column in enumerate(section.columns) if column.name in names]
    columns = [section.columns[i] for i in kept]
    return tabulate(
        [[row[i].text for i in kept] for row in section.rows[:most]],
        headers=[one_line(str(column.heading)) for column in columns],
        tablefmt="simple",
        disable_numparse=True,
        colalign=["right" if column.numeric else "left" for column in columns],
        maxcolwidths=[None if column.numeric or column.code else 48 for column in columns],
    )


def _markdown(board: Leaderboard) -> str:
    blocks = [
        f"# {markdown_text(board.title)}",
        f"Ranked by {markdown_text(board.criterion)}. {_counts(board)}",
        "\n".join(f"- {markdown_text(note)}" for note in board.notes),
    ]
    for _, heading, section in sections(board):
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
    if board.links:
        lines_of_links = [f"- [{markdown_text(t)}]({quote(to)})" for t, to in board.links]
        blocks += ["## Diagnostics", "\n".join(lines_of_links)]
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
            "statistic": board.objective.middle,
            "test_metric": board.test_metric,
        },
        "axes": list(board.axes),
        **({} if board.comparison is None else {"baseline": board.comparison.baseline}),
        "notes": list(board.notes),
        "entries": entries,
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _counts(board: Leaderboard) -> str:
    """How many points and trials there are."""
    points = f"{len(board.entries)} {'point' if len(board.entries) == 1 else 'points'}"
    return f"{points}, {board.n_trials} {'trial' if board.n_trials == 1 else 'trials'}."

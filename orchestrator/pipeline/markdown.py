"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.leaderboard.text import markdown_text, one_line
from orchestrator.pipeline.document import (
    Block,
    Cell,
    Chart,
    Document,
    Sample,
    Section,
    Table,
    Text,
)
from orchestrator.pipeline.figures import numeric_columns, shown

MOST_POINTS = 12
"""Steps of a curve that are listed; the HTML report draws all of them."""


def markdown(document: Document) -> str:
    """Return the report; what a text or a file said is escaped."""
    lines = [f"# {_plain(document.title)}", "", _plain(document.subtitle), ""]
    for card in document.cards:
        below = f" ({_plain(card.below)})" if card.below else ""
        lines.append(f"- {_plain(card.title)}: **{_plain(card.figure)}**{below}")
    for section in [*document.sections, document.runs]:
        lines += ["", *_section(section)]
    return "\n".join(lines) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {_plain(section.title)}"
    for block in section.blocks:
        yield ""
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text(text, doubt):
            yield f"**{_plain(text)}**" if doubt else _plain(text)
        case Table():
            yield from _table(block)
        case Chart():
            yield from _table(_listed(block))
        case Sample(prompt, continuation):
            yield f"> {_quoted(prompt)} **→** {_quoted(continuation)}"


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield f"### {_plain(table.title)}"
        yield ""
    yield _row([_plain(heading) for heading in table.columns])
    yield _row(["---:" if right else "---" for right in numeric_columns(table)])
    for row in table.rows:
        yield _row([_cell(cell) for cell in row])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    return _plain(shown(cell))


def _listed(chart: Chart) -> Table:
    """Return some of a chart's points, the last of them always."""
    fewest = min(chart.curves, key=lambda curve: len(curve.points))
    steps = [step for step, _ in fewest.points]
    count = min(MOST_POINTS, len(steps))
    kept = [steps[(n + 1) * len(steps) // count - 1] for n in range(count)]
    values = [dict(curve.points) for curve in chart.curves]
    rows = tuple((step, *(of.get(step) for of in values)) for step in kept)
    return Table(("step", *(curve.name for curve in chart.curves)), rows, chart.title)


def _plain(text: str) -> str:
    return markdown_text(one_line(text))


def _quoted(text: str) -> str:
    """Return a text of several lines as one; where a line ends stays to be seen."""
    return markdown_text(text.replace("\n", " ⏎ "))

"""The pages and their numbers, each file whole or not at all; they work offline.

A page fetches Plotly from the file beside it and nothing else: its Content-Security-Policy lets it
reach no other machine, and allows of inline scripts its own alone.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from orchestrator.diagnostics.figure import Figure, Sheet
from orchestrator.diagnostics.held_out import LeftOut
from orchestrator.diagnostics.variants import Variant
from orchestrator.errors import Problem, StorageError
from orchestrator.layout import write_whole
from orchestrator.leaderboard.report import environment
from orchestrator.leaderboard.text import csv_value, one_line

SCRIPT = "plotly.min.js"
OVERVIEW = "index.html"
OURS = re.compile(
    r"(index|loss_curves|residual_power|wavelength_scores|z_scores|rule_violations)\.html"
)
SHEETS = re.compile(
    r"(loss_curves|residual_power|wavelength_scores|z_scores|coverage|rule_violations)\.csv"
)
"""What an earlier run may have left in the folder."""
MOST_LISTED = 20
"""Trials that a page names as left out."""


def write_pages(
    folder: Path,
    title: str,
    figures: Sequence[Figure],
    variants: Sequence[Variant],
    left_out: Sequence[LeftOut],
) -> list[tuple[str, str]]:
    """Write an overview, and a page for each figure with its numbers.

    Args:
        folder: Where to; made where it is not there.
        title: Of the run.
        figures: The pages.
        variants: Of the run.
        left_out: Trials that the figures of predictions do not have.

    Returns:
        Title and file name of each page, the overview first.

    Raises:
        StorageError: A file cannot be written.
    """
    links = [("Overview", OVERVIEW), *((f.title, f"{f.name}.html") for f in figures)]
    common = {"run": title, "links": links, "left_out": _listed(left_out)}
    template = environment(Path(__file__).parent)
    texts = {
        OVERVIEW: template.get_template("overview.html.j2").render(
            figures=figures, variants=variants, **common
        )
    }
    page = template.get_template("page.html.j2")
    for figure in figures:
        plots = [panel.plot.to_json() for panel in figure.panels]
        texts[f"{figure.name}.html"] = page.render(
            figure=figure, plots=[data_block(text) for text in plots], **common
        )
        texts |= {f"{sheet.name}.csv": _csv(sheet) for sheet in figure.sheets}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_plotly(folder / SCRIPT)
        for name, text in texts.items():
            write_whole(folder / name, text)
        for path in folder.iterdir():
            ours = OURS.fullmatch(path.name) or SHEETS.fullmatch(path.name)
            if ours and path.name not in texts:
                path.unlink()
    except OSError as error:
        message = f"cannot write the diagnostics: {error.strerror}"
        raise StorageError(Problem(message, str(folder))) from error
    return links


def data_block(text: str) -> str:
    """Return JSON that cannot end the element it stands in."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _write_plotly(path: Path) -> None:
    """Write the library beside the pages, unless it is there: it has 5 MB."""
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    if not path.is_file() or path.stat().st_size != len(text.encode()):
        write_whole(path, text)


def _listed(left_out: Sequence[LeftOut]) -> list[str]:
    said = [
        one_line(f"trial {one.trial.id} (seed {one.trial.seed}): {one.why}") for one in left_out
    ]
    more = len(said) - MOST_LISTED
    return said if more <= 0 else [*said[:MOST_LISTED], f"and {more} more"]


def _csv(sheet: Sheet) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(sheet.header)
    writer.writerows([[csv_value(value) for value in row] for row in sheet.rows])
    return file.getvalue()

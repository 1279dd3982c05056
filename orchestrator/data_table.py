"""What is wrong with a data set, as a table, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from tabulate import tabulate

from orchestrator.leaderboard.text import markdown_text, one_line

if TYPE_CHECKING:
    from trainer.tasks.ariel.visit import Fault

FORMATS = ("table", "md", "csv", "json")
HEADERS = ("file", "planet", "what is wrong")


def render_faults(faults: Sequence[Fault], output: str) -> str:
    """Return faults in one of `FORMATS`; only the header where there are none."""
    if output == "json":
        return json.dumps([asdict(fault) for fault in faults], indent=1, ensure_ascii=False)
    rows = [[f.file, "" if f.planet_id is None else str(f.planet_id), f.message] for f in faults]
    if output == "csv":
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([HEADERS, *rows])
        return file.getvalue()

    def shown(text: str) -> str:
        return markdown_text(text) if output == "md" else one_line(text, longest=None)

    return tabulate(
        [[shown(value) for value in row] for row in rows],
        headers=HEADERS,
        tablefmt="github" if output == "md" else "simple",
        disable_numparse=True,
    )

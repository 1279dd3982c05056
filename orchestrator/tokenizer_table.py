"""The vocabularies of a text, as a table, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

if TYPE_CHECKING:
    from trainer.tasks.corpus.vocabularies import Candidate, Study

FORMATS = ("table", "md", "csv", "json")
HEADERS = (
    "vocabulary",
    "used",
    "bytes/token\ntrain",
    "bytes/token\nheld-out",
    "chars/token\ntrain",
    "chars/token\nheld-out",
    "in phrases",
    "chosen",
    "file",
)
"""`used` are the symbols that occur in the train split, `in phrases` the share of its bytes."""
MOST_PHRASES = 40


def render_study(study: Study, output: str) -> str:
    """Return the vocabularies and the choice in one of `FORMATS`."""
    if output == "json":
        return _json(study)
    rows = [_row(study, candidate) for candidate in study.candidates]
    headers = [header.replace("\n", " " if output != "table" else "\n") for header in HEADERS]
    if output == "csv":
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([headers, *rows])
        return file.getvalue()
    table = tabulate(
        rows,
        headers=headers,
        tablefmt="github" if output == "md" else "simple",
        disable_numparse=True,
        colalign=["right"] * (len(HEADERS) - 2) + ["left"] * 2,
    )
    if not study.phrases:
        return table
    shown = ", ".join(map(repr, study.phrases[:MOST_PHRASES]))
    left_out = len(study.phrases) - MOST_PHRASES
    more = f" and {left_out} more" if left_out > 0 else ""
    return f"{table}\n\nphrases: {shown}{more}"


def _row(study: Study, candidate: Candidate) -> list[str]:
    return [
        str(candidate.symbols),
        str(candidate.used),
        f"{candidate.train_bytes_per_token:.3f}",
        f"{candidate.held_out_bytes_per_token:.3f}",
        f"{candidate.train_chars_per_token:.3f}",
        f"{candidate.held_out_chars_per_token:.3f}",
        f"{candidate.phrase_frac:.1%}",
        "yes" if candidate == study.chosen else "",
        str(candidate.path),
    ]


def _json(study: Study) -> str:
    def plain(candidate: Candidate) -> dict[str, Any]:
        return {k: str(v) if isinstance(v, Path) else v for k, v in vars(candidate).items()}

    document = {
        "candidates": [plain(candidate) for candidate in study.candidates],
        "chosen": str(study.chosen.path),
        "reason": study.reason,
        "phrases": study.phrases,
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)

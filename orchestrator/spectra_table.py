"""How well spectra were predicted: the network beside the physical baseline and the naive answer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tabulate import tabulate

FORMATS = ("table", "md", "csv", "json")
HEADERS = ("", "score", "RMSE (ppm)", "coverage", "z std")
"""`coverage` is the share of |z| ≤ 1, ideally 0.683; `z std` is ideally 1."""


@dataclass(frozen=True)
class Judged:
    """One way to predict the spectra of some planets, judged; None where it is not known.

    Args:
        name: For a person.
        score: The challenge's, in [0, 1].
        rmse_ppm: Root mean square error of the depth.
        coverage: Share of the depths within one σ.
        z_std: Standard deviation of (depth - truth) / σ.
    """

    name: str
    score: float | None
    rmse_ppm: float | None = None
    coverage: float | None = None
    z_std: float | None = None


def judged_at_the_end(final: Mapping[str, float]) -> list[Judged]:
    """Return what a finished trial's metrics say of the test planets; [] without a score.

    Args:
        final: The ledger's, of a trial of task ariel.
    """
    if "test/score" not in final:
        return []
    of = final.get
    return [
        Judged(
            "network",
            of("test/score"),
            of("test/rmse_ppm"),
            of("test/coverage"),
            of("test/z_std"),
        ),
        Judged(
            "network, σ not calibrated",
            of("test/score_uncalibrated"),
            of("test/rmse_ppm"),
            of("test/coverage_uncalibrated"),
            of("test/z_std_uncalibrated"),
        ),
        Judged(
            "physical baseline",
            of("baseline/score"),
            of("baseline/rmse_ppm"),
            of("baseline/coverage"),
            of("baseline/z_std"),
        ),
        Judged("naive", of("baseline/naive_score")),
    ]


def render_judged(rows: Sequence[Judged], output: str) -> str:
    """Return the rows in one of `FORMATS`; CSV and JSON have every digit."""
    if output == "json":
        return json.dumps([asdict(row) for row in rows], indent=1, allow_nan=False)
    if output == "csv":
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(asdict(rows[0]))
        writer.writerows(asdict(row).values() for row in rows)
        return file.getvalue()
    cells = [
        [
            row.name,
            _shown(row.score, 4),
            _shown(row.rmse_ppm, 1),
            _shown(row.coverage, 3),
            _shown(row.z_std, 2),
        ]
        for row in rows
    ]
    return tabulate(
        cells,
        headers=HEADERS,
        tablefmt="github" if output == "md" else "simple",
        disable_numparse=True,
        colalign=("left", "right", "right", "right", "right"),
    )


def _shown(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:,.{decimals}f}"

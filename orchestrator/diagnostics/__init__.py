"""What the trials of an ablation did, as figures: one page each, with the numbers behind it.

Read `write_diagnostics` first. `held_out.py` reads what trials predict of their test planets, each
figure has a file (`loss_curves.py`, `residual_power.py`, `wavelength_scores.py`, `z_scores.py`,
`rule_violations.py`) that computes its numbers and lays them out, `page.py` writes them.

Nothing of this decides anything: it is derived from the ledger and the checkpoints, and can be
written again for any run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.diagnostics import (
    loss_curves,
    residual_power,
    rule_violations,
    wavelength_scores,
    z_scores,
)
from orchestrator.diagnostics.figure import Figure
from orchestrator.diagnostics.held_out import Predict, Predictions, from_checkpoints
from orchestrator.diagnostics.page import write_pages
from orchestrator.diagnostics.variants import variants_of
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.objective import Objective

__all__ = ["SUBFOLDER", "write_diagnostics"]

SUBFOLDER = Path("diagnostics") / "ablation"


def write_diagnostics(
    directory: RunDirectory,
    trials: Sequence[TrialRecord],
    objective: Objective,
    folder: Path,
    *,
    predict: Predict | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> list[tuple[str, str]]:
    """Write the figures of a run into `diagnostics/ablation/`; those of an earlier run are replaced.

    A figure for which no trial has anything to show is left out. So is a trial, from the figures of
    predictions, that did not finish or has no checkpoint; the pages name it.

    Args:
        directory: The run; its ledger is read, nothing is written there.
        trials: Of the run, as the ledger has them.
        objective: Orders the variants, as on the leaderboard.
        folder: Where the leaderboard's page lies (`outputs`); made where it is not there.
        predict: How the spectra of a trial's test planets are read; None: from its newest checkpoint.
        notify: Is told what takes time.

    Returns:
        Title and address of each page, relative to `folder`; the overview first.

    Raises:
        StorageError: The ledger is damaged, or a file cannot be written.
    """
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        sweep = ledger.sweep()
        rows = {trial.id: ledger.rows(trial.id) for trial in trials}
    baseline = sweep.get("baseline")
    variants = variants_of(trials, objective, None if baseline is None else str(baseline))
    seen = Predictions.read(directory, trials, predict or from_checkpoints(), notify)
    figures: list[Figure | None] = [
        loss_curves.figure(variants, rows, objective.metric),
        residual_power.figure(variants, seen.judged),
        wavelength_scores.figure(variants, seen.judged),
        z_scores.figure(variants, seen.judged),
        rule_violations.figure(variants, rows),
    ]
    pages = write_pages(
        folder / SUBFOLDER,
        directory.path.name,
        [figure for figure in figures if figure is not None],
        variants,
        seen.left_out,
    )
    return [(title, (SUBFOLDER / name).as_posix()) for title, name in pages]

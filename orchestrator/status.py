"""How far each trial of a sweep is, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tabulate import tabulate

from orchestrator.ledger import TrialRecord


def render_status(trials: Sequence[TrialRecord]) -> str:
    """Return one line a trial and a line of totals."""
    rows = [
        [
            trial.id,
            " ".join(f"{k.rpartition('.')[2]}={v}" for k, v in trial.changed.items()),
            trial.seed,
            state_of(trial),
            f"{trial.step}/{trial.config['training']['steps']}",
            f"{trial.active_s:.1f}",
            trial.detail,
        ]
        for trial in trials
    ]
    table = tabulate(
        rows,
        headers=["trial", "changed", "seed", "state", "step", "time_s", "detail"],
        disable_numparse=True,
    )
    totals = Counter(state_of(trial) for trial in trials)
    return f"{table}\n\n" + ", ".join(f"{n} {state}" for state, n in totals.items()) + "\n"


def state_of(trial: TrialRecord) -> str:
    """Return the reason of an ended trial, the state of another."""
    return trial.reason.value if trial.reason is not None else trial.state.value

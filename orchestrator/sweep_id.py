"""The hash that names a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.identity import fingerprint


def sweep_hash(trial_ids: Sequence[str], objective: Mapping[str, Any], baseline: str | None) -> str:
    """Return the hash of what a sweep trains and of what judges it.

    Args:
        trial_ids: In the order of the plan.
        objective: What ranks, as plain values.
        baseline: Id of the point that the others are compared with, if there is one.
    """
    made: dict[str, Any] = {"trials": list(trial_ids), "objective": dict(objective)}
    return fingerprint(made if baseline is None else made | {"baseline": baseline})

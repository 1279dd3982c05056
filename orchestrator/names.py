"""What a trial and a cohort are called where a person reads: Ray's dashboard, gauges."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from orchestrator.ledger import TrialRecord

LONGEST_VALUE = 24
LONGEST_NAME = 120
VAGUE = ("weight", "enabled")
"""Last parts of a setting's name that say nothing without the one before."""
MOST_LISTED = 3
"""Whole numbers in a row that the name of a cohort lists; of more, the first and the last."""


def label_of(trial: TrialRecord) -> str:
    """Return what sets a trial apart: `n_layers=4 lr=0.003 seed=1`."""
    changed = {**trial.changed, "seed": trial.seed}
    words = [f"{safe(short_name(k))}={safe(_text(v))}" for k, v in changed.items()]
    return " ".join(words)[:LONGEST_NAME]


def short_name(key: str) -> str:
    """Return the last part of a setting's name: `n_layers`, but `smoothness.weight`."""
    parts = key.split(".")
    return ".".join(parts[-2:]) if parts[-1] in VAGUE else parts[-1]


def name_of(trial: TrialRecord) -> str:
    """Return the trial's id and label; ids are unique in a sweep, so its names are."""
    return f"{trial.id} {label_of(trial)}"


def merged(labels: Sequence[str]) -> str:
    """Return one label for trials that train together: `n_layers=4 lr=0.003,0.01 seed=0..7`."""
    values: dict[str, dict[str, None]] = {}
    for label in labels:
        for word in label.split():
            key, _, value = word.partition("=")
            values.setdefault(key, {})[value] = None
    words = [f"{key}={_listed(list(distinct))}" for key, distinct in values.items()]
    return " ".join(words)[:LONGEST_NAME]


def _listed(values: Sequence[str]) -> str:
    """Return `0..7` for a run of whole numbers, all values where they are short, or how many."""
    if len(values) > MOST_LISTED and all(value.isdecimal() for value in values):
        first, last = int(values[0]), int(values[-1])
        if [int(value) for value in values] == list(range(first, last + 1)):
            return f"{first}..{last}"
    text = ",".join(values)
    return text if len(text) <= LONGEST_VALUE else f"{len(values)}_values"


def safe(text: str) -> str:
    """Return text with letters, digits and `._+-` alone; at least one character."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text)[:LONGEST_VALUE].strip("_") or "_"


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

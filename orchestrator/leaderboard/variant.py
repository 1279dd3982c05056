"""What a variant is to a person: what of the baseline it changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.leaderboard.text import one_line, setting

MOST_AXES = 2
"""Axes that have a column each; of more, a variant is named by those that it changes."""
ABSENT = object()


def suffixes(keys: Iterable[str]) -> dict[str, str]:
    """Return the shortest end of each dotted key that no other key has: `smoothness.weight`."""
    keys = list(keys)
    names: dict[str, str] = {}
    for key in keys:
        parts = key.split(".")
        for n in range(1, len(parts) + 1):
            names[key] = ".".join(parts[-n:])
            if sum(f".{other}".endswith(f".{names[key]}") for other in keys) == 1:
                break
    return names


def variant_of(changed: Mapping[str, Any], baseline: Mapping[str, Any]) -> str:
    """Return the values of a point that are not the baseline's, or that it is the baseline.

    Args:
        changed: Axis to value, of the point.
        baseline: The same of the baseline.
    """
    names = suffixes({**baseline, **changed})
    told = [
        f"{names[key]} {setting(value)}"
        for key, value in changed.items()
        if baseline.get(key, ABSENT) != value
    ]
    told += [f"no {names[key]}" for key in baseline if key not in changed]
    return one_line(", ".join(told) or "baseline")

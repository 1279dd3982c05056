"""Spans of time as a person types them."""

from __future__ import annotations

import re

from orchestrator.errors import Problem, UsageError

UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
FORM = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in UNITS_S))


def parse_duration(text: str, place: str) -> float:
    """Return the seconds of `8h`, `30m`, `90s`, `1.5h` or `1d12h`.

    Raises:
        UsageError: It has no such form, or is no time at all.
    """
    found = FORM.fullmatch(text.strip().lower())
    parts = {unit: float(n) for unit, n in found.groupdict().items() if n} if found else {}
    seconds = sum(UNITS_S[unit] * n for unit, n in parts.items())
    if not 0 < seconds < float("inf"):
        message = f"got {text!r}, expected a time of days, hours, minutes and seconds"
        raise UsageError(Problem(message, place, f"{place} 8h, 30m, 90s or 1d12h"))
    return seconds

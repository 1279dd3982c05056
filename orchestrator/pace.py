"""How long the rest of a sweep takes, from the pace so far.

Work is counted in predicted seconds; only their ratio between trials matters. The pace is the
work done since the first steps over the time since then: the start of Ray, the imports and the
first step are left out, and the number of workers and what else slows them down is in it.
"""

from __future__ import annotations

from collections.abc import Sequence

SOONEST_S = 2.0
"""Time since the first steps before which a pace says little."""


def remaining_s(left: float, lanes: Sequence[float], workers: int, pace: float) -> float:
    """Return the seconds that the rest of the work takes.

    That is the work over the pace of all workers, but never less than the longest of the
    cohorts at work needs at the pace of one: the last one is not shared.

    Args:
        left: Work of all trials that have not ended, those that wait included.
        lanes: The part of it in each cohort at work.
        workers: Cohorts that are at work at once, at least 1.
        pace: Work a second, all workers together; above 0.
    """
    longest = max(lanes, default=0.0)
    return max(left / pace, longest / (pace / workers))


class Pace:
    """Work done over time, as it is observed."""

    def __init__(self) -> None:
        self._mark: tuple[float, float] | None = None
        self._last: tuple[float, float] | None = None

    def begin(self, now_s: float, done: float) -> None:
        """Count from here: what was before is warm-up."""
        self._mark = self._last = (now_s, done)

    @property
    def begun(self) -> bool:
        """True once there is a point to count from."""
        return self._mark is not None

    def observe(self, now_s: float, done: float) -> None:
        """Take how much is done now; only a change tells something about the pace."""
        if self._last is not None and done != self._last[1]:
            self._last = (now_s, done)

    def eta_s(
        self, now_s: float, left: float, lanes: Sequence[float], workers: int
    ) -> float | None:
        """Return the seconds from now to the end; None while they cannot be told.

        Between two observations it counts down. Nothing is told in the first seconds, nor once
        the work is overdue.
        """
        if self._mark is None or self._last is None:
            return None
        seconds, done = self._last[0] - self._mark[0], self._last[1] - self._mark[1]
        if seconds < SOONEST_S or done <= 0:
            return None
        rest = remaining_s(left, lanes, workers, done / seconds) - (now_s - self._last[0])
        return rest if rest > 0 else None

"""How long an evaluation may take."""

from __future__ import annotations

import time


class NotApplicableError(Exception):
    """A part has nothing to measure on this task, model or text."""


class OutOfTimeError(Exception):
    """The time budget ran out; the part is left out."""


class Clock:
    """Counts down the time budget of one evaluation.

    Args:
        budget_s: Seconds from now.
    """

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self._began = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._began

    def check(self) -> None:
        """Go on, or raise.

        Raises:
            OutOfTimeError: The budget is spent.
        """
        if self.elapsed_s > self.budget_s:
            raise OutOfTimeError(f"the time budget of {self.budget_s:g} s ran out")

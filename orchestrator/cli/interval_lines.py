"""The progress of a sweep where there is no terminal: one line at times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.progress_table import best_words, counted, timed

if TYPE_CHECKING:
    from orchestrator.progress import Progress, Track

INTERVAL_S = 30.0
LOOKED_AT = 16
"""Running trials of which the objective is read for a line."""


class IntervalLines:
    """Implements `orchestrator.watch.Audience`: says a line at times.

    The first line comes with the first steps, so that a person sees that it trains.

    Args:
        say: Takes a line.
        interval_s: Seconds between two lines.
    """

    def __init__(self, say: Callable[[str], None], interval_s: float = INTERVAL_S) -> None:
        self._say, self._interval_s = say, interval_s
        self._said_s: float | None = None
        self._said: tuple[int, int] | None = None

    def looks_at(self, progress: Progress) -> Sequence[Track]:
        """Return running trials, where a line is due and no trial has finished yet."""
        if progress.best is not None or not self._due(progress):
            return []
        return list(progress.running.values())[:LOOKED_AT]

    def show(self, progress: Progress) -> None:
        """Say how far the sweep is, if it is time to and something changed."""
        if not self._due(progress):
            return
        steps = sum(track.step for track in progress.tracks.values())
        if (progress.done, steps) == self._said:
            return
        self._said, self._said_s = (progress.done, steps), progress.now_s
        said = (counted(progress), _step(progress), best_words(progress), timed(progress))
        self._say("; ".join(filter(None, said)))

    def _due(self, progress: Progress) -> bool:
        if self._said_s is None:
            return progress.begun
        return progress.closed or progress.now_s - self._said_s >= self._interval_s


def _step(progress: Progress) -> str:
    """Return how far a sweep of one trial is; of more, the counts say it."""
    tracks = list(progress.running.values())
    if progress.planned != 1 or not tracks:
        return ""
    return f"step {tracks[0].step:,} of {tracks[0].steps:,}"

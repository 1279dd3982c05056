"""Follow a running sweep through its ledger: events to their file, news and progress to people.

The reader competes with training for the cores, so it reads what is new and what is shown:
events by their sequence number, how the running trials stand, and rows of the few trials that
somebody looks at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from orchestrator.errors import ArbiterError
from orchestrator.events import append_events, write_events
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Event, Ledger
from orchestrator.objective import Objective
from orchestrator.progress import RESUMES, Progress, Track
from trainer.reporting import Reason

INTERVAL_S = 1.0
MOST_NEWS = 5
"""Lines of news a look; a thousand trials that fail alike are not a thousand lines."""

NEWS = ("ended", "died", "started", "stepped_down")
"""Kinds of events that may be news."""

ORDINARY = {reason.value for reason in (Reason.FINISHED, Reason.PRUNED, Reason.INTERRUPTED)}
"""Ends that are no news: the progress shows them."""


class Audience(Protocol):
    """Somebody who follows a sweep. It is called from one thread at a time."""

    def looks_at(self, progress: Progress) -> Sequence[Track]:
        """Return the trials whose curves it needs for the next `show`."""

    def show(self, progress: Progress) -> None:
        """Take how far the sweep is; about once a second, and once when it is over."""


class Nobody:
    """Implements `Audience` where nobody looks."""

    def looks_at(self, progress: Progress) -> Sequence[Track]:
        return ()

    def show(self, progress: Progress) -> None:
        pass


class Watch:
    """A thread that reads while somebody else writes. Use as a context manager.

    Args:
        directory: The sweep's.
        progress: The sweep as it stands in the ledger now.
        notify: Takes news, a line at a time: what failed, died or is damaged.
        audience: Is shown the progress.
    """

    def __init__(
        self,
        directory: RunDirectory,
        progress: Progress,
        notify: Callable[[str], None],
        audience: Audience,
    ) -> None:
        self.directory, self.progress = directory, progress
        self.notify, self.audience = notify, audience
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Watch:
        self._ledger = Ledger.read(self.directory.ledger, follow=True)
        events = self._ledger.events()
        write_events(self.directory.events, events)
        self._seen = events[-1].seq if events else 0
        self._show()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            self.look(last=True)
        finally:
            self._ledger.close()

    def _follow(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            try:
                self.look()
            except ArbiterError:  # the next look finds it all; the last one says what is wrong
                continue

    def look(self, *, last: bool = False) -> None:
        """Read what is new, and tell and show it; the thread does so every `INTERVAL_S`."""
        events = self._ledger.events(self._seen)
        if events:
            append_events(self.directory.events, events)
            self._seen = events[-1].seq
        read(self._ledger, self.progress, events)
        news = [line for event in events if (line := describe(event, self.progress))]
        for line in news[:MOST_NEWS]:
            self.notify(line)
        if len(news) > MOST_NEWS:
            more = f"and {len(news) - MOST_NEWS} more:"
            self.notify(f"{more} arbiter status {self.directory.shown()} lists them")
        if last:
            self.progress.close()
        self._show()

    def _show(self) -> None:
        self.progress.observe(time.monotonic(), time.time())
        read_curves(self._ledger, self.progress, self.audience.looks_at(self.progress))
        self.audience.show(self.progress)


def read(ledger: Ledger, progress: Progress, events: Sequence[Event]) -> None:
    """Bring the progress up to new events and to how the running trials stand."""
    touched = progress.take(events)
    progress.settle(ledger.standings([*touched, *(progress.running.keys() - set(touched))]))


def read_curves(ledger: Ledger, progress: Progress, tracks: Sequence[Track]) -> None:
    """Read the rows that are new of the trials that are shown."""
    for track in tracks:
        if track.read_step < track.step:
            progress.extend(track.id, ledger.rows(track.id, track.read_step))


def survey(ledger: Ledger, at: float | None) -> Progress:
    """Return how far a sweep is by one look at its ledger.

    Args:
        ledger: Open for reading.
        at: Now, in seconds since 1970; None where no process trains any more.
    """
    sweep, events = ledger.sweep(), ledger.events()
    progress = Progress(sweep["name"], Objective(**sweep["objective"]), ledger.trials())
    read(ledger, progress, events)
    if at is None:
        progress.close()
        at = events[-1].at if events else 0.0
    read_curves(ledger, progress, list(progress.tracks.values()))
    progress.look_back(at)
    return progress


def describe(event: Event, progress: Progress) -> str:
    """Return what a person has to be told at once of an event, or an empty string."""
    track = progress.tracks.get(event.trial_id or "")
    if track is None:
        return ""
    if event.kind == "ended" and event.detail.partition(":")[0] in ORDINARY:
        return ""
    if event.kind == "started" and RESUMES.fullmatch(event.detail):
        return ""
    if event.kind not in NEWS or not event.detail:
        return ""
    return f"{named(track)} {event.detail}"


def named(track: Track) -> str:
    """Return a trial as people know it: id, changed settings, seed."""
    changed = [f"{key.rpartition('.')[2]}={value}" for key, value in track.changed.items()]
    return " ".join([track.id, *changed, f"seed={track.seed}"])

"""Follow a running sweep through its ledger: events to their file, lines to a person."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from orchestrator.events import append_events, write_events
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Event, Ledger, TrialRecord
from orchestrator.objective import Objective

INTERVAL_S = 1.0


class Watch:
    """A thread that reads while somebody else writes. Use as a context manager.

    Args:
        directory: The sweep's.
        objective: Shown for each trial that ends.
        notify: Takes one line at a time.
    """

    def __init__(
        self, directory: RunDirectory, objective: Objective, notify: Callable[[str], None]
    ) -> None:
        self.directory, self.objective, self.notify = directory, objective, notify
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._seen = 0

    def __enter__(self) -> Watch:
        ledger = Ledger.read(self.directory.ledger)
        with contextlib.closing(ledger):
            events = ledger.events()
        write_events(self.directory.events, events)
        self._seen = events[-1].seq if events else 0
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _follow(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._look()

    def _look(self) -> None:
        with contextlib.closing(Ledger.read(self.directory.ledger)) as ledger:
            events = ledger.events(self._seen)
            if not events:
                return
            told = {event.trial_id for event in events if event.kind in ("ended", "died")}
            trials = {trial_id: ledger.trial(trial_id) for trial_id in told if trial_id}
            done, planned = ledger.progress()
        append_events(self.directory.events, events)
        self._seen = events[-1].seq
        for event in events:
            if event.kind in ("ended", "died") and event.trial_id is not None:
                line = describe(event, trials[event.trial_id], self.objective)
                self.notify(f"[{done}/{planned}] {line}")
            elif event.kind == "started" and event.detail:
                self.notify(f"{event.trial_id} {event.detail}")


def describe(event: Event, trial: TrialRecord, objective: Objective) -> str:
    """Return one line about a trial that ended or whose process died."""
    changed = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in trial.changed.items())
    words = [trial.id, changed, f"seed={trial.seed}"]
    if event.kind == "died":
        return " ".join([*words, event.detail])
    value = objective.value(trial)
    if value is not None:
        words.append(f"{objective.metric} {value:.4g}")
    words.append(f"{event.detail} ({trial.active_s:.1f} s)")
    return " ".join(word for word in words if word)

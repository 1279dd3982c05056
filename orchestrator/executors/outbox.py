"""Reports on their way to a referee in another process, sent together and not waited for.

A message to another process costs as much as a step of a small model, whatever is in it. So
what the members of a cohort report is put down here and goes on as one batch, a moment later and
in order, while they train on. `flush` waits until all of it was taken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from orchestrator.referee import Report
from trainer.config import TierConfig
from trainer.reporting import GO_ON, FitResult, Verdict

GATHER_S = 0.1
"""How long a report waits for others to go with it."""

MOST_WAITING = 4096
"""Reports that may wait before training waits for the referee."""

Send = Callable[[Sequence[Report]], Mapping[str, Verdict]]


class Outbox:
    """Implements `trainer.Reporter`. Use as a context manager: a thread of its own sends.

    What `send` raises is raised by the next call here.

    Args:
        send: Hands a batch to the referee; returns, once it is durable, who has to stop.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._changed = threading.Condition()
        self._waiting: list[Report] = []
        self._verdicts: dict[str, Verdict] = {}
        self._taken = self._put = 0
        self._urgent = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._deliver, name="outbox", daemon=True)

    def __enter__(self) -> Outbox:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def started(self, member_id: str, step: int, note: str) -> None:
        """A member is about to train from `step`."""
        self._verdicts.pop(member_id, None)
        self._add(("started", member_id, step, note))

    def row(self, member_id: str, step: int, metrics: dict[str, float]) -> Verdict:
        """Send a row on; return the verdict that has come back by now."""
        self._add(("row", member_id, step, metrics))
        return self._verdicts.get(member_id, GO_ON)

    def stepped_down(self, member_id: str, step: int, tier: TierConfig, detail: str) -> None:
        """Send on that a member goes on under a lower tier."""
        self._add(("stepped_down", member_id, step, tier, detail))

    def ended(self, result: FitResult) -> None:
        """Send an end on."""
        self._add(("ended", result))

    def flush(self) -> None:
        """Return when everything so far is durable."""
        with self._changed:
            until, self._urgent = self._put, True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._taken >= until or self._error is not None)
        self._raise()

    def _add(self, report: Report) -> None:
        self._raise()
        with self._changed:
            self._waiting.append(report)
            self._put += 1
            if len(self._waiting) == 1:
                self._changed.notify_all()
            crowded = len(self._waiting) >= MOST_WAITING
        if crowded:
            self.flush()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _deliver(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                self._changed.wait_for(lambda: self._urgent or self._closed, GATHER_S)
                batch, self._waiting, self._urgent = self._waiting, [], False
            try:
                self._verdicts.update(self._send(batch))
            except BaseException as error:
                self._error = error
            with self._changed:
                self._taken += len(batch)
                self._changed.notify_all()
                if self._error is not None:
                    return

"""The first signal asks a sweep to stop; the second ends the process at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.errors import Exit

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class StopRequest:
    """True once a signal came. Use as a context manager in the main thread.

    Args:
        stop_file: Made at the first signal, for workers in other processes.
        notify: Told what the first signal does.
    """

    def __init__(self, stop_file: Path, notify: Callable[[str], None]) -> None:
        self.stop_file, self.notify = stop_file, notify
        self._requested = threading.Event()
        self._previous: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Return whether the sweep was asked to stop, by a signal or by the file."""
        return self._requested.is_set() or self.stop_file.exists()

    def __enter__(self) -> StopRequest:
        self.stop_file.unlink(missing_ok=True)
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._requested.is_set():
            _end(number, frame)
        self._requested.set()
        self.stop_file.touch()
        name = signal.Signals(number).name
        self.notify(f"{name}: writing checkpoints, then stopping; again to stop at once")


class Stopped(BaseException):
    """A signal asked to stop, and nothing has to be finished first.

    Args:
        name: Of the signal.
    """


@contextlib.contextmanager
def stopped_at_once() -> Iterator[None]:
    """Let the first signal raise `Stopped` where the main thread is; the second ends the process.

    For work that is kept only once it is whole. A `StopRequest` inside takes its place meanwhile.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        for other in SIGNALS:
            signal.signal(other, _end)
        raise Stopped(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(Exit.SECOND_INTERRUPT if number == signal.SIGINT else 128 + number)

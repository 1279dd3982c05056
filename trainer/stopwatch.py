"""How long a member was worked on."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds spent on one member; a turn shared by n members counts 1/n for each."""

    def __init__(self) -> None:
        self._total_s, self.lap_s, self._share = 0.0, 0.0, 1.0
        self._began: float | None = None

    def start(self, share: float = 1.0) -> None:
        self._share, self._began = share, time.perf_counter()

    def stop(self) -> None:
        self.lap_s = self._running_s()
        self._total_s += self.lap_s
        self._began = None

    @property
    def seconds(self) -> float:
        return self._total_s + self._running_s()

    def _running_s(self) -> float:
        return 0.0 if self._began is None else self._share * (time.perf_counter() - self._began)

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

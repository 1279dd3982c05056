"""The ledger: opened to write by one process, to read by any number."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from orchestrator.errors import LockedError, Problem, StorageError
from orchestrator.ledger.database import (
    SCHEMA,
    SCHEMA_VERSION,
    check_file,
    connect,
    connect_to_read,
)
from orchestrator.ledger.reading import Reader
from orchestrator.ledger.records import State, TrialRecord
from trainer.reporting import FitResult, Reason

LOCK_WAIT_S = 30.0
"""The referee of a driver that was killed lives on for some seconds, and still writes."""


class Ledger(Reader):
    """An open ledger: `open` to write, `read` to read; `create` makes a new one."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, lock: FileLock | None = None
    ) -> None:
        super().__init__(connection, path)
        self._lock = lock

    @classmethod
    def create(cls, path: Path, sweep: dict[str, Any], trials: Iterable[TrialRecord]) -> None:
        """Make a new ledger, whole or not at all.

        Args:
            path: Where it will be.
            sweep: Plain values by key that describe the sweep.
            trials: All wait to be run.
        """
        draft = path.with_name(f".{path.name}.draft")
        for leftover in draft.parent.glob(f"{draft.name}*"):
            leftover.unlink()
        ledger = cls(connect(draft), draft)
        with ledger._writing():
            for statement in SCHEMA.split(";"):
                ledger.connection.execute(statement)
            described = {"schema_version": SCHEMA_VERSION, **sweep}
            ledger.connection.executemany(
                "INSERT INTO sweep VALUES (?, ?)",
                [(key, _dump(value)) for key, value in described.items()],
            )
            ledger._add_trials(trials)
        ledger.close()
        draft.replace(path)

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Open an existing ledger for writing, as the only one.

        Raises:
            StorageError: It is missing, damaged, or of another version.
            LockedError: Another process writes and did not let go within `LOCK_WAIT_S`.
        """
        cls.read(path).close()  # what is not ours is not opened for writing
        lock = FileLock(path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=LOCK_WAIT_S)
        except Timeout as error:
            raise LockedError(
                Problem("another process still writes", str(path), "try again in a minute")
            ) from error
        return cls(connect(path), path, lock)

    @classmethod
    def read(cls, path: Path, *, follow: bool = False) -> Ledger:
        """Open an existing ledger for reading; a writer may be at work.

        Args:
            path: The ledger.
            follow: Whether a writer may come while it stays open. Where none has it open and none
                is waited for, the file is read as it lies, and nothing is left beside it.

        Raises:
            StorageError: It is missing, damaged, or of another version.
        """
        check_file(path)
        at_rest = not follow and not path.with_name(f"{path.name}-wal").exists()
        ledger = cls(connect_to_read(path, at_rest=at_rest), path)
        try:
            ledger._check()
        except StorageError:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Close the file, and let the next writer in."""
        self.connection.close()
        if self._lock is not None:
            self._lock.release()

    def _add_trials(self, trials: Iterable[TrialRecord]) -> None:
        self.connection.executemany(
            "INSERT INTO trials (id, position, point_id, seed, changed, config, parameters, flops,"
            " state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    t.id,
                    t.position,
                    t.point_id,
                    t.seed,
                    json.dumps(t.changed, allow_nan=False),  # the order of the axes is kept
                    _dump(t.config),
                    t.parameters,
                    t.flops,
                    State.WAITING.value,
                )
                for t in trials
            ],
        )

    def started(self, trial_id: str, step: int, note: str) -> None:
        """Record that a trial trains from `step`."""
        with self._writing():
            self.connection.execute(
                "UPDATE trials SET state = ?, reason = NULL, detail = '', step = ?,"
                " attempts = attempts + 1 WHERE id = ?",
                (State.RUNNING.value, step, trial_id),
            )
            self._event("started", trial_id, note)

    def add_rows(self, rows: Sequence[tuple[str, int, dict[str, float]]]) -> None:
        """Record `(trial, step, metrics)` in one commit; a step that is there already stays."""
        with self._writing():
            self.connection.executemany(
                "INSERT OR IGNORE INTO rows VALUES (?, ?, ?)",
                [(trial_id, step, _dump(metrics)) for trial_id, step, metrics in rows],
            )
            self.connection.executemany(
                "UPDATE trials SET step = max(step, ?) WHERE id = ?",
                [(step, trial_id) for trial_id, step, _ in rows],
            )

    def ended(self, result: FitResult) -> None:
        """Record how an attempt at a trial ended."""
        with self._writing():
            self.connection.execute(
                "UPDATE trials SET state = ?, reason = ?, detail = ?, step = ?, final = ?,"
                " active_s = active_s + ? WHERE id = ?",
                (
                    State.ENDED.value,
                    result.reason.value,
                    result.detail,
                    result.step,
                    _dump({k: v for k, v in result.final.items() if _finite(v)}),
                    result.active_s,
                    result.id,
                ),
            )
            detail = f"{result.reason.value}: {result.detail}" if result.detail else result.reason
            self._event("ended", result.id, str(detail))

    def adopt(
        self, earlier: TrialRecord, rows: Sequence[tuple[int, dict[str, float]]], run: str
    ) -> None:
        """Take over how a trial finished in another run: its rows, its metrics, its time.

        Args:
            earlier: The trial as that run's ledger has it; the plan's place and axes stay ours.
            rows: `(step, metrics)`; they replace what there is.
            run: The name of that run.
        """
        with self._writing():
            self.connection.execute("DELETE FROM rows WHERE trial_id = ?", (earlier.id,))
            self.connection.executemany(
                "INSERT INTO rows VALUES (?, ?, ?)",
                [(earlier.id, step, _dump(metrics)) for step, metrics in rows],
            )
            self.connection.execute(
                "UPDATE trials SET state = ?, reason = ?, detail = ?, step = ?, final = ?,"
                " active_s = ? WHERE id = ?",
                (
                    State.ENDED.value,
                    Reason.FINISHED.value,
                    "; ".join(filter(None, (earlier.detail, f"reused from {run}"))),
                    earlier.step,
                    _dump(earlier.final),
                    earlier.active_s,
                    earlier.id,
                ),
            )
            self._event("reused", earlier.id, run)

    def requeue(self, trial_ids: Iterable[str], kind: str, detail: str) -> None:
        """Let trials wait again, because their process died or the sweep is resumed.

        Args:
            trial_ids: Trials that have not ended for good, or failed and are tried again.
            kind: "died", which is counted against the trial, "resumed" or "retried".
            detail: One sentence for a person.
        """
        with self._writing():
            for trial_id in trial_ids:
                self.connection.execute(
                    "UPDATE trials SET state = ?, reason = NULL, detail = '',"
                    " deaths = deaths + ? WHERE id = ?",
                    (State.WAITING.value, int(kind == "died"), trial_id),
                )
                self._event(kind, trial_id, detail)

    def lower(self, trial_id: str, config: dict[str, Any], kind: str, detail: str) -> None:
        """Record that a trial is executed under a lower tier from now on.

        Args:
            trial_id: Which.
            config: Its run config with that tier, as plain values.
            kind: "stepped_down", where it ran out of memory, or "learned", where another did.
            detail: One sentence for a person.
        """
        with self._writing():
            self.connection.execute(
                "UPDATE trials SET config = ?, detail = ? WHERE id = ?",
                (_dump(config), detail, trial_id),
            )
            self._event(kind, trial_id, detail)

    def revise(self, configs: Mapping[str, dict[str, Any]], detail: str) -> None:
        """Replace the run configs of trials that are to be trained further.

        Args:
            configs: Trial id to config as plain values; no setting in it decides another result.
            detail: What changed, for a person.
        """
        with self._writing():
            self.connection.executemany(
                "UPDATE trials SET config = ? WHERE id = ?",
                [(_dump(config), trial_id) for trial_id, config in configs.items()],
            )
            self._event("revised", None, detail)

    def describe(self, key: str, value: Any) -> None:
        """Write or replace a part of the description of the sweep."""
        with self._writing():
            self.connection.execute(
                "INSERT OR REPLACE INTO sweep VALUES (?, ?)", (key, _dump(value))
            )

    def record(self, kind: str, detail: str = "") -> None:
        """Record something that concerns the whole sweep."""
        with self._writing():
            self._event(kind, None, detail)

    def _event(self, kind: str, trial_id: str | None, detail: str) -> None:
        self.connection.execute(
            "INSERT INTO events (at, kind, trial_id, detail) VALUES (?, ?, ?, ?)",
            (time.time(), kind, trial_id, detail),
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make one commit of all that is written inside, or of none of it."""
        with self._writing():
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, the outer one's where there is one; a full disk changes nothing."""
        if self.connection.in_transaction:
            yield
            return
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise StorageError(Problem(f"cannot write: {error}", str(self.path))) from error


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False, sort_keys=True)


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")

"""The record of a sweep: the only truth, in one SQLite file.

One process writes (`Ledger.open`), any number read (`Ledger.read`) without
taking a lock. What a method has returned from survives a loss of power: write-ahead log,
`synchronous=FULL`. Each (trial, step) is kept once; a row that comes again after a resume is
the same row, so the first stays.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from orchestrator.errors import LockedError, Problem, StorageError
from trainer.reporting import FitResult, Reason

SCHEMA_VERSION = 1
LOCK_WAIT_S = 30.0
"""The referee of a driver that was killed lives on for some seconds, and still writes."""

SCHEMA = """
CREATE TABLE sweep (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE trials (
    id TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    point_id TEXT NOT NULL,
    seed INTEGER NOT NULL,
    changed TEXT NOT NULL,
    config TEXT NOT NULL,
    parameters INTEGER NOT NULL,
    flops REAL NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    detail TEXT NOT NULL DEFAULT '',
    step INTEGER NOT NULL DEFAULT 0,
    active_s REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,
    final TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
CREATE TABLE rows (
    trial_id TEXT NOT NULL REFERENCES trials (id),
    step INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    PRIMARY KEY (trial_id, step)
) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    trial_id TEXT,
    detail TEXT NOT NULL DEFAULT ''
);
"""


class State(StrEnum):
    """Where a trial is; an ended one has a `Reason`."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the ledger knows it.

    Args:
        id: Trial id.
        position: Its place in the plan, from 0.
        point_id: Shared by the seeds of one point of the space.
        seed: `training.seed`.
        changed: The axes of the space and this trial's values, the seed left out.
        config: The run config as plain values.
        state: Waiting, running or ended.
        reason: Why it ended; None before.
        detail: One sentence for a person.
        step: Optimizer steps done.
        active_s: Seconds spent on it over all attempts.
        attempts: How often it was started.
        deaths: How often its process died under it.
        final: Metrics at the end: the last evaluation, test split, baselines.
        parameters: Trained parameters.
        flops: Estimated floating-point operations of the whole run.
    """

    id: str
    position: int
    point_id: str
    seed: int
    changed: dict[str, Any]
    config: dict[str, Any]
    state: State = State.WAITING
    reason: Reason | None = None
    detail: str = ""
    step: int = 0
    active_s: float = 0.0
    attempts: int = 0
    deaths: int = 0
    final: dict[str, float] = field(default_factory=dict)
    parameters: int = 0
    flops: float = 0.0

    @property
    def pending(self) -> bool:
        """True where there is something left to train."""
        return self.state is not State.ENDED or (self.reason is not None and self.reason.resumable)

    @property
    def label(self) -> str:
        """The reason where it ended, its state before."""
        return self.reason.value if self.reason is not None else self.state.value


@dataclass(frozen=True)
class Standing:
    """What of a trial changes while it is trained; the fields are those of `TrialRecord`."""

    id: str
    state: State
    reason: Reason | None
    detail: str
    step: int
    active_s: float
    final: dict[str, float]


@dataclass(frozen=True)
class Event:
    """Something that happened; `seq` orders, `at` is seconds since 1970 by the wall clock."""

    seq: int
    at: float
    kind: str
    trial_id: str | None
    detail: str


class Ledger:
    """An open ledger: `open` to write, `read` to read; `create` makes a new one."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, lock: FileLock | None = None
    ) -> None:
        self.connection, self.path, self._lock = connection, path, lock

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
        ledger = cls(_connect(draft), draft)
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
        return cls(_connect(path), path, lock)

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Open an existing ledger for reading; a writer may be at work.

        Raises:
            StorageError: It is missing, damaged, or of another version.
        """
        _check_file(path)
        uri = f"file:{_quote(path)}?mode=ro"
        connection = sqlite3.connect(
            uri, uri=True, timeout=10.0, isolation_level=None, check_same_thread=False
        )
        ledger = cls(connection, path)
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

    # What is asked of it

    def sweep(self) -> dict[str, Any]:
        """Return the description of the sweep."""
        rows = self._query("SELECT key, value FROM sweep")
        return {key: json.loads(value) for key, value in rows}

    def trials(self) -> list[TrialRecord]:
        """Return all trials in plan order."""
        columns = ", ".join(_TRIAL_COLUMNS)
        rows = self._query(f"SELECT {columns} FROM trials ORDER BY position")
        return [_trial(row) for row in rows]

    def trial(self, trial_id: str) -> TrialRecord:
        """Return one trial.

        Raises:
            KeyError: There is none of that id.
        """
        columns = ", ".join(_TRIAL_COLUMNS)
        rows = self._query(f"SELECT {columns} FROM trials WHERE id = ?", (trial_id,))
        if not rows:
            raise KeyError(trial_id)
        return _trial(rows[0])

    def standings(self, trial_ids: Iterable[str]) -> list[Standing]:
        """Return how some trials stand, without their configs; in the order of the ids."""
        sql = "SELECT id, state, reason, detail, step, active_s, final FROM trials WHERE id = ?"
        found = []
        for trial_id in trial_ids:
            for id, state, reason, detail, step, active_s, final in self._query(sql, (trial_id,)):
                why = Reason(reason) if reason is not None else None
                metrics = json.loads(final)
                found.append(Standing(id, State(state), why, detail, step, active_s, metrics))
        return found

    def tally(self) -> dict[str, int]:
        """Return how many trials are in each state; ended ones are counted by their reason."""
        return dict(self._query("SELECT coalesce(reason, state), count(*) FROM trials GROUP BY 1"))

    def running(self) -> dict[str, int]:
        """Return the steps done of each trial that trains now, by its id."""
        running = State.RUNNING.value
        return dict(self._query("SELECT id, step FROM trials WHERE state = ?", (running,)))

    def steps_done(self) -> int:
        """Return the optimizer steps of all trials together."""
        return int(self._query("SELECT coalesce(sum(step), 0) FROM trials")[0][0])

    def rows(self, trial_id: str, after: int = -1) -> list[tuple[int, dict[str, float]]]:
        """Return `(step, metrics)` of one trial, by step, of the steps above `after`."""
        rows = self._query(
            "SELECT step, metrics FROM rows WHERE trial_id = ? AND step > ? ORDER BY step",
            (trial_id, after),
        )
        return [(step, json.loads(metrics)) for step, metrics in rows]

    def began_at(self) -> float | None:
        """Return when the first thing happened, in seconds since 1970; None before that."""
        found: float | None = self._query("SELECT min(at) FROM events")[0][0]
        return found

    def ids(self) -> list[str]:
        """Return the ids of all trials in plan order."""
        return [trial_id for (trial_id,) in self._query("SELECT id FROM trials ORDER BY position")]

    def finished(self) -> set[str]:
        """Return the ids of the trials that finished."""
        found = self._query("SELECT id FROM trials WHERE reason = ?", (Reason.FINISHED.value,))
        return {trial_id for (trial_id,) in found}

    def origins(self) -> dict[str, str]:
        """Return, for each trial that was taken over from another run, the name of that run."""
        return dict(self._query("SELECT trial_id, detail FROM events WHERE kind = 'reused'"))

    def events(self, after: int = 0) -> list[Event]:
        """Return the events with a sequence number above `after`, in order."""
        rows = self._query(
            "SELECT seq, at, kind, trial_id, detail FROM events WHERE seq > ? ORDER BY seq",
            (after,),
        )
        return [Event(*row) for row in rows]

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise StorageError(Problem(f"cannot read: {error}", str(self.path))) from error

    # What is written to it

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
                    _dump(t.changed),
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
            trial_ids: Trials that have not ended for good.
            kind: "died", which is counted against the trial, or "resumed".
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

    def _check(self) -> None:
        try:
            version = self.sweep()["schema_version"]
        except (StorageError, KeyError, ValueError) as error:
            why = error.problems[0].message if isinstance(error, StorageError) else "no version"
            raise StorageError(
                Problem(f"not a ledger, or damaged: {why}", str(self.path))
            ) from error
        if version != SCHEMA_VERSION:
            raise StorageError(
                Problem(
                    f"got a ledger of version {version}, expected version {SCHEMA_VERSION}",
                    str(self.path),
                    "use the version of arbiter that made it: provenance.json names it",
                )
            )


_TRIAL_COLUMNS = [
    "id",
    "position",
    "point_id",
    "seed",
    "changed",
    "config",
    "state",
    "reason",
    "detail",
    "step",
    "active_s",
    "attempts",
    "deaths",
    "final",
    "parameters",
    "flops",
]


def _trial(row: Sequence[Any]) -> TrialRecord:
    values = dict(zip(_TRIAL_COLUMNS, row, strict=True))
    for key in ("changed", "config", "final"):
        values[key] = json.loads(values[key])
    values["state"] = State(values["state"])
    values["reason"] = Reason(values["reason"]) if values["reason"] is not None else None
    return TrialRecord(**values)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StorageError(Problem(f"not a ledger, or damaged: {error}", str(path))) from error
    return connection


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(16)
    except OSError as error:
        raise StorageError(Problem(f"no ledger: {error.strerror}", str(path))) from error
    if header != b"SQLite format 3\x00":
        raise StorageError(
            Problem("not a ledger, or damaged: its header is not SQLite's", str(path))
        )


def _quote(path: Path) -> str:
    return str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False, sort_keys=True)


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")

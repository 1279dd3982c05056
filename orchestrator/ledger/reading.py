"""What is asked of a ledger."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, StorageError
from orchestrator.ledger.database import SCHEMA_VERSION
from orchestrator.ledger.records import Event, Standing, State, TrialRecord
from trainer.reporting import Reason

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


_KINDS: dict[str, type | tuple[type, ...]] = {
    "position": int,
    "point_id": str,
    "seed": int,
    "changed": dict,
    "config": dict,
    "detail": str,
    "step": int,
    "active_s": (int, float),
    "attempts": int,
    "deaths": int,
    "final": dict,
    "parameters": int,
    "flops": (int, float),
}
"""What each column of a trial is, decoded; SQLite keeps whatever somebody wrote into it."""


class Reader:
    """What can be asked of an open ledger.

    Args:
        connection: To its file.
        path: The file, for errors.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection, self.path = connection, path

    def sweep(self) -> dict[str, Any]:
        """Return the description of the sweep."""
        rows = self._query("SELECT key, value FROM sweep")
        return {key: json.loads(value) for key, value in rows}

    def trials(self) -> list[TrialRecord]:
        """Return all trials in plan order."""
        columns = ", ".join(_TRIAL_COLUMNS)
        rows = self._query(f"SELECT {columns} FROM trials ORDER BY position")
        return [self._trial(row) for row in rows]

    def trial(self, trial_id: str) -> TrialRecord:
        """Return one trial.

        Raises:
            KeyError: There is none of that id.
        """
        columns = ", ".join(_TRIAL_COLUMNS)
        rows = self._query(f"SELECT {columns} FROM trials WHERE id = ?", (trial_id,))
        if not rows:
            raise KeyError(trial_id)
        return self._trial(rows[0])

    def standings(self, trial_ids: Iterable[str]) -> list[Standing]:
        """Return how some trials stand, without their configs; in the order of the ids."""
        sql = "SELECT id, state, reason, detail, step, active_s, final FROM trials WHERE id = ?"
        found = []
        for trial_id in trial_ids:
            for id, state, reason, detail, step, active_s, final in self._query(sql, (trial_id,)):
                with self._decoding(f"trial {id}"):
                    why = Reason(reason) if reason is not None else None
                    metrics = _metrics(final)
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
        with self._decoding(f"rows of trial {trial_id}"):
            return [(step, _metrics(metrics)) for step, metrics in rows]

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

    def events(self, after: int = 0, kinds: Sequence[str] = ()) -> list[Event]:
        """Return the events with a sequence number above `after`, in order; of `kinds`, or all."""
        of_kinds = f" AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        rows = self._query(
            "SELECT seq, at, kind, trial_id, detail FROM events"
            f" WHERE seq > ?{of_kinds} ORDER BY seq",
            (after, *kinds),
        )
        return [Event(*row) for row in rows]

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with the file; empty where it is sound."""
        try:
            found = [str(row[0]) for row in self._query("PRAGMA integrity_check")]
        except StorageError as error:
            return [problem.message for problem in error.problems]
        return [line for line in found if line != "ok"]

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise StorageError(Problem(f"cannot read: {error}", str(self.path))) from error

    def _trial(self, row: Sequence[Any]) -> TrialRecord:
        values = dict(zip(_TRIAL_COLUMNS, row, strict=True))
        with self._decoding(f"trial {values['id']}"):
            values["final"] = _metrics(values["final"])
            for key in ("changed", "config"):
                values[key] = json.loads(values[key])
            values["state"] = State(values["state"])
            values["reason"] = Reason(values["reason"]) if values["reason"] is not None else None
            for key, kind in _KINDS.items():
                if not isinstance(values[key], kind):
                    raise TypeError(f"{key} is {values[key]!r}")
            if not isinstance(values["config"].get("training", {}).get("steps"), int):
                raise TypeError("config has no training.steps")
        return TrialRecord(**values)

    @contextlib.contextmanager
    def _decoding(self, what: str) -> Iterator[None]:
        """Say that the ledger is damaged where what it holds is not what we write."""
        try:
            yield
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            message = f"not a ledger, or damaged: {what}: {error}"
            raise StorageError(Problem(message, str(self.path))) from error

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


def _metrics(text: str) -> dict[str, float]:
    """Return metrics by name.

    Raises:
        ValueError: It is no JSON.
        TypeError: It holds something else than numbers by name.
    """
    metrics = json.loads(text)
    if not isinstance(metrics, dict):
        raise TypeError(f"metrics are {metrics!r}")
    for name, value in metrics.items():
        if type(value) not in (int, float):
            raise TypeError(f"{name} is {value!r}")
    return metrics

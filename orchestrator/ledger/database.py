"""The SQLite file: its tables, how it is opened, and whether it is one of ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from orchestrator.errors import Problem, StorageError

SCHEMA_VERSION = 1

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


def connect(path: Path) -> sqlite3.Connection:
    """Open a file for writing: what is committed survives a loss of power.

    Raises:
        StorageError: It is not SQLite's.
    """
    connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StorageError(Problem(f"not a ledger, or damaged: {error}", str(path))) from error
    return connection


def check_file(path: Path) -> None:
    """Refuse a file that is missing, not SQLite's or cut off.

    Raises:
        StorageError: It is.
    """
    try:
        with path.open("rb") as file:
            header, size = file.read(32), path.stat().st_size
    except OSError as error:
        raise StorageError(Problem(f"no ledger: {error.strerror}", str(path))) from error
    if header[:16] != b"SQLite format 3\x00":
        raise StorageError(
            Problem("not a ledger, or damaged: its header is not SQLite's", str(path))
        )
    # Page size and pages as the header has them: SQLite itself notices only when it needs a page.
    page, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    if size < (65_536 if page == 1 else page) * pages:
        raise StorageError(Problem("not a ledger, or damaged: its end is cut off", str(path)))


def connect_to_read(path: Path, *, at_rest: bool) -> sqlite3.Connection:
    """Open a file for reading.

    Args:
        path: The file.
        at_rest: Whether nobody writes: then it is read as it lies, and nothing is left beside it.
    """
    uri = f"file:{_quote(path)}?mode=ro" + ("&immutable=1" if at_rest else "")
    return sqlite3.connect(
        uri, uri=True, timeout=10.0, isolation_level=None, check_same_thread=False
    )


def _quote(path: Path) -> str:
    return str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")

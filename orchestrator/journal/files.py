"""Files that several processes add to: nobody's line is lost or torn."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

PATIENCE_S = 10.0
"""Seconds to wait for another process; it holds the lock for a few milliseconds."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that writes the journal of `folder`, which is made where it is missing.

    Raises:
        OSError: It cannot be written to, or another process does not let go (`TimeoutError`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".journal.lock", timeout=PATIENCE_S):
        yield


def append(path: Path, text: str) -> None:
    """Add whole lines to a file in one write; a line that a crash cut short is ended first.

    Args:
        path: Made where it is missing.
        text: Ends with a line break.

    Raises:
        OSError: It cannot be written, or not all of it.
    """
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        torn = size and os.pread(file, 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + text.encode(errors="backslashreplace")
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(file)

"""What the files of a data set contain, as hashes that are remembered by path, size and time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainer.tasks.ariel import cache
from trainer.tasks.ariel.visit import FileError

READERS = 8
"""Files that are read at once: hashing does not hold the interpreter's lock."""

Entry = tuple[int, int, str]
"""Size in bytes, time of the last change in ns, SHA-256."""


def digests(root: Path, files: Iterable[Path]) -> dict[Path, str]:
    """Return the SHA-256 of files below `root`; one that has not changed is not read again.

    What was hashed before an interrupt is remembered.

    Raises:
        FileError: A file cannot be read.
    """
    memo = (
        cache.folder()
        / "digests"
        / f"{hashlib.sha256(bytes(root.resolve())).hexdigest()[:32]}.json"
    )
    known = _load(memo)
    found: dict[Path, str] = {}
    unknown: dict[Path, tuple[int, int]] = {}
    for file in files:
        try:
            about = file.stat()
        except OSError as error:
            raise FileError(file, f"cannot be read: {error.strerror}") from None
        stamp = about.st_size, about.st_mtime_ns
        entry = known.get(file.relative_to(root).as_posix())
        if entry is not None and entry[:2] == stamp:
            found[file] = entry[2]
        else:
            unknown[file] = stamp
    if not unknown:
        return found
    fresh: dict[str, Entry] = {}
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        try:
            for file, digest in zip(unknown, pool.map(_sha256, unknown), strict=True):
                found[file] = digest
                fresh[file.relative_to(root).as_posix()] = (*unknown[file], digest)
        finally:
            pool.shutdown(cancel_futures=True)
            _save(memo, fresh)
    return found


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise FileError(file, f"cannot be read: {error.strerror}") from None


def _load(memo: Path) -> dict[str, Entry]:
    """Return what is remembered; nothing where that is damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        read = json.loads(memo.read_text())
        return {
            name: (int(size), int(time), str(hash)) for name, (size, time, hash) in read.items()
        }
    return {}


def _save(memo: Path, fresh: dict[str, Entry]) -> None:
    """Add to what is remembered; of two processes at once, one may have to hash again later."""
    with contextlib.suppress(OSError):  # a cache that cannot be written to costs time, not truth
        memo.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=memo.parent, prefix=".tmp-")
        with os.fdopen(handle, "w") as opened:
            json.dump(_load(memo) | fresh, opened)
        Path(draft).replace(memo)

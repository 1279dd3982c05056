"""What was computed once: arrays on disk by content, verified when they are read.

An entry is one safetensors file, `KIND/HASH.safetensors`, with the SHA-256 of its arrays in its
header. It is written under another name and renamed: an entry is whole or not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

Arrays = dict[str, np.ndarray]

TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "I64": "<i8",
    "I32": "<i4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "|b1",
}
"""What safetensors calls a type, to numpy's name of it."""
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError)
"""What reading raises where an entry was never made, or is damaged: then it is made."""
LENGTH_BYTES = 8
"""Of the number before a safetensors header that says how long the header is."""


def folder() -> Path:
    """Return where entries are kept: `$ARBITER_HOME/ariel` or the user's cache folder."""
    home = os.environ.get("ARBITER_HOME")
    return (Path(home) if home else user_cache_path("arbiter")) / "ariel"


def remembered(
    kind: str, key: str, make: Callable[[], Arrays], *, memory_map: bool = False
) -> Arrays:
    """Return the arrays of an entry, from disk or made now; one process makes it, others wait.

    Args:
        kind: What they are, one word: the folder's name.
        key: Everything that decides them.
        make: Returns them by name; called where there is no entry, or a damaged one.
        memory_map: Return read-only views into the file instead of copies.

    Raises:
        OSError: The entry cannot be written.
    """
    file = path_of(kind, key)
    with contextlib.suppress(*UNREADABLE):
        return _read(file, memory_map)
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = file.with_suffix(".lock")
    with FileLock(lock):
        try:
            arrays = _read(file, memory_map)  # another process was first
        except UNREADABLE:
            _write(file, make())
            arrays = _read(file, memory_map)
        with contextlib.suppress(OSError):  # who waits for it keeps it: then two make the same
            lock.unlink()
    return arrays


def path_of(kind: str, key: str) -> Path:
    """Return the file of an entry, whether it is there or not."""
    return folder() / kind / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


def _write(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    from trainer.disk import of_the_system

    whole = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    handle, draft = tempfile.mkstemp(dir=file.parent, prefix=".tmp-")
    os.close(handle)
    try:
        try:
            save_file(whole, draft, metadata={"sha256": _sha256(whole.items())})
        except SafetensorError as error:
            raise of_the_system(error, file) from error
        Path(draft).replace(file)
    finally:
        Path(draft).unlink(missing_ok=True)


def _read(file: Path, memory_map: bool) -> Arrays:
    """Return the arrays of an entry.

    Raises:
        OSError: It is not there.
        ValueError, LookupError, TypeError, AttributeError: It is damaged.
    """
    whole = np.memmap(file, np.uint8, "r") if memory_map else np.fromfile(file, np.uint8)
    start = LENGTH_BYTES + int(whole[:LENGTH_BYTES].view("<u8")[0])
    header = json.loads(whole[LENGTH_BYTES:start].tobytes())
    expected = header.pop("__metadata__")["sha256"]
    arrays = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        part = whole[start + first : start + last]
        arrays[name] = part.view(TYPES[entry["dtype"]]).reshape(entry["shape"])
    if _sha256(arrays.items()) != expected:
        raise ValueError(f"{file} does not have the hash in its header")
    return arrays


def _sha256(arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """Return a hash over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays):
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()

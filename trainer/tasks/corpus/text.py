"""Where a text is found, and which part of it is held out."""

from __future__ import annotations

import hashlib
import lzma
from functools import lru_cache
from pathlib import Path

from trainer.errors import InputError

SHIPPED_SHA256 = {
    "kjv": "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d",
    "shakespeare": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
}
"""Texts in the public domain that come with the project, by the hash of what they unpack to."""

SHIPPED = {name: Path(__file__).parent / "texts" / f"{name}.txt.xz" for name in SHIPPED_SHA256}


def locate(dataset_path: str) -> Path:
    """Return the file of a shipped text's name or of a path.

    Raises:
        InputError: There is no such file.
    """
    path = SHIPPED.get(dataset_path) or Path(dataset_path).expanduser()
    if not path.is_file():
        raise InputError(
            f"data.dataset_path: no file {dataset_path!r}, and no text of that name ships"
            f" ({', '.join(SHIPPED)})",
            hint="give a UTF-8 text file, plain or .xz: data.dataset_path=/path/to/text.txt",
        )
    return path


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int) -> bytes:
    try:
        raw = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    except (OSError, lzma.LZMAError) as error:
        raise InputError(f"data.dataset_path: cannot read {path}: {error}") from error
    if not raw:
        raise InputError(f"data.dataset_path: {path} is empty")
    return raw


def read(dataset_path: str) -> str:
    """Return the text.

    Raises:
        InputError: The file is missing, empty or not UTF-8.
    """
    path = locate(dataset_path)
    raw = _read(path, path.stat().st_mtime_ns)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"data.dataset_path: {path} is not UTF-8 text: byte {raw[error.start]:#04x}"
            f" at offset {error.start}"
        ) from error


def content_hash(dataset_path: str) -> str:
    """Return the SHA-256 of the text's bytes, uncompressed."""
    if dataset_path in SHIPPED_SHA256:
        return SHIPPED_SHA256[dataset_path]  # unpacking takes longer than all else of a plan
    path = locate(dataset_path)
    return _content_hash(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _content_hash(path: Path, mtime_ns: int) -> str:
    return hashlib.sha256(_read(path, mtime_ns)).hexdigest()


def split(text: str, train_frac: float, val_frac: float) -> dict[str, str]:
    """Cut the text by position, in characters: train, then val, then test (may be empty)."""
    train_end = int(len(text) * train_frac)
    val_end = min(len(text), round(len(text) * (train_frac + val_frac)))
    return {"train": text[:train_end], "val": text[train_end:val_end], "test": text[val_end:]}


def locate_tokenizer(path: str) -> Path:
    """Return the file of `data.tokenizer_path`.

    Raises:
        InputError: There is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"data.tokenizer_path: no file {path!r}")
    return file

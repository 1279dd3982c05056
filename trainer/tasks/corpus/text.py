"""Where a text is found, whether it is one, and which part of it is held out."""

from __future__ import annotations

import difflib
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
SHIPPED_CHARACTERS = {"kjv": 4_404_412, "shakespeare": 1_115_394}

SHIPPED = {name: Path(__file__).parent / "texts" / f"{name}.txt.xz" for name in SHIPPED_SHA256}

A_TEXT = f"a UTF-8 text file, plain or .xz, or one that ships: {', '.join(SHIPPED)}"

UTF_32 = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def locate(dataset_path: str) -> Path:
    """Return the file of a shipped text's name or of a path.

    Raises:
        InputError: There is no such file.
    """
    path = SHIPPED.get(dataset_path) or Path(dataset_path).expanduser()
    if not dataset_path:
        raise InputError("data.dataset_path: got no name", A_TEXT)
    _refuse_unreachable("data.dataset_path", path, A_TEXT)
    if path.is_dir():
        files = sorted(file.name for file in path.glob("*.txt*"))
        hint = f"a file in it: {path / files[0]}" if files else A_TEXT
        message = f"data.dataset_path: got the folder {dataset_path!r}, expected a file"
        raise InputError(message, hint)
    if not path.is_file():
        what = f"no file {dataset_path!r}{_nearest(path)}"
        if path.exists():
            what = f"{path} is no regular file"
        raise InputError(f"data.dataset_path: {what}", A_TEXT)
    return path


def _refuse_unreachable(key: str, path: Path, hint: str) -> None:
    """Refuse what the system will not look at: a name too long, a ring of links, a closed folder."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return  # to be told with what is there instead
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{key}: cannot read {str(path)!r}: {reason}", hint) from error


def _nearest(path: Path) -> str:
    """Return ` - did you mean X?` for a text that ships, or a file beside the missing one."""
    beside = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
    alone = path.name == str(path)
    close = difflib.get_close_matches(path.name, [*(SHIPPED if alone else ()), *beside], n=1)
    return f" - did you mean {close[0] if alone else path.parent / close[0]}?" if close else ""


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int) -> bytes:
    try:
        raw = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    except (OSError, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"data.dataset_path: cannot read {path}: {reason}", A_TEXT) from error
    if not raw:
        raise InputError(f"data.dataset_path: {path} is empty", A_TEXT)
    return raw


def read(dataset_path: str) -> str:
    """Return the text.

    Raises:
        InputError: The file is missing, empty, not UTF-8, binary, or white space alone.
    """
    path = locate(dataset_path)
    raw = _read(path, path.stat().st_mtime_ns)
    for encoding, marks in (("UTF-32", UTF_32), ("UTF-16", UTF_16)):
        if raw.startswith(marks):
            raise InputError(
                f"data.dataset_path: {path} is {encoding} text, expected UTF-8",
                f"iconv -f {encoding} -t UTF-8 {path} > {path.stem}-utf8.txt",
            )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"data.dataset_path: {path} is not UTF-8 text: byte {raw[error.start]:#04x}"
            f" at offset {error.start}",
            A_TEXT,
        ) from error
    if (zero := raw.find(0)) >= 0:
        message = f"data.dataset_path: {path} is not text: byte 0x00 at offset {zero}"
        raise InputError(message, A_TEXT)
    if text.isspace():
        raise InputError(f"data.dataset_path: {path} has nothing but white space", A_TEXT)
    return text


def characters(dataset_path: str) -> int:
    """Return the length of a text; one that does not ship is read, and refused if it is none."""
    if dataset_path in SHIPPED_CHARACTERS:
        return SHIPPED_CHARACTERS[dataset_path]  # unpacking takes longer than all else of a plan
    path = locate(dataset_path)
    return _characters(dataset_path, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _characters(dataset_path: str, path: Path, mtime_ns: int) -> int:
    return len(read(dataset_path))


def content_hash(dataset_path: str) -> str:
    """Return the SHA-256 of the text's bytes, uncompressed."""
    if dataset_path in SHIPPED_SHA256:
        return SHIPPED_SHA256[dataset_path]
    path = locate(dataset_path)
    return _content_hash(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _content_hash(path: Path, mtime_ns: int) -> str:
    return hashlib.sha256(_read(path, mtime_ns)).hexdigest()


def cuts(length: int, train_frac: float, val_frac: float) -> tuple[int, int]:
    """Return the positions, in characters, where val and test begin."""
    return int(length * train_frac), min(length, round(length * (train_frac + val_frac)))


def split(text: str, train_frac: float, val_frac: float) -> dict[str, str]:
    """Cut the text by position: train, then val, then test (may be empty)."""
    val, test = cuts(len(text), train_frac, val_frac)
    return {"train": text[:val], "val": text[val:test], "test": text[test:]}


def locate_tokenizer(path: str) -> Path:
    """Return the file of `data.tokenizer_path`.

    Raises:
        InputError: There is no such file.
    """
    file = Path(path).expanduser()
    hint = "a tokenizer.json of byte-level BPE; arbiter tokenizer train CORPUS makes one"
    _refuse_unreachable("data.tokenizer_path", file, hint)
    if not file.is_file():
        what = f"got the folder {path!r}, expected a file" if file.is_dir() else f"no file {path!r}"
        raise InputError(f"data.tokenizer_path: {what}", hint)
    return file

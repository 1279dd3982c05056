"""Vocabularies of several sizes for one text, and which of them to take.

Each is trained on the train split, as a run with the same shares would, and measured on it and on
the validation split; the test split is not looked at. The rule: the smallest size from which the
next one gains less than `LEAST_GAIN` bytes a token for each doubling of the vocabulary.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from trainer.config import BYTES
from trainer.errors import InputError
from trainer.tasks.corpus import phrases as phrase_finder
from trainer.tasks.corpus.tokenizer import Tokenizer, of_encoder, train_bpe
from trainer.tasks.corpus.vocabulary_order import Order

LEAST_GAIN = 0.05
RECORD = "tokenizers.json"
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
"""What a folder that cannot be one is told by."""


@dataclass(frozen=True)
class Candidate:
    """One vocabulary and how well it compresses.

    Args:
        vocab_size: Symbols asked for.
        symbols: Symbols it has; fewer where the text has no more pairs to merge.
        path: The tokenizer.json.
        sha256: Of the file.
        train_chars_per_token: Characters of the train split a token.
        train_bytes_per_token: UTF-8 bytes of the train split a token.
        held_out_chars_per_token: The same of the validation split.
        held_out_bytes_per_token: The same of the validation split.
        used: Symbols that occur in the train split.
        phrase_frac: Share of the train split's bytes that phrases stand for.
    """

    vocab_size: int
    symbols: int
    path: Path
    sha256: str
    train_chars_per_token: float
    train_bytes_per_token: float
    held_out_chars_per_token: float
    held_out_bytes_per_token: float
    used: int
    phrase_frac: float


@dataclass(frozen=True)
class Study:
    """The vocabularies of a text.

    Args:
        candidates: By size, the smallest first.
        chosen: One of them.
        reason: Why that one.
        phrases: Entries that every vocabulary has.
        record: The file that all this is written in.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    reason: str
    phrases: tuple[str, ...]
    record: Path


def study(
    dataset_path: str,
    sizes: Sequence[int],
    folder: Path,
    *,
    phrases: int = 0,
    phrases_file: Path | None = None,
    train_frac: float = 0.9,
    val_frac: float = 0.05,
    choose: int | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Study:
    """Train a vocabulary of each size, measure them, choose one, and write all of it.

    What is there already from the same text and settings is taken as it is.

    Args:
        dataset_path: A text that ships, or a file.
        sizes: Symbols of each vocabulary, at least 257.
        folder: Takes `vocab-SIZE.json` and `tokenizers.json`; made where it is missing.
        phrases: How many phrases to look for in the train split.
        phrases_file: Phrases that every vocabulary gets, one a line.
        train_frac: As `data.train_frac` of the runs that are to follow.
        val_frac: As `data.val_frac`.
        choose: The size to take, instead of by the rule.
        notify: Told what is being done.

    Raises:
        InputError: The text, the sizes, the phrases or the folder cannot be used; nothing has
            been written.
    """
    order = Order(dataset_path, sizes, phrases, phrases_file, train_frac, val_frac)
    return carry_out(order, folder, choose=choose, notify=notify)


def carry_out(
    order: Order,
    folder: Path,
    *,
    choose: int | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Study:
    """Do what `study` does of an order that is checked.

    Raises:
        InputError: The choice or the folder cannot be used; nothing has been written.
    """
    _check_choice(order.sizes, choose)
    parts, given = order.parts, order.given
    _check_folder(folder, order.key)
    earlier = _read(folder, order.key)
    if earlier is None:
        entries = given
        if order.phrases:
            notify(f"looking for {order.phrases} phrases in {len(parts['train']):,} characters")
            found = phrase_finder.find(parts["train"], order.phrases, leave_out=given)
            entries = (*given, *found)
            if len(found) < order.phrases:
                notify(f"found {len(found)} phrases that hold together")
        made = {}
        for size in order.sizes:
            notify(f"training a vocabulary of {size:,}")
            made[size] = train_bpe(parts["train"], size, entries).to_str(pretty=True)
        candidates = [_measure(folder, size, made[size], parts, entries) for size in order.sizes]
        _check_merges(order, candidates, entries, notify)
    else:
        notify(f"{folder / RECORD}: the same was trained before")
        candidates, entries = earlier
        made = {}
    chosen, reason = _choose(candidates, choose)
    result = Study(tuple(candidates), chosen, reason, entries, folder / RECORD)
    _publish(result, order, {f"vocab-{size}.json": file for size, file in made.items()})
    return result


def _check_choice(sizes: Sequence[int], choose: int | None) -> None:
    """Refuse a choice that is not there."""
    if choose is not None and choose not in sizes:
        known = ", ".join(map(str, sizes))
        raise InputError(f"choose: got {choose}, expected one of the sizes {known}")


def _check_merges(
    order: Order,
    candidates: Sequence[Candidate],
    entries: Sequence[str],
    notify: Callable[[str], None],
) -> None:
    """Refuse a text in which there is nothing to merge; say where there is less than asked for."""
    largest = candidates[-1]
    if largest.symbols <= BYTES + len(entries):
        raise InputError(
            f"data.dataset_path: the train split has {len(order.parts['train'])} characters, of"
            " which no two can be merged",
            "more text",
        )
    if largest.symbols < largest.vocab_size:
        notify(f"the train split has merges for {largest.symbols:,} symbols, not for more")


def _measure(
    folder: Path, size: int, file: str, parts: dict[str, str], entries: Sequence[str]
) -> Candidate:
    """Encode the splits with the tokenizer as a run will read it."""
    from tokenizers import Tokenizer as Encoder

    path = folder / f"vocab-{size}.json"
    tokenizer = of_encoder(Encoder.from_str(file), str(path))
    counts = np.bincount(tokenizer.encode(parts["train"]), minlength=tokenizer.vocab_size)
    n_train, n_val = int(counts.sum()), len(tokenizer.encode(parts["val"]))
    bytes_of = {name: len(parts[name].encode()) for name in ("train", "val")}
    return Candidate(
        vocab_size=size,
        symbols=tokenizer.vocab_size,
        path=path,
        sha256=hashlib.sha256(file.encode()).hexdigest(),
        train_chars_per_token=len(parts["train"]) / n_train,
        train_bytes_per_token=bytes_of["train"] / n_train,
        held_out_chars_per_token=len(parts["val"]) / n_val,
        held_out_bytes_per_token=bytes_of["val"] / n_val,
        used=int((counts > 0).sum()),
        phrase_frac=_bytes_in_phrases(tokenizer, counts, entries) / bytes_of["train"],
    )


def _bytes_in_phrases(tokenizer: Tokenizer, counts: np.ndarray, entries: Sequence[str]) -> int:
    known = {entry.encode() for entry in entries}
    return sum(
        int(counts[i]) * len(symbol)
        for i, symbol in enumerate(tokenizer.symbols)
        if symbol in known
    )


def _choose(candidates: Sequence[Candidate], asked: int | None) -> tuple[Candidate, str]:
    """Return the vocabulary to take, and why."""
    if asked is not None:
        return next(c for c in candidates if c.vocab_size == asked), "it was asked for"
    if len(candidates) == 1:
        return candidates[0], "it is the only size"
    for small, large in itertools.pairwise(candidates):
        ratio = large.held_out_bytes_per_token / small.held_out_bytes_per_token
        gain = ratio ** (1 / math.log2(large.vocab_size / small.vocab_size)) - 1
        if gain < LEAST_GAIN:
            return small, (
                f"from it to {large.vocab_size:,} each doubling gains {gain:.1%} bytes a token on"
                f" held-out text, less than {LEAST_GAIN:.0%}"
            )
    return candidates[-1], (
        f"it is the largest, and each doubling up to it gains at least {LEAST_GAIN:.0%} bytes a"
        " token on held-out text"
    )


def _read(folder: Path, key: str) -> tuple[list[Candidate], tuple[str, ...]] | None:
    """Return the vocabularies that are there; None where they are others, or damaged."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["key"] != key:
            return None
        candidates = [
            Candidate(**{**row, "path": folder / row["path"]}) for row in record["candidates"]
        ]
        for candidate in candidates:
            if hashlib.sha256(candidate.path.read_bytes()).hexdigest() != candidate.sha256:
                return None
        return candidates, tuple(record["phrases"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_folder(folder: Path, key: str) -> None:
    """Refuse a folder in which other tokenizers are, before any is trained.

    Raises:
        InputError: It is none, or its record is of another text or other settings.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"out: {folder} is no folder", "a folder that is there, or a new one")
    record = folder / RECORD
    if not os.path.lexists(record):
        return
    try:
        found = json.loads(record.read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != key:
        raise InputError(
            f"out: {record} is of another text or other settings, and is not overwritten",
            "another folder, or remove this one",
        )


def _publish(result: Study, order: Order, made: dict[str, str]) -> None:
    """Write the files, each whole or not at all, the record last.

    Raises:
        InputError: The folder cannot be one, or holds another tokenizer, with which a run may
            have been trained.
        OSError: The disk refuses.
    """
    folder = result.record.parent
    record = {
        "key": order.key,
        **order.settings,
        "phrases": result.phrases,
        "candidates": [asdict(c) | {"path": c.path.name} for c in result.candidates],
        "chosen": result.chosen.path.name,
        "reason": result.reason,
    }
    try:
        for name, content in made.items():
            path = folder / name
            if os.path.lexists(path) and path.read_bytes() != content.encode():
                raise InputError(
                    f"out: {path} is another tokenizer, or damaged, and is not overwritten",
                    "another folder, or remove the file",
                )
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in made.items():
            _write(folder / name, content)
        _write(result.record, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        if error.errno not in NO_FOLDER:
            raise  # the disk, which is nobody's mistake
        place = error.filename or folder
        raise InputError(
            f"out: cannot write {place}: {error.strerror}", "another folder"
        ) from error


def _write(path: Path, content: str) -> None:
    """Replace a file at once; one that has the content already keeps its time."""
    raw = content.encode()
    if path.is_file() and path.read_bytes() == raw:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

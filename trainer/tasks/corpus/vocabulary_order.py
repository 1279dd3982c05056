"""What vocabularies are asked for: the text, the sizes, the phrases; checked before any is trained."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.config import BYTES
from trainer.errors import InputError
from trainer.identity import fingerprint
from trainer.tasks.corpus import phrases as phrase_finder
from trainer.tasks.corpus import text as texts

FORMAT = 1
"""Raised by hand whenever the same order would make other files."""


class Order:
    """What is asked for, checked.

    Args:
        dataset_path, sizes, phrases, phrases_file, train_frac, val_frac: As of `study`.

    Attributes:
        sizes: The smallest first.
        given: Entries of the file of phrases.
        parts: The text's splits.
        settings: All that decides what is trained.
        key: Hash of the settings.
        name: For a folder of its own.

    Raises:
        InputError: The text, the sizes, the phrases or the shares cannot be used.
    """

    def __init__(
        self,
        dataset_path: str,
        sizes: Sequence[int],
        phrases: int,
        phrases_file: Path | None,
        train_frac: float,
        val_frac: float,
    ) -> None:
        self.sizes = _checked_sizes(sizes)
        self.phrases = phrases
        self.given = phrase_finder.read(phrases_file) if phrases_file is not None else ()
        _check_room(self.sizes[0], self.given, phrases, phrases_file)
        self.parts = _checked_parts(dataset_path, train_frac, val_frac)
        self.settings: dict[str, Any] = {
            "format": FORMAT,
            "text_sha256": texts.content_hash(dataset_path),
            "train_frac": train_frac,
            "val_frac": val_frac,
            "sizes": self.sizes,
            "phrases_asked": phrases,
            "phrases_given": self.given[::2],
            "phrases_rule": {
                "least_npmi": phrase_finder.LEAST_NPMI,
                "least_count": phrase_finder.LEAST_COUNT,
                "most_words": phrase_finder.MOST_WORDS,
            },
            "tokenizers": importlib.metadata.version("tokenizers"),
        }
        self.key = fingerprint(self.settings)
        self.name = f"{Path(dataset_path).name.partition('.')[0]}-{self.key[:8]}"


def _checked_parts(dataset_path: str, train_frac: float, val_frac: float) -> dict[str, str]:
    """Return the splits of the text, each with something in it."""
    if not (0 < train_frac < 1 and 0 < val_frac < 1 and train_frac + val_frac <= 1 + 1e-9):
        raise InputError(
            f"train_frac: got train_frac {train_frac:g} and val_frac {val_frac:g}, expected shares"
            " above 0 and at most 1 together",
            "0.9 and 0.05",
        )
    text = texts.read(dataset_path)
    parts = texts.split(text, train_frac, val_frac)
    for name in ("train", "val"):
        if not parts[name].strip():
            raise InputError(
                f"data.dataset_path: the {name} split of {dataset_path!r} has nothing to read:"
                f" {len(parts[name])} of {len(text)} characters",
                "more text, or other shares",
            )
    return parts


def _checked_sizes(sizes: Sequence[int]) -> list[int]:
    """Return the sizes in order."""
    wanted = sorted(set(sizes))
    if not wanted:
        raise InputError("vocab_size: got no size, expected at least one", "1024,2048,4096")
    if len(wanted) < len(sizes):
        given = ", ".join(map(str, sizes))
        raise InputError(f"vocab_size: got {given}, expected each size once")
    if wanted[0] <= BYTES:
        raise InputError(
            f"vocab_size: got {wanted[0]}, expected at least {BYTES + 1}: every vocabulary"
            f" has the {BYTES} bytes, so that it can write any text",
            'data.tokenizer="byte" needs no vocabulary',
        )
    return wanted


def _check_room(
    smallest: int, given: Sequence[str], phrases: int, phrases_file: Path | None
) -> None:
    """Refuse more phrases than a vocabulary can hold beside the bytes and a merge."""
    if phrases < 0:
        raise InputError(f"phrases: got {phrases}, expected at least 0")
    entries = len(given) + phrases
    if smallest <= BYTES + entries:
        parts = [f"{len(given)} entries of {phrases_file}"] if given else []
        parts += [f"{phrases} phrases"] if phrases else []
        raise InputError(
            f"phrases: {' and '.join(parts)} beside the {BYTES} bytes leave a vocabulary of"
            f" {smallest} no room for merges",
            f"sizes of at least {2 ** math.ceil(math.log2(2 * (BYTES + entries)))},"
            " or fewer phrases",
        )

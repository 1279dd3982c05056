"""A text's tokens: made once, kept on disk by content, mapped into memory.

The cache is `$ARBITER_HOME/tokens` (or the user's cache folder). A file is written under
another name and renamed, so that processes that start together cannot read half of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from trainer.config import CorpusData, DecoderConfig, RunConfig
from trainer.identity import fingerprint
from trainer.tasks.corpus import text, tokenizer

FORMAT = 1
UNREADABLE = (OSError, EOFError, ValueError, KeyError)
"""What reading raises where tokens were never made, or are damaged: then they are made."""


@dataclass(frozen=True)
class Tokens:
    """The splits of a tokenized text.

    Args:
        splits: "train", "val", "test" to (n,) unsigned integers.
        byte_lengths: (vocab,) bytes each symbol stands for.
        symbols: Number of symbols the tokenizer knows.
    """

    splits: dict[str, np.ndarray]
    byte_lengths: np.ndarray
    symbols: int


def load(config: RunConfig, data_hash: str) -> Tokens:
    """Return the tokens of `config`, from memory, from disk, or made now."""
    data, model = config.data, config.model
    assert isinstance(data, CorpusData) and isinstance(model, DecoderConfig)
    settings = {
        "format": FORMAT,
        "data": data_hash,
        "tokenizer": data.tokenizer,
        "vocab_size": model.vocab_size,
        "fractions": [data.train_frac, data.val_frac],
    }
    return _Shared(fingerprint(settings), config).tokens()


class _Shared:
    """Carries a config past `lru_cache`, which compares the key alone."""

    def __init__(self, key: str, config: RunConfig) -> None:
        self.key, self.config = key, config

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shared) and other.key == self.key

    def tokens(self) -> Tokens:
        return _tokens(self)


@lru_cache(maxsize=4)
def _tokens(shared: _Shared) -> Tokens:
    folder = cache_folder() / shared.key
    with contextlib.suppress(*UNREADABLE):
        return _read(folder)
    _write(folder, shared.config)
    return _read(folder)


def _read(folder: Path) -> Tokens:
    index = json.loads((folder / "index.json").read_text())
    splits = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ("train", "val", "test")
    }
    return Tokens(
        splits, np.load(folder / "byte_lengths.npy", allow_pickle=False), index["symbols"]
    )


def cache_folder() -> Path:
    """Return where tokens are kept: `$ARBITER_HOME/tokens` or the user's cache folder."""
    home = os.environ.get("ARBITER_HOME")
    return (Path(home) if home else user_cache_path("arbiter")) / "tokens"


def _write(folder: Path, config: RunConfig) -> None:
    assert isinstance(config.data, CorpusData)
    encoder = tokenizer.build(config)
    parts = text.split(
        text.read(config.data.dataset_path), config.data.train_frac, config.data.val_frac
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-") as temporary:
        draft = Path(temporary) / "tokens"
        draft.mkdir()
        for name, part in parts.items():
            made = encoder.encode(part)
            encoder.refuse_change(part, made)
            np.save(draft / f"{name}.npy", made)
        np.save(draft / "byte_lengths.npy", encoder.byte_lengths)
        (draft / "index.json").write_text(json.dumps({"symbols": encoder.vocab_size}))
        try:
            draft.rename(folder)
        except OSError:
            try:
                _read(folder)  # another process was first
            except UNREADABLE:
                folder.rename(Path(temporary) / "damaged")
                draft.rename(folder)

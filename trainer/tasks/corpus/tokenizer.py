"""Text to numbers: bytes, characters, or a byte-level BPE trained on the train split."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import BYTES, CorpusData, DecoderConfig, RunConfig
from trainer.errors import InputError
from trainer.tasks.corpus import text as texts

BPE_ALPHABET = BYTES  # byte-level BPE starts from every byte


@dataclass(frozen=True)
class Tokenizer:
    """An encoder and the length of each of its symbols.

    Args:
        name: "byte", "char" or "bpe".
        vocab_size: Number of symbols.
        byte_lengths: (vocab,) UTF-8 bytes that each symbol stands for.
        encoder: The library's tokenizer, the characters in order, or None for bytes.
    """

    name: str
    vocab_size: int
    byte_lengths: np.ndarray
    encoder: Any = None

    def encode(self, text: str) -> np.ndarray:
        """Return the symbols of `text`, (n,) of the smallest unsigned type that holds them."""
        if self.name == "byte":
            return np.frombuffer(text.encode(), dtype=np.uint8)
        kind = np.uint16 if self.vocab_size <= 2**16 else np.uint32
        if self.name == "char":
            points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
            return np.searchsorted(self.encoder, points).astype(kind)
        lines = text.splitlines(keepends=True)
        encoded = self.encoder.encode_batch_fast(lines, add_special_tokens=False)
        return np.concatenate(
            [np.asarray(e.ids, dtype=kind) for e in encoded] or [np.empty(0, kind)]
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of symbols; bytes that are no UTF-8 become the replacement sign."""
        symbols = [int(index) for index in ids]
        if self.name == "byte":
            return bytes(symbols).decode("utf-8", errors="replace")
        if self.name == "char":
            return "".join(chr(self.encoder[index]) for index in symbols)
        return str(self.encoder.decode(symbols, skip_special_tokens=False))


def build(config: RunConfig) -> Tokenizer:
    """Make the tokenizer of `config`.

    Raises:
        InputError: The vocabulary is smaller than the tokenizer's alphabet, or a file is not
            a tokenizer.
    """
    data, model = config.data, config.model
    assert isinstance(data, CorpusData) and isinstance(model, DecoderConfig)
    if data.tokenizer == "byte":
        tokenizer = Tokenizer("byte", BYTES, np.ones(BYTES, dtype=np.int64))
    elif data.tokenizer == "char":
        characters = sorted(set(texts.read(data.dataset_path)))
        lengths = np.array([len(c.encode()) for c in characters], dtype=np.int64)
        points = np.array([ord(c) for c in characters], dtype=np.uint32)
        tokenizer = Tokenizer("char", len(characters), lengths, points)
    else:
        tokenizer = _bpe(data, model.vocab_size)
    if model.vocab_size is not None and model.vocab_size < tokenizer.vocab_size:
        raise InputError(
            f"model.vocab_size {model.vocab_size} is smaller than the {tokenizer.name}"
            f" tokenizer's {tokenizer.vocab_size} symbols",
            hint=f"model.vocab_size={tokenizer.vocab_size}, or leave it out",
        )
    return tokenizer


def _bpe(data: CorpusData, size: int | None) -> Tokenizer:
    if data.tokenizer_path is not None:
        encoder = load(data.tokenizer_path)
    else:
        assert size is not None  # RunConfig refuses bpe without it
        if size <= BPE_ALPHABET:
            raise InputError(
                f"model.vocab_size {size} leaves the bpe tokenizer no merges: its alphabet is"
                f" the {BPE_ALPHABET} bytes",
                hint='data.tokenizer="byte", or a vocabulary of some thousands',
            )
        train = texts.split(texts.read(data.dataset_path), data.train_frac, data.val_frac)["train"]
        encoder = _train_bpe(train.splitlines(keepends=True), size)
    symbols = encoder.get_vocab()
    lengths = np.zeros(encoder.get_vocab_size(), dtype=np.int64)
    for symbol, index in symbols.items():
        lengths[index] = len(symbol)  # byte-level: one printable character stands for one byte
    return Tokenizer("bpe", int(encoder.get_vocab_size()), lengths, encoder)


def _train_bpe(lines: Iterable[str], size: int) -> Any:
    from tokenizers import Tokenizer as Encoder
    from tokenizers import decoders, models, pre_tokenizers, trainers

    encoder = Encoder(models.BPE())
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    encoder.train_from_iterator(lines, trainer)
    return encoder


def load(path: str) -> Any:
    """Return the library's tokenizer of a file.

    Raises:
        InputError: There is no such file, or it is not a byte-level BPE.
    """
    return _parse(path, texts.locate_tokenizer(path).stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _parse(path: str, mtime_ns: int) -> Any:
    """Read a tokenizer.json of byte-level BPE; JSON, so nothing in it is run."""
    from tokenizers import Tokenizer as Encoder

    file = Path(path).expanduser()
    try:
        description = json.loads(file.read_text())
        encoder = Encoder.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise InputError(
            f"data.tokenizer_path: {path!r} is not a tokenizer.json: {error}"
        ) from error
    if description.get("model", {}).get("type") != "BPE" or "ByteLevel" not in json.dumps(
        description.get("pre_tokenizer")
    ):
        raise InputError(
            f"data.tokenizer_path: {path!r} is not a byte-level BPE, so bits per byte would be"
            " unknown"
        )
    return encoder

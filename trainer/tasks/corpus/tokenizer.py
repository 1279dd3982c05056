"""Text to numbers and back: bytes, characters, or a byte-level BPE."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import BYTES, CorpusData, DecoderConfig, RunConfig
from trainer.errors import InputError
from trainer.tasks import corpus
from trainer.tasks.corpus import text as texts

WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""How byte-level BPE cuts a text before it merges (GPT-2; the library's `ByteLevel` does this)."""
A_PIECE = 2**16
"""Tokens that are put back into text at once."""
MOST_SYMBOLS = 2**24
"""Above any vocabulary there is; a file that says otherwise is damaged."""
IN_A_WORD = r"[\p{L}\p{M}\p{N}_]"


@dataclass(frozen=True)
class Tokenizer:
    """An encoder and what each of its symbols stands for.

    Args:
        name: "byte", "char" or "bpe".
        symbols: The UTF-8 bytes of each symbol, by its number.
        encoder: The library's tokenizer, the characters in order, or None for bytes.
    """

    name: str
    symbols: Sequence[bytes]
    encoder: Any = None

    @property
    def vocab_size(self) -> int:
        """Number of symbols."""
        return len(self.symbols)

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """(vocab,) UTF-8 bytes that each symbol stands for."""
        return np.array([len(symbol) for symbol in self.symbols], dtype=np.int64)

    def encode(self, text: str) -> np.ndarray:
        """Return the symbols of `text`, (n,) of the smallest unsigned type that holds them."""
        if self.name == "byte":
            return np.frombuffer(text.encode(), dtype=np.uint8)
        kind = np.uint16 if self.vocab_size <= 2**16 else np.uint32
        if self.name == "char":
            points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
            return self._known(np.searchsorted(self.encoder, points), points).astype(kind)
        lines = text.splitlines(keepends=True)
        encoded = self.encoder.encode_batch_fast(lines, add_special_tokens=False)
        return np.concatenate(
            [np.asarray(e.ids, dtype=kind) for e in encoded] or [np.empty(0, kind)]
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of symbols: exactly the one they were made from.

        A number that is no symbol (a row that a vocabulary has to spare), and bytes that are no
        character (symbols in an order that no text has), are shown as U+FFFD.
        """
        unknown = "\N{REPLACEMENT CHARACTER}".encode()
        known = len(self.symbols)
        parts = [self.symbols[i] if 0 <= i < known else unknown for i in map(int, ids)]
        return b"".join(parts).decode("utf-8", errors="replace")

    def refuse_change(self, text: str, ids: np.ndarray) -> None:
        """Refuse symbols that are not all of a text: bits per byte would be of another one.

        Raises:
            InputError: They stand for other bytes.
        """
        if self.name != "bpe":
            return  # symbols of its own
        expected, at = text.encode(), 0
        for start in range(0, len(ids), A_PIECE):
            piece = b"".join([self.symbols[i] for i in ids[start : start + A_PIECE].tolist()])
            if expected[at : at + len(piece)] != piece:
                break
            at += len(piece)
        else:
            if at == len(expected):
                return
        raise InputError(
            "data.tokenizer_path: put together, its tokens are another text than the one they are"
            f" of, somewhere after byte {at:,}: it changes the text",
            "a tokenizer.json without normalizer, and with add_prefix_space false",
        )

    def _known(self, found: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Refuse characters that the text the symbols are from has not."""
        found = np.minimum(found, len(self.encoder) - 1)
        if len(strange := points[self.encoder[found] != points]):
            raise InputError(
                f"data.tokenizer: the char tokenizer has no {chr(strange[0])!r}: its symbols are"
                f" the {len(self.encoder)} characters of the text it is made from",
                'data.tokenizer="byte" or "bpe" reads any text',
            )
        return found


def build(config: RunConfig) -> Tokenizer:
    """Make the tokenizer of `config`.

    Raises:
        InputError: The vocabulary is smaller than the tokenizer's alphabet, or a file is not
            a tokenizer.
    """
    data, model = config.data, config.model
    assert isinstance(data, CorpusData) and isinstance(model, DecoderConfig)
    if data.tokenizer == "byte":
        tokenizer = Tokenizer("byte", [bytes([n]) for n in range(BYTES)])
    elif data.tokenizer == "char":
        characters = sorted(set(texts.read(data.dataset_path)))
        points = np.array([ord(c) for c in characters], dtype=np.uint32)
        tokenizer = Tokenizer("char", [c.encode() for c in characters], points)
    elif data.tokenizer_path is not None:
        tokenizer = load(data.tokenizer_path)
    else:
        assert model.vocab_size is not None  # RunConfig refuses bpe without it
        corpus.check_size(model.vocab_size)
        content = texts.content_hash(data.dataset_path)
        tokenizer = _trained(_Source(content, data), model.vocab_size)
    if model.vocab_size is not None and model.vocab_size < tokenizer.vocab_size:
        of = f" of {data.tokenizer_path!r}" if data.tokenizer_path is not None else ""
        raise InputError(
            f"model.vocab_size: {model.vocab_size} is smaller than the {tokenizer.name}"
            f" tokenizer's {tokenizer.vocab_size} symbols{of}",
            hint=f"model.vocab_size={tokenizer.vocab_size}, or leave it out",
        )
    return tokenizer


@dataclass(frozen=True)
class _Source:
    """A text by its content, and how to find it."""

    content: str
    data: CorpusData


@lru_cache(maxsize=4)
def _trained(source: _Source, size: int) -> Tokenizer:
    data = source.data
    train = texts.split(texts.read(data.dataset_path), data.train_frac, data.val_frac)["train"]
    return of_encoder(train_bpe(train, size), data.dataset_path)


def train_bpe(text: str, size: int, phrases: Sequence[str] = ()) -> Any:
    """Return the library's tokenizer of `size` symbols, or fewer where a text has no more pairs.

    Args:
        text: The train split.
        size: Above the 256 bytes and the phrases.
        phrases: Each becomes one symbol, and is that wherever it does not begin or end inside
            a word; the longest one wins. Each begins with a letter, digit or space, ends with a
            letter or digit and has a space inside, which no other symbol has.
    """
    from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Encoder

    encoder = Encoder(models.BPE())
    by_word = pre_tokenizers.ByteLevel(add_prefix_space=False)
    apart = Regex(_pattern(phrases)) if phrases else None
    encoder.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Split(apart, "removed"), by_word])
        if apart is not None
        else by_word
    )
    encoder.decoder = decoders.ByteLevel()
    most = BYTES + len(text.encode())  # each merge takes a byte; room for more is only memory
    trainer = trainers.BpeTrainer(
        vocab_size=min(size - len(phrases), most),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    encoder.train_from_iterator(text.splitlines(keepends=True), trainer)
    if not phrases:
        return encoder
    description = json.loads(encoder.to_str())
    model, alphabet = description["model"], _alphabet()
    for phrase in phrases:
        symbol = "".join(alphabet[byte] for byte in phrase.encode())
        assert symbol not in model["vocab"], phrase
        model["vocab"][symbol] = len(model["vocab"])
    model["ignore_merges"] = True  # a piece that is a symbol is that one: no merge makes a phrase
    encoder = Encoder.from_str(json.dumps(description))
    encoder.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(f"{_pattern(phrases)}|{WORDS}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return encoder


def _pattern(phrases: Sequence[str]) -> str:
    """Return the expression that finds phrases, the longest first, at the edges of words."""
    spaced = _prefix_tree([phrase for phrase in phrases if phrase[0] == " "])
    bare = _prefix_tree([phrase for phrase in phrases if phrase[0] != " "])
    kinds = [spaced] if spaced else []
    kinds += [f"(?<!{IN_A_WORD}){bare}"] if bare else []
    return f"(?:{'|'.join(kinds)})(?!{IN_A_WORD})"


def _prefix_tree(phrases: Sequence[str]) -> str:
    """Return an expression of phrases that reads what several begin with once, so that it is fast.

    Where one phrase goes on as a longer one, the longer is tried first.
    """
    if not phrases:
        return ""
    first, last = min(phrases), max(phrases)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    common = first[: len(list(same))]
    ends = common in phrases
    by_next: dict[str, list[str]] = {}
    for phrase in sorted(phrases):
        if rest := phrase[len(common) :]:
            by_next.setdefault(rest[0], []).append(rest)
    branches = [_prefix_tree(group) for group in by_next.values()]
    if not branches:
        return re.escape(common)
    guard = "" if ends else f"(?=[{''.join(map(re.escape, by_next))}])"
    return f"{re.escape(common)}{guard}(?:{'|'.join(branches)}){'?' if ends else ''}"


def load(path: str) -> Tokenizer:
    """Return the tokenizer of a file.

    Raises:
        InputError: There is no such file, or it is not a byte-level BPE.
    """
    return _parse(path, texts.locate_tokenizer(path).stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _parse(path: str, mtime_ns: int) -> Tokenizer:
    """Read a tokenizer.json of byte-level BPE; JSON, so nothing in it is run."""
    from tokenizers import Tokenizer as Encoder

    file = Path(path).expanduser()
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        encoder = Encoder.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise InputError(
            f"data.tokenizer_path: {path!r} is not a tokenizer.json: {error}",
            "arbiter tokenizer train CORPUS makes one",
        ) from error
    if description.get("model", {}).get("type") != "BPE" or "ByteLevel" not in json.dumps(
        description.get("pre_tokenizer")
    ):
        raise InputError(
            f"data.tokenizer_path: {path!r} is not a byte-level BPE, so bits per byte would be"
            " unknown"
        )
    if dropout := description["model"].get("dropout"):
        raise InputError(
            f"data.tokenizer_path: {path!r} has dropout {dropout:g}: the same text would be other"
            " tokens each time",
            'a tokenizer.json with "dropout": null',
        )
    encoder.no_truncation()  # runs cut a text themselves, and lose nothing of it
    encoder.no_padding()
    return of_encoder(encoder, path)


def of_encoder(encoder: Any, path: str) -> Tokenizer:
    """Return the tokenizer of the library's byte-level BPE.

    Args:
        encoder: Read or trained.
        path: What an error says it is of.

    Raises:
        InputError: It lacks a byte, or has a symbol that stands for no bytes.
    """
    added = {i: token.content for i, token in encoder.get_added_tokens_decoder().items()}
    byte_of = {character: byte for byte, character in enumerate(_alphabet())}
    numbered = encoder.get_vocab()
    if (largest := max(numbered.values(), default=-1)) >= MOST_SYMBOLS:
        raise InputError(
            f"data.tokenizer_path: {path!r} numbers a symbol {largest:,}, expected numbers below"
            f" {MOST_SYMBOLS:,}"
        )
    symbols = [b""] * (largest + 1)
    for symbol, i in numbered.items():
        try:
            symbols[i] = (
                added[i].encode()
                if i in added
                else bytes([byte_of[character] for character in symbol])
            )
        except KeyError as error:
            raise InputError(
                f"data.tokenizer_path: {path!r} is not a byte-level BPE: {symbol!r} stands for"
                " no bytes"
            ) from error
    if missing := BYTES - len({symbol for symbol in symbols if len(symbol) == 1}):
        raise InputError(
            f"data.tokenizer_path: {path!r} has no symbol for {missing} of the {BYTES} bytes, so"
            " there is text that it cannot read",
            "arbiter tokenizer train CORPUS makes one that reads any",
        )
    return Tokenizer("bpe", symbols, encoder)


@cache
def _alphabet() -> list[str]:
    """Return the printable character that byte-level BPE writes for each byte (as GPT-2 does)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(BYTES) if byte not in printable]
    return [chr(BYTES + others.index(b)) if b in others else chr(b) for b in range(BYTES)]

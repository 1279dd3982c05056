"""Next-token prediction on a text: read, split by position, tokenize, batch.

Read `task.py` first; `text.py` finds and splits the text, `tokenizer.py` turns it into
numbers, `tokens.py` keeps the numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from trainer import grokking
from trainer.config import BYTES, CorpusData, DecoderConfig, RunConfig
from trainer.errors import InputError
from trainer.identity import fingerprint
from trainer.tasks.corpus import text

if TYPE_CHECKING:
    from trainer.tasks.corpus.task import CorpusTask
    from trainer.tasks.corpus.tokenizer import Tokenizer


PLENTY = 16
"""Characters a token below which a BPE is sure to stay, as far as a plan is concerned."""

SAMPLE = 20_000
"""Characters by which a plan judges a tokenizer that was made elsewhere."""

METRICS = ("val/loss", "val/perplexity", "val/bits_per_byte", "val/accuracy", *grokking.METRICS)
"""What an evaluation reports, and a sweep can be judged by."""
SATURATES = False


def data_hash(config: RunConfig) -> str:
    """Return a hash over the text's bytes, and the tokenizer file's where one is given."""
    return fingerprint([*input_hashes(config).values()])


def input_hashes(config: RunConfig) -> dict[str, str]:
    """Return the hash of the text's bytes, and of the tokenizer file's where one is given."""
    assert isinstance(config.data, CorpusData)
    hashes = {"data.dataset_path": text.content_hash(config.data.dataset_path)}
    if config.data.tokenizer_path is not None:
        file = text.locate_tokenizer(config.data.tokenizer_path)
        hashes["data.tokenizer_path"] = hashlib.sha256(file.read_bytes()).hexdigest()
    return hashes


def vocab_size(config: RunConfig) -> int:
    """Return the number of symbols the model reads, padding rows included."""
    data, model = config.data, config.model
    assert isinstance(data, CorpusData) and isinstance(model, DecoderConfig)
    if model.vocab_size is not None:
        return model.vocab_size
    if data.tokenizer == "byte":
        return BYTES
    if data.tokenizer == "char":
        return len(set(text.read(data.dataset_path)))
    from trainer.tasks.corpus import tokenizer

    assert data.tokenizer_path is not None  # RunConfig refuses bpe with neither
    return tokenizer.load(data.tokenizer_path).vocab_size


def check(config: RunConfig) -> None:
    """Refuse a text and a tokenizer that cannot be trained on, before anything is started.

    Tokens are made only where the answer is in doubt: a BPE on a text of a few sequences.

    Raises:
        InputError: The text is none, a split of it is shorter than one sequence, or the
            vocabulary is smaller than the tokenizer's.
    """
    data, model = config.data, config.model
    assert isinstance(data, CorpusData) and isinstance(model, DecoderConfig)
    characters = text.characters(data.dataset_path)
    if data.tokenizer == "bpe" and data.tokenizer_path is None:
        assert model.vocab_size is not None  # RunConfig refuses bpe without it
        check_size(model.vocab_size)
    elif model.vocab_size is not None and (data.tokenizer, model.vocab_size) != ("byte", BYTES):
        _tokenizer(config)
    if data.tokenizer_path is not None:
        tokenizer, sample = _tokenizer(config), text.read(data.dataset_path)[:SAMPLE]
        tokenizer.refuse_change(sample, tokenizer.encode(sample))
    val, test = text.cuts(characters, data.train_frac, data.val_frac)
    most = config.seq_len * (PLENTY if data.tokenizer == "bpe" else 1)
    lengths = {"train": val, "val": test - val}
    for name, length in lengths.items():
        if length <= most:
            parts = text.split(text.read(data.dataset_path), data.train_frac, data.val_frac)
            refuse_short(config, name, len(_tokenizer(config).encode(parts[name])))


def refuse_short(config: RunConfig, split: str, tokens: int) -> None:
    """Refuse a split of which no sequence and the token that follows it can be taken.

    Raises:
        InputError: It has too few tokens.
    """
    assert isinstance(config.data, CorpusData)
    if tokens <= config.seq_len:
        shorter, s = max(2, tokens // 4), "" if tokens == 1 else "s"
        raise InputError(
            f"data.dataset_path: the {split} split of {config.data.dataset_path!r} has {tokens}"
            f" token{s}, expected more than training.seq_len {config.seq_len}",
            hint=f"training.seq_len={shorter}, or more text" if tokens > shorter else "more text",
        )


def tokens_per_step(config: RunConfig) -> int:
    """Return the batch times the sequence."""
    return int(config.training.batch_size) * config.seq_len


def check_size(size: int, phrases: int = 0) -> None:
    """Refuse a vocabulary in which a BPE could not merge anything.

    Args:
        size: Symbols asked for.
        phrases: How many of them are taken by phrases.
    """
    if size <= BYTES + phrases:
        of = f" and {phrases} entries of phrases" if phrases else ""
        raise InputError(
            f"model.vocab_size: {size} leaves the bpe tokenizer no merges: its alphabet is the"
            f" {BYTES} bytes{of}",
            hint='data.tokenizer="byte", or a vocabulary of some thousands',
        )


def _tokenizer(config: RunConfig) -> Tokenizer:
    from trainer.tasks.corpus import tokenizer

    return tokenizer.build(config)


def build(config: RunConfig) -> CorpusTask:
    """Build the task."""
    from trainer.tasks.corpus.task import CorpusTask

    return CorpusTask(config)

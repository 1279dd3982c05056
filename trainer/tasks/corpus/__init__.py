"""Next-token prediction on a text: read, split by position, tokenize, batch.

Read `task.py` first; `text.py` finds and splits the text, `tokenizer.py` turns it into
numbers, `tokens.py` keeps the numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from trainer import grokking
from trainer.config import BYTES, CorpusData, DecoderConfig, RunConfig
from trainer.identity import fingerprint
from trainer.tasks.corpus import text

if TYPE_CHECKING:
    from trainer.tasks.corpus.task import CorpusTask


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
    return int(tokenizer.load(data.tokenizer_path).get_vocab_size())


def tokens_per_step(config: RunConfig) -> int:
    """Return the batch times the sequence."""
    return int(config.training.batch_size) * config.seq_len


def build(config: RunConfig) -> CorpusTask:
    """Build the task."""
    from trainer.tasks.corpus.task import CorpusTask

    return CorpusTask(config)

"""Next-token prediction on a text: read, split by position, tokenize, batch.

Read `task.py` first; `text.py` finds and splits the text, `tokenizer.py` turns it into
numbers, `tokens.py` keeps the numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.config import CorpusData, DecoderConfig, RunConfig
from trainer.identity import fingerprint
from trainer.tasks.corpus import text, tokenizer

if TYPE_CHECKING:
    from trainer.tasks.corpus.task import CorpusTask


def data_hash(config: RunConfig) -> str:
    """Return a hash over the text's bytes, and the tokenizer file's where one is given."""
    assert isinstance(config.data, CorpusData)
    parts = [text.content_hash(config.data.dataset_path)]
    if config.data.tokenizer_path is not None:
        parts.append(tokenizer.file_hash(config.data.tokenizer_path))
    return fingerprint(parts)


def vocab_size(config: RunConfig) -> int:
    """Return the number of symbols the model reads, padding rows included."""
    assert isinstance(config.model, DecoderConfig)
    if config.model.vocab_size is not None:
        return config.model.vocab_size
    return tokenizer.vocab_size(config)


def build(config: RunConfig) -> CorpusTask:
    """Build the task."""
    from trainer.tasks.corpus.task import CorpusTask

    return CorpusTask(config)

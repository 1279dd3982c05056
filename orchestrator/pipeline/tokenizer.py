"""Compare vocabularies, choose one, and encode the text with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import Problem, UsageError
from orchestrator.layout import RunDirectory
from orchestrator.pipeline.record import ChosenTokenizer, Record, Vocabulary
from trainer.config import CorpusData, RunConfig
from trainer.errors import InputError

FOLDER = "tokenizer"


def choose_tokenizer(
    directory: RunDirectory, record: Record, notify: Callable[[str], None]
) -> ChosenTokenizer:
    """Train a tokenizer of each size on the train split, and put the text through the chosen one.

    Raises:
        UsageError: The text is too short, or a size cannot be had.
    """
    from trainer.tasks.corpus.vocabularies import study

    config, asked = record.run_config, record.asked
    data = config.data
    assert isinstance(data, CorpusData)
    try:
        found = study(
            data.dataset_path,
            asked.vocab_sizes,
            directory.path / FOLDER,
            phrases=asked.phrases,
            phrases_file=None if asked.phrases_file is None else Path(asked.phrases_file),
            train_frac=data.train_frac,
            val_frac=data.val_frac,
            notify=notify,
        )
        chosen = ChosenTokenizer(
            file=str(Path(found.chosen.path).relative_to(directory.path)),
            vocab_size=found.chosen.vocab_size,
            reason=found.reason,
            candidates=[
                Vocabulary(
                    vocab_size=candidate.vocab_size,
                    train_chars_per_token=float(candidate.train_chars_per_token),
                    train_bytes_per_token=float(candidate.train_bytes_per_token),
                    held_out_chars_per_token=float(candidate.held_out_chars_per_token),
                    held_out_bytes_per_token=float(candidate.held_out_bytes_per_token),
                )
                for candidate in found.candidates
            ],
            split_tokens={},
        )
        ready = record.model_copy(update={"tokenizer": chosen}).training_config(directory)
        return chosen.model_copy(update={"split_tokens": encode(ready)})
    except InputError as error:
        raise UsageError(Problem(str(error), "tokenizer and data", error.hint)) from error


def encode(config: RunConfig) -> dict[str, int]:
    """Encode the text into the cache; return the tokens of each split.

    Raises:
        InputError: A split is shorter than one sequence.
    """
    from trainer.tasks import build_task, data_hash
    from trainer.tasks.corpus import tokens

    build_task(config)
    splits = tokens.load(config, data_hash(config)).splits
    return {name: len(split) for name, split in splits.items()}

"""The checkpoint that is evaluated: verified, its model built, its data found unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from trainer.checkpoint import MODEL_FILE
from trainer.computation import computation_of, with_kernel
from trainer.config import CorpusData, RunConfig
from trainer.errors import InputError
from trainer.evaluation.manifest import config_of, verified
from trainer.identity import PLACES, deciding_settings
from trainer.models import build_model
from trainer.precision import autocast
from trainer.tasks import Task, build_task, input_hashes
from trainer.tasks.corpus import tokenizer as tokenizers
from trainer.tasks.corpus.task import CorpusTask
from trainer.tasks.corpus.tokenizer import Tokenizer

MOST_NAMED = 3
"""Settings or weights that an error names; the others are counted."""
PAIRS = 1024
"""Held-out pairs that are read of task modular."""


@dataclass
class Subject:
    """A trained model and what it was trained on.

    Args:
        config: What it was trained with; `evaluation` and `tier` may be others.
        trial_id: Whose it is.
        step: Optimizer steps it was trained for.
        model_sha256: Hash of its weights' file.
        task: Its data; `evaluate` reads `evaluation.tokens` of a split.
        model: On `tier.device`, in evaluation mode.
    """

    config: RunConfig
    trial_id: str
    step: int
    model_sha256: str
    task: Task
    model: torch.nn.Module

    @property
    def device(self) -> str:
        """Where the model is."""
        return self.config.tier.device

    @property
    def corpus(self) -> CorpusTask | None:
        """The task where it is a text."""
        return self.task if isinstance(self.task, CorpusTask) else None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the text it was trained on.

        Raises:
            InputError: The one that is made here is another.
        """
        assert isinstance(self.task, CorpusTask)
        made = tokenizers.build(self.config)
        if not np.array_equal(made.byte_lengths, self.task.byte_lengths):
            raise InputError(
                f"the {made.name} tokenizer made here has {made.vocab_size} symbols that are not"
                f" the {self.task.symbols} of the text's tokens: another version of the"
                " tokenizers library made them"
            )
        return made

    def encode(self, text: str, what: str) -> np.ndarray:
        """Return the symbols of a text that a person gave, (n,).

        Args:
            text: Any text.
            what: What it is, for the error.

        Raises:
            InputError: It has characters that are no symbols.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{what} is not UTF-8 text at character {error.start}") from error
        if self.tokenizer.name == "char":
            known = {chr(point) for point in self.tokenizer.encoder}
            unknown = [c for c in dict.fromkeys(text) if c not in known]
            if unknown:
                shown = ", ".join(repr(c) for c in unknown[:MOST_NAMED])
                more = f" and {len(unknown) - MOST_NAMED} more" if unknown[MOST_NAMED:] else ""
                raise InputError(
                    f"{what} has characters that the char tokenizer has not met: {shown}{more}",
                    hint=f"its {len(known)} symbols are the characters of"
                    f" {_dataset(self.config)!r}",
                )
        return self.tokenizer.encode(text).astype(np.int64)

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of tokens (batch, time), (batch, time, vocab) in fp32."""
        with autocast(self.config.tier):
            logits: torch.Tensor = self.model(tokens.to(self.device))
        return logits.float()

    def held_out(self, most: int) -> torch.Tensor:
        """Return up to `most` inputs of the validation split, spread evenly, (n, time).

        Of pairs, whose sequences are three tokens long, it is up to `PAIRS`.
        """
        if self.corpus is None:
            inputs: torch.Tensor = self.task.splits["val"][0]  # type: ignore[attr-defined]
            return inputs[:PAIRS]
        data, seq_len = self.corpus.splits["val"], self.corpus.seq_len
        starts = np.arange(0, len(data) - seq_len, seq_len)
        if most < len(starts):
            starts = starts[np.linspace(0, len(starts) - 1, most).round().astype(int)]
        return torch.from_numpy(data[starts[:, None] + np.arange(seq_len)].astype(np.int64))


def load(checkpoint: Path, config: RunConfig) -> Subject:
    """Verify a checkpoint and build its model.

    Args:
        checkpoint: A `step-…` folder.
        config: What it was trained with; the sections that decide no result may differ.

    Raises:
        InputError: It is not there, damaged, of another architecture or trained with other
            settings, or its data are not what they were.
    """
    manifest = verified(checkpoint)
    own = config_of(manifest, checkpoint)
    if own is not None:
        _refuse_other_settings(own, config)
    _refuse_other_inputs(manifest.get("data"), config)
    config = _reading(config)
    task = build_task(config)
    try:
        weights = load_file(checkpoint / MODEL_FILE)
    except (OSError, SafetensorError) as error:
        raise InputError(f"the checkpoint is damaged: {error}") from error
    torch.set_num_threads(config.tier.cpus)
    computation = computation_of(config, task.vocab_size, task.tokens_per_step)
    model = build_model(with_kernel(config, computation), task.vocab_size)
    _refuse_other_weights(weights, model)
    model.load_state_dict(weights, assign=True)
    model.requires_grad_(False)
    return Subject(
        config,
        manifest["trial_id"],
        manifest["step"],
        manifest["files"][MODEL_FILE]["sha256"],
        task,
        model.to(config.tier.device).eval(),
    )


def _reading(config: RunConfig) -> RunConfig:
    """Return a config whose task reads `evaluation.tokens` of a split."""
    tokens = {"eval_tokens": config.evaluation.tokens}
    return config.model_copy(update={"training": config.training.model_copy(update=tokens)})


def _dataset(config: RunConfig) -> str:
    assert isinstance(config.data, CorpusData)
    return config.data.dataset_path


def _refuse_other_settings(own: RunConfig, config: RunConfig) -> None:
    there, here = deciding_settings(own), deciding_settings(config)
    for settings in (there, here):
        for key in PLACES:
            settings["data"].pop(key, None)
    differing = [
        f"{section}.{key} {_shown(there[section].get(key))} there,"
        f" {_shown(here[section].get(key))} here"
        for section in there
        for key in dict.fromkeys([*there[section], *here[section]])
        if there[section].get(key) != here[section].get(key)
    ]
    if differing:
        raise InputError(
            f"the checkpoint was trained with other settings: {_few(differing)}",
            hint="only evaluation.* and tier.* may differ",
        )


def _refuse_other_inputs(before: dict[str, str] | None, config: RunConfig) -> None:
    now = input_hashes(config)
    if before is None:
        return
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) == now.get(key):
            continue
        path = getattr(config.data, key.partition(".")[2])
        if path is None:
            raise InputError(f"the checkpoint was trained with a file at {key}, and none is given")
        if key not in before:
            raise InputError(f"the checkpoint was trained without {key}: got {path!r}")
        read = "text" if isinstance(config.data, CorpusData) else "data set"
        what = "tokenizer" if key == "data.tokenizer_path" else read
        raise InputError(
            f"the {what} does not match the checkpoint: {path!r} has the hash {now[key][:10]},"
            f" the {what} that it was trained with had {before[key][:10]}",
            hint=f"{key}=FILE gives the one it was trained with, where that was moved",
        )


def _refuse_other_weights(weights: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
    """Name what of the weights the model has not, or has in another shape."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    differing = [
        f"{name} is {tuple(weights[name].shape)} there, {shape} by the config"
        for name, shape in expected.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    differing += [f"{name} is not there" for name in expected if name not in weights]
    differing += [f"{name} is not in the model" for name in weights if name not in expected]
    if differing:
        raise InputError(f"the checkpoint is of another architecture: {_few(differing)}")


def _few(items: list[str]) -> str:
    more = f"; {len(items) - MOST_NAMED} more differ" if len(items) > MOST_NAMED else ""
    return "; ".join(items[:MOST_NAMED]) + more


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)

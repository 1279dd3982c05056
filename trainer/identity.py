"""Which settings decide a result, and the trial id made of them.

The id is a hash over the canonical form of `model`, `data` and `training` (of spectra also `loss`
and `symbolic`), the content of the data and the version of the code that trains. Tier, limits, checkpoints and logging are
left out: they say how a run is executed or watched, so the same trial keeps its id on
another machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from trainer.config import (
    BYTES,
    CORPUS_SEQ_LEN,
    FFN_RATIO,
    IN_EPOCHS,
    CorpusData,
    DecoderConfig,
    RunConfig,
)

CODE_VERSION = 1
"""Raised by hand whenever the same config would learn something else.

`tests/test_trainer_golden.py` holds short loss curves; it fails when this was forgotten.
"""

LABELS = {"model": {"name"}}
"""Fields of the deciding sections that are labels only."""
APART = LABELS | {"data": {"memory_map"}}
"""Fields of the deciding sections that decide nothing: labels, and how data are held."""

PLACES = ("dataset_path", "tokenizer_path")
"""Fields of `data` for which the hash of the content stands: a path would differ by machine."""


DECIDING = ("model", "data", "training", "loss", "symbolic")
"""Sections that decide a result; the last two only where there are spectra."""


def deciding_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that decide the result, section by section.

    One that changes nothing beside the others is its default: the same run has one id. Epochs are
    counted as the steps they mean (`epochs.py`).
    """
    spectra = config.data.task == "ariel"
    sections = set(DECIDING) if spectra else set(DECIDING) - {"loss", "symbolic"}
    settings = config.model_dump(mode="json", include=sections, exclude=APART)
    for key in IN_EPOCHS:
        section, _, leaf = key.partition(".")
        settings.get(section, {}).pop(leaf, None)
    for key in _idle(config):
        *path, leaf = key.split(".")
        place: Any = settings
        model: Any = config
        for name in path:
            place, model = place[name], getattr(model, name)
        place[leaf] = type(model).model_fields[leaf].default
    return settings


def without_effect(config: RunConfig) -> dict[str, str]:
    """Return the settings that speak of what this run has not: dotted key to the reason."""
    found = {}
    if config.training.schedule == "constant":
        found["training.final_lr_frac"] = 'training.schedule is "constant"'
    if isinstance(config.model, DecoderConfig) and config.model.position != "rope":
        found["model.rope_theta"] = f'model.position is "{config.model.position}"'
    if config.data.task == "ariel":
        if not config.loss.composite.fft.weight:
            found["loss.composite.fft.cutoff_frac"] = "loss.composite.fft.weight is 0"
        for name in type(config.symbolic).model_fields:
            if not getattr(config.symbolic, name).enabled:
                found[f"symbolic.{name}.weight"] = f"symbolic.{name}.enabled is false"
    return found


def _idle(config: RunConfig) -> Iterator[str]:
    """Yield the settings without effect, and those that say what is done anyway."""
    model, data, training = config.model, config.data, config.training
    yield from without_effect(config)
    if isinstance(model, DecoderConfig) and model.ffn_dim == FFN_RATIO * model.dim:
        yield "model.ffn_dim"
    if isinstance(data, CorpusData):
        if training.seq_len == CORPUS_SEQ_LEN:
            yield "training.seq_len"
        if data.tokenizer == "byte" and getattr(model, "vocab_size", None) == BYTES:
            yield "model.vocab_size"


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a plain value in canonical JSON: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def trial_id(config: RunConfig, data_hash: str) -> str:
    """Return the 10 hex digits that name the trial.

    Args:
        config: The run config. `1e-3` and `0.001`, or another key order, give the same id.
        data_hash: Hash of the data's content, from `trainer.tasks.data_hash`; a path would
            differ between machines.
    """
    return trial_and_point_id(config, data_hash)[0]


def point_id(config: RunConfig, data_hash: str) -> str:
    """Return the id shared by all seeds of one point of the space."""
    return trial_and_point_id(config, data_hash)[1]


def trial_and_point_id(config: RunConfig, data_hash: str) -> tuple[str, str]:
    """Return both; the point's is the id of its trial with seed 0."""
    settings = hashed_settings(config)
    trial = id_of(settings, data_hash, CODE_VERSION)
    settings["training"]["seed"] = 0
    return trial, id_of(settings, data_hash, CODE_VERSION)


def hashed_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that are in the id themselves: the deciding ones without `PLACES`."""
    settings = deciding_settings(config)
    for key in PLACES:
        settings["data"].pop(key, None)
    return settings


def id_of(settings: dict[str, Any], data_hash: str, code: int) -> str:
    """Return the id of `hashed_settings`, of data and of a version of the code that trains."""
    return fingerprint({"settings": settings, "data": data_hash, "code": code})[:10]

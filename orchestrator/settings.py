"""Which settings there are: every dotted key of a run config, its default and its words."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from trainer.config import CorpusData, DecoderConfig, ModularData, QuadraticMLPConfig, RunConfig

SECTIONS = tuple(RunConfig.model_fields)
VARIANTS: dict[str, tuple[type[BaseModel], ...]] = {
    "model.kind": (DecoderConfig, QuadraticMLPConfig),
    "data.task": (CorpusData, ModularData),
}
"""Sections of several kinds, by the key that names the kind."""


@cache
def setting_keys() -> tuple[str, ...]:
    """Return every dotted key of the run config, of all kinds of its sections."""
    keys: dict[str, None] = {}
    variants = {key.partition(".")[0]: models for key, models in VARIANTS.items()}
    for section, info in RunConfig.model_fields.items():
        models = variants.get(section, ())
        if not models:
            assert isinstance(info.annotation, type)
            models = (typing.cast(type[BaseModel], info.annotation),)
        for model in models:
            keys |= dict.fromkeys(f"{section}.{name}" for name in model.model_fields)
    return tuple(keys)


def default_of(key: str, settings: Mapping[str, tuple[Any, str]]) -> Any:
    """Return the schema's default of a setting; None where this kind of run has no such setting.

    Args:
        key: Dotted key.
        settings: They say of which kind each section is.
    """
    section, _, leaf = key.partition(".")
    model = RunConfig.model_fields[section].annotation
    for name, variants in VARIANTS.items():
        if name.startswith(f"{section}."):
            kind = name.partition(".")[2]
            default = variants[0].model_fields[kind].default
            chosen = settings[name][0] if name in settings else default
            model = next((m for m in variants if m.model_fields[kind].default == chosen), None)
    info = (
        model.model_fields.get(leaf)
        if isinstance(model, type) and issubclass(model, BaseModel)
        else None
    )
    return None if info is None else info.get_default(call_default_factory=True)

"""Which settings there are: every dotted key of a run config, its default and its words."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from trainer.config import CorpusData, DecoderConfig, ModularData, QuadraticMLPConfig, RunConfig
from trainer.identity import LABELS

SECTIONS = tuple(RunConfig.model_fields)
VARIANTS: dict[str, tuple[type[BaseModel], ...]] = {
    "model.kind": (DecoderConfig, QuadraticMLPConfig),
    "data.task": (CorpusData, ModularData),
}
"""Sections of several kinds, by the key that names the kind."""


@cache
def setting_keys() -> tuple[str, ...]:
    """Return every dotted key of the run config, of all kinds of its sections."""
    return tuple(
        dict.fromkeys(
            f"{section}.{name}"
            for section in SECTIONS
            for model in _models(section)
            for name in model.model_fields
        )
    )


def _models(section: str) -> tuple[type[BaseModel], ...]:
    """Return the kinds of a section."""
    for key, models in VARIANTS.items():
        if key.partition(".")[0] == section:
            return models
    return (typing.cast(type[BaseModel], RunConfig.model_fields[section].annotation),)


def has_kind(key: str, kind: Any, setting: str) -> bool:
    """Return whether a setting may stand beside a kind of its section; a typing mistake may.

    Args:
        key: What names the kind, a key of `VARIANTS`.
        kind: Its value.
        setting: Dotted key of the same section.
    """
    leaf, name = setting.partition(".")[2], key.partition(".")[2]
    known = [m for m in VARIANTS[key] if leaf in m.model_fields]
    return not known or any(m.model_fields[name].default == kind for m in known)


def words_of(key: str) -> dict[str, Any]:
    """Return the values of a setting that takes one of few, by name; none of any other setting."""
    words: dict[str, Any] = {}
    for model in _models(key.partition(".")[0]):
        info = model.model_fields.get(key.partition(".")[2])
        if info is None:
            continue
        if info.annotation is bool:
            words |= {"false": False, "true": True}
        elif typing.get_origin(info.annotation) is typing.Literal:
            words |= {str(value): value for value in typing.get_args(info.annotation)}
    return words


def is_label(key: str) -> bool:
    """Return whether a setting only names something in the reports."""
    section, _, leaf = key.partition(".")
    return leaf in LABELS.get(section, ())


def may_be_none(key: str) -> bool:
    """Return whether a setting may have no value."""
    section, _, leaf = key.partition(".")
    return section in SECTIONS and any(
        type(None) in typing.get_args(model.model_fields[leaf].annotation)
        for model in _models(section)
        if leaf in model.model_fields
    )


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

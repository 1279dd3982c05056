"""Which settings there are: every dotted key of a run config, its default and its words."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainer.config import CorpusData, DecoderConfig, ModularData, QuadraticMLPConfig, RunConfig
from trainer.identity import APART
from trainer.spectral_config import ArielData, SpectralConfig

SECTIONS = tuple(RunConfig.model_fields)
VARIANTS: dict[str, tuple[type[BaseModel], ...]] = {
    "model.kind": (DecoderConfig, QuadraticMLPConfig, SpectralConfig),
    "data.task": (CorpusData, ModularData, ArielData),
}
"""Sections of several kinds, by the key that names the kind."""


@cache
def setting_keys() -> tuple[str, ...]:
    """Return every dotted key of the run config, of all kinds of its sections."""
    return tuple(
        dict.fromkeys(
            key
            for section in SECTIONS
            for model in _models(section)
            for key in _keys(section, model)
        )
    )


def _keys(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """Yield the dotted keys of a table, those of the tables in it among them."""
    for name, info in model.model_fields.items():
        inner = _table(info)
        if inner is None:
            yield f"{prefix}.{name}"
        else:
            yield from _keys(f"{prefix}.{name}", inner)


def _table(info: FieldInfo) -> type[BaseModel] | None:
    """Return the table that a field is; None where it is a value."""
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _fields(key: str) -> Iterator[FieldInfo]:
    """Yield what stands at a dotted key, in each kind of its section that has it."""
    section, *path, leaf = key.split(".") if "." in key else (key, "")
    for model in _models(section) if section in SECTIONS else ():
        found: type[BaseModel] | None = model
        for name in path:
            info = found.model_fields.get(name) if found else None
            found = _table(info) if info else None
        if found is not None and leaf in found.model_fields:
            yield found.model_fields[leaf]


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
    for info in _fields(key):
        if info.annotation is bool:
            words |= {"false": False, "true": True}
        elif typing.get_origin(info.annotation) is typing.Literal:
            words |= {str(value): value for value in typing.get_args(info.annotation)}
    return words


def is_apart(key: str) -> bool:
    """Return whether a setting decides nothing though its section does: a label."""
    section, _, leaf = key.partition(".")
    return leaf in APART.get(section, ())


def may_be_none(key: str) -> bool:
    """Return whether a setting may have no value."""
    return any(type(None) in typing.get_args(info.annotation) for info in _fields(key))


def default_of(key: str, settings: Mapping[str, tuple[Any, str]]) -> Any:
    """Return the schema's default of a setting; None where this kind of run has no such setting.

    Args:
        key: Dotted key.
        settings: They say of which kind each section is.
    """
    section, *path = key.split(".")
    found: Any = _default_section(section, settings)
    for name in path:
        if isinstance(found, type) and issubclass(
            found, BaseModel
        ):  # a kind that has no whole default
            info = found.model_fields.get(name)
            return None if info is None else info.get_default(call_default_factory=True)
        found = getattr(found, name, None)
    return found


def _default_section(section: str, settings: Mapping[str, tuple[Any, str]]) -> Any:
    """Return a section as it is without settings, or its kind where that has settings to be given."""
    for name, variants in VARIANTS.items():
        if name.startswith(f"{section}."):
            kind = name.partition(".")[2]
            default = variants[0].model_fields[kind].default
            chosen = settings[name][0] if name in settings else default
            return next((m for m in variants if m.model_fields[kind].default == chosen), None)
    return RunConfig.model_fields[section].get_default(call_default_factory=True)

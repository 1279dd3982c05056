"""JSON schemas of base configs and templates, for editors that check TOML as it is typed.

They come from the models that read the files. What only several settings together can say is
left to `arbiter plan`; older spellings are marked as deprecated.
"""

from __future__ import annotations

import json
from typing import Any

from orchestrator.settings import VARIANTS
from orchestrator.spellings import (
    DEFERRED,
    FOREIGN,
    FOREIGN_SECTIONS,
    SPELLINGS,
    canonical,
    foreign,
)
from orchestrator.strategy import STRATEGIES
from orchestrator.template import TEXTS, ObjectiveSection, SearchSection
from trainer.config import RunConfig

KINDS = ("template", "config")
DRAFT = "http://json-schema.org/draft-07/schema#"

Schema = dict[str, Any]

_NUMBERS: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_VALUES: Schema = {"type": "array", "minItems": 1}
AXIS_WORDS: dict[str, Schema] = {
    "uniform": {**_NUMBERS, "description": "any number between two"},
    "log_uniform": {**_NUMBERS, "description": "any number between two, by its logarithm"},
    "integer": {**_NUMBERS, "description": "whole numbers, both ends included"},
    "choice": {**_VALUES, "description": "these values"},
    "values": {**_VALUES, "description": "these values"},
    "step": {"type": "number", "exclusiveMinimum": 0, "description": "between values of a range"},
    "points": {"type": "integer", "minimum": 2, "description": "values of a range, evenly laid"},
    "log": {"type": "boolean", "description": "of integer: evenly by ratio"},
    "when": {"type": "object", "description": "settings that must have these values"},
}
"""The keys of an axis's table, `space_table.WORDS`."""


def schema_of(kind: str) -> str:
    """Return the schema of one of `KINDS` as JSON text."""
    sections = {name: _section(name) for name in RunConfig.model_fields}
    properties: Schema = {name: {"type": "string"} for name in TEXTS}
    properties |= sections
    for name, known in FOREIGN_SECTIONS.items():
        text = f"of other programs: {known.why}; {known.hint}"
        properties[name] = {"type": "object", "deprecated": True, "description": text}
    if kind == "template":
        properties["space"] = _space()
        properties["search"] = _model(SearchSection.model_json_schema())
        properties["search"]["properties"]["method"]["enum"] = sorted(STRATEGIES)
        properties["objective"] = _model(ObjectiveSection.model_json_schema())
        small = {**_object({**sections, "space": _space()}), "description": "what it sets instead"}
        properties["scale"] = {"type": "object", "additionalProperties": small}
    title = f"arbiter {'sweep template' if kind == 'template' else 'base config'}"
    schema = {"$schema": DRAFT, "title": title, **_object(properties)}
    return json.dumps(schema, indent=1) + "\n"


def _object(properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _section(name: str) -> Schema:
    """Return a section of the run config, in all its kinds, with its older spellings."""
    whole = RunConfig.model_json_schema()
    found = _inlined(whole["properties"][name], whole["$defs"])
    if "oneOf" not in found:
        found["properties"] |= _older(name)
        return found
    key = next(key.partition(".")[2] for key in VARIANTS if key.startswith(f"{name}."))
    default = VARIANTS[f"{name}.{key}"][0].model_fields[key].default
    for variant in found["oneOf"]:
        variant["properties"] |= _older(name)
        if variant["properties"][key]["const"] != default:  # the first is meant where none is named
            variant["required"] = [key]
    return {"type": "object", "oneOf": found["oneOf"]}


def _older(section: str) -> Schema:
    """Return what files of other programs may have in a section, and what it is read as."""
    older: Schema = {}
    for leaf in (*SPELLINGS, *DEFERRED):
        key = f"{section}.{leaf}"
        if (ours := canonical(key)) != key:
            older[leaf] = {"deprecated": True, "description": f"older spelling of {ours}"}
    for leaf in (leaf for leaf in FOREIGN if "." not in leaf):
        if (known := foreign(f"{section}.{leaf}")) is not None:
            older[leaf] = {"deprecated": True, "description": f"{known.why}; {known.hint}"}
    return older


def _space() -> Schema:
    """Return `[space]`: axes by dotted or short name, or in tables by section."""
    table = {**_object(AXIS_WORDS), "minProperties": 1}
    axis: Schema = {"anyOf": [_VALUES, table]}
    seeds = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "array"}]}
    rules = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    together = {"type": "array", "items": {"type": "object", "additionalProperties": True}}
    properties: Schema = {
        "seeds": {**seeds, "description": "of each point: how many, or which"},
        "require": {**rules, "description": "rules that every point keeps"},
        "zip": {**together, "description": "axes that move together, a table each"},
    }
    for section in RunConfig.model_fields:
        properties[section] = {
            "anyOf": [_VALUES, {"type": "object", "additionalProperties": axis}],
            "description": f"axes of [{section}]",
        }
    return {"type": "object", "properties": properties, "additionalProperties": axis}


def _model(schema: Schema) -> Schema:
    return _inlined(schema, schema.get("$defs", {}))


def _inlined(schema: Schema, definitions: Schema) -> Schema:
    """Return a schema without references, titles and the null that TOML has not."""
    if "$ref" in schema:
        named = _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return named | {key: value for key, value in schema.items() if key in ("description",)}
    made: Schema = {}
    for key, value in schema.items():
        if key in ("title", "$defs", "discriminator") or (key == "default" and value is None):
            continue
        if key == "anyOf":
            kept = [_inlined(part, definitions) for part in value if part.get("type") != "null"]
            made |= kept[0] if len(kept) == 1 else {"anyOf": kept}
        elif key == "oneOf":
            made[key] = [_inlined(part, definitions) for part in value]
        elif key == "properties":
            made[key] = {name: _inlined(part, definitions) for name, part in value.items()}
        else:
            made[key] = value
    return made

"""Write docs/configuration.md from the schema: `python docs/generate.py`. A test keeps it true."""

from __future__ import annotations

import sys
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.ablation.settings import SECTION, AblationSettings
from orchestrator.settings import VARIANTS
from trainer.config import RunConfig
from trainer.identity import DECIDING, LABELS


def reference() -> str:
    """Return every setting of every section as Markdown."""
    lines = [
        "# Every setting",
        "",
        "Written by `python docs/generate.py`. Order of the layers, last wins: defaults, Hydra",
        "groups (`configs/`), base config, template, scale, command line, the trial's point.",
        "`arbiter plan … --show-config` prints the result with the source of each value.",
    ]
    variants = {key.partition(".")[0]: (key, models) for key, models in VARIANTS.items()}
    for section, info in RunConfig.model_fields.items():
        decides = "decides the result" if section in DECIDING else "never decides the result"
        if section in variants:
            key, models = variants[section]
            for model in models:
                kind = model.model_fields[key.partition(".")[2]].default
                lines += ["", f'## [{section}] with {key} = "{kind}"', "", _summary(model, decides)]
                lines += _table(section, model)
        else:
            model = typing.cast(type[BaseModel], info.annotation)
            lines += ["", f"## [{section}]", "", _summary(model, decides), *_table(section, model)]
    about = f"{(AblationSettings.__doc__ or '').strip()} (ablate alone, [how](ablation.md))"
    lines += ["", f"## [{SECTION}]", "", about, *_table(SECTION, AblationSettings)]
    return "\n".join(lines) + "\n"


def _summary(model: type[BaseModel], decides: str) -> str:
    first = (model.__doc__ or "").strip().splitlines()[0]
    return f"{first} ({decides})"


def _table(section: str, model: type[BaseModel]) -> list[str]:
    return ["", "| key | values | default | |", "|---|---|---|---|", *_rows(section, model())]


def _rows(section: str, table: BaseModel, about: str = "") -> list[str]:
    lines = []
    for name, info in type(table).model_fields.items():
        if isinstance(inner := getattr(table, name), BaseModel):
            lines += _rows(f"{section}.{name}", inner, info.description or "")
            continue
        label = " (label)" if name in LABELS.get(section, ()) else ""
        default = "none" if inner is None else f"`{str(inner).lower()}`"
        lines.append(
            f"| `{section}.{name}` | {_values(info)} | {default} | {info.description or about}{label} |"
        )
    return lines


def _values(info: FieldInfo) -> str:
    parts = [part for part in _kinds(info.annotation) if part != "NoneType"]
    bounds = []
    for item in info.metadata:
        for sign, attribute in ((">=", "ge"), (">", "gt"), ("<=", "le"), ("<", "lt")):
            if (bound := getattr(item, attribute, None)) is not None:
                bounds.append(f"{sign} {bound}")
    return ", ".join([" \\| ".join(parts), *bounds])


def _kinds(annotation: object) -> list[str]:
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return _kinds(arguments[0])
    if typing.get_origin(annotation) is typing.Literal:
        return [f"`{argument}`" for argument in arguments]
    if typing.get_origin(annotation) is list:
        return [f"list of {' | '.join(_kinds(arguments[0]))}"]
    if typing.get_origin(annotation) is dict:
        return ["table"]
    if arguments:
        return [kind for argument in arguments for kind in _kinds(argument)]
    return [getattr(annotation, "__name__", str(annotation))]


if __name__ == "__main__":
    target = Path(__file__).with_name("configuration.md")
    target.write_text(reference(), encoding="utf-8")
    sys.exit(0)

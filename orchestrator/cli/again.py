"""What was asked for as another command: `arbiter plan …` is followed by `arbiter sweep …`."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.request import Request

PLAIN = re.compile(r"[\w./~+-]+", re.ASCII)
"""Values that need no quotes in Hydra's grammar of overrides."""


def setting(key: str, value: object) -> str:
    """Return `key=value` as an argument that is read as that one value, whatever is in it."""
    text = str(value)
    if PLAIN.fullmatch(text):
        return f"{key}={text}"
    escaped = re.sub(r"(\\*)(')", r"\1\1\\\2", text)  # backslashes before a quote are doubled
    end = re.search(r"\\*$", escaped)
    return f"{key}='{escaped}{end.group() if end else ''}'"


def typed_as(
    command: str,
    request: Request,
    *,
    gpus: int | None,
    reuse: str | None = None,
    strict: bool = False,
) -> str:
    """Return the command that carries out a request, as it is typed in a shell.

    Args:
        command: One that takes all that the request asks for.
        request: What was asked for.
        gpus: As typed; None where it was not.
        reuse: As typed.
        strict: Whether it was typed.
    """
    given = {
        "--base-config": request.base_config,
        "--strategy": request.strategy,
        "--search": request.search,
        "--scale": request.scale,
        "--seeds": request.seeds,
        "--max-trials": request.max_trials,
        "--gpus": gpus,
        "--tier": request.tier,
        "--reuse": reuse,
    }
    words = ["arbiter", command]
    for option, value in given.items():
        if value is not None:
            words += [option, str(value)]
    if strict:
        words.append("--strict")
    return shlex.join([*words, *request.overrides])

"""`{{DIM}}` in a file: a setting by its short name in capitals, to be filled by somebody else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

PLACEHOLDER = re.compile(r"\{\{[ \t]*([A-Za-z_]\w*)[ \t]*\}\}")
BARE = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)|\'\'\'.*?(?:\'\'\'|\Z)'
    r'|"(?:\\.|[^"\\\n])*"?|\'[^\'\n]*\'?|#[^\n]*'
    rf"|(?P<bare>{PLACEHOLDER.pattern})",
    re.DOTALL,
)
"""A string, a comment, or a placeholder that stands in neither. A string that is not closed is taken
to its end all the same, or each of its quotes would be tried anew."""
OPEN, CLOSE = "'\ue000", "\ue001'"
"""As long as the braces, so that the columns of a mistake stay those of the file."""


def quoted(text: str) -> str:
    """Return a TOML text with its bare placeholders as strings; they are not valid TOML."""

    def mark(match: re.Match[str]) -> str:
        bare = match["bare"]
        return match[0] if bare is None else f"{OPEN}{bare[2:-2]}{CLOSE}"

    return BARE.sub(mark, text) if "{{" in text else text


def unquoted(value: Any) -> Any:
    """Return parsed content with its placeholders as the file has them."""
    if isinstance(value, dict):
        return {unquoted(key): unquoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unquoted(item) for item in value]
    if isinstance(value, str):
        return value.replace(OPEN[1], "{{").replace(CLOSE[0], "}}")
    return value


def names_in(value: Any) -> list[str]:
    """Return the names of the placeholders in a value."""
    if isinstance(value, list):
        return [name for item in value for name in names_in(item)]
    return PLACEHOLDER.findall(value) if isinstance(value, str) else []


def is_whole(value: Any) -> bool:
    """Return whether a value is one placeholder and nothing else."""
    return isinstance(value, str) and PLACEHOLDER.fullmatch(value.strip()) is not None


def filled(value: str, lookup: Callable[[str], Any]) -> Any:
    """Return a value with its placeholders filled; a whole one takes the type of what fills it.

    Args:
        value: Text with placeholders.
        lookup: Name to value; a `KeyError` says that there is none.

    Raises:
        KeyError: One has no value.
    """
    if is_whole(value):
        return lookup(names_in(value)[0])
    return PLACEHOLDER.sub(lambda match: str(lookup(match[1])), value)

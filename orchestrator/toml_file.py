"""Read a configuration file: its values by dotted key, each with the line it stands on."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, UsageError

LARGEST_BYTES = 1_000_000


@dataclass(frozen=True)
class ConfigFile:
    """A parsed file.

    Args:
        path: Where it was read from.
        tables: Its content.
        lines: Line number of each dotted key, where it could be found.
    """

    path: Path
    tables: dict[str, Any]
    lines: dict[str, int]

    def place(self, key: str) -> str:
        """Return `file:line` of a dotted key, or the file alone."""
        line = self.lines.get(key)
        return f"{self.path}:{line}" if line is not None else str(self.path)


def read_config_file(path: Path) -> ConfigFile:
    """Read a TOML file, or the YAML snapshot of a trial.

    Raises:
        UsageError: It is missing, too large, not text or not well formed.
    """
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise UsageError(Problem("is a folder: expected a TOML file", str(path)))
        if size > LARGEST_BYTES:
            raise UsageError(
                Problem(f"{size} bytes: a configuration has at most {LARGEST_BYTES}", str(path))
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(Problem(f"cannot read the file: {error.strerror}", str(path))) from error
    except UnicodeDecodeError as error:
        raise UsageError(Problem(f"not UTF-8 text: {error.reason}", str(path))) from error
    if path.suffix in (".yaml", ".yml"):
        return ConfigFile(path, _parse_yaml(path, text), {})
    return ConfigFile(path, _parse_toml(path, text), find_lines(text))


def flatten(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one dict by dotted key; empty tables vanish."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """Return dotted keys as nested tables.

    Raises:
        UsageError: A key is used as a value and as a table.
    """
    tables: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, leaf = key.split(".")
        table = tables
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UsageError(f"{key}: {parent} is a value, not a table")
        table[leaf] = value
    return tables


def find_lines(text: str) -> dict[str, int]:
    """Return the line number of each key of a TOML text, by dotted name."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
            table = header.group(1).replace('"', "").replace("'", "")
            lines.setdefault(table, number)
        elif assignment := re.match(r"""\s*([A-Za-z0-9_.\-"']+)\s*=""", line):
            key = assignment.group(1).replace('"', "").replace("'", "")
            lines.setdefault(f"{table}.{key}" if table else key, number)
    return lines


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        message = str(error)
        place = str(path)
        if where:
            line, column = int(where.group(1)), int(where.group(2))
            shown = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
            message = message.replace(where.group(0), "").strip()
            message += f"\n    {shown}\n    {' ' * (column - 1)}^"
            place = f"{path}:{line}:{column}"
        raise UsageError(Problem(f"not valid TOML: {message}", place)) from error


def _parse_yaml(path: Path, text: str) -> dict[str, Any]:
    import yaml

    try:
        tables = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(Problem(f"not valid YAML: {error}", str(path))) from error
    if not isinstance(tables, dict):
        raise UsageError(Problem("not a table of settings", str(path)))
    return tables

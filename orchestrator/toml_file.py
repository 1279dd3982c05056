"""Read a configuration file: its values by dotted key, each with the line it stands on."""

from __future__ import annotations

import contextlib
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, UsageError, nearest
from orchestrator.placeholders import quoted, unquoted

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
        """Return `file:line` of a dotted key, of the table it is in, or of the first key in it."""
        while key:
            inside = (line for name, line in self.lines.items() if name.startswith(f"{key}."))
            line = self.lines.get(key) or next(inside, None)
            if line is not None:
                return f"{self.path}:{line}"
            key = key.rpartition(".")[0]
        return str(self.path)


def read_config_file(path: Path) -> ConfigFile:
    """Read a TOML file, or the YAML snapshot of a trial.

    Raises:
        UsageError: It is missing, too large, not text or not well formed.
    """
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise UsageError(Problem("got a folder, expected a TOML file", str(path)))
        if not path.is_file():  # a pipe or a device may never end
            raise UsageError(Problem("got no regular file, expected a TOML file", str(path)))
        if size > LARGEST_BYTES:
            raise UsageError(
                Problem(f"got {size:,} bytes, expected at most {LARGEST_BYTES:,}", str(path))
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = Problem(f"cannot read the file: {error.strerror}", str(path), _beside(path))
        raise UsageError(problem) from error
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at offset {error.start}"
        raise UsageError(Problem(f"not UTF-8 text: {found}", str(path))) from error
    if path.suffix in (".yaml", ".yml"):
        return ConfigFile(path, _parse_yaml(path, text), {})
    return ConfigFile(path, _parse_toml(path, text), find_lines(text))


def _beside(path: Path) -> str:
    """Name the file in the same folder whose name is nearest."""
    with contextlib.suppress(OSError):
        close = nearest(path.name, [p.name for p in path.parent.iterdir() if p.is_file()])
        return close.removeprefix(" - ")
    return ""


def flatten(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one dict by dotted key; empty tables of the first level vanish."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, dict) and (value or not prefix):
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
        for n, parent in enumerate(parents, start=1):
            outer = ".".join(parents[:n])
            if outer in flat:
                raise UsageError(f"{key}: {outer} is a value, not a table")
            table = table.setdefault(parent, {})
        table[leaf] = value
    return tables


def find_lines(text: str) -> dict[str, int]:
    """Return the line number of each key of a TOML text, by dotted name."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
            table = header.group(1).replace('"', "").replace("'", "")
            lines.setdefault(table, number)
        elif assignment := re.match(r"""\s*((?:[A-Za-z0-9_.\-]|"[^"]*"|'[^']*')+)\s*=""", line):
            key = assignment.group(1).replace('"', "").replace("'", "")
            lines.setdefault(f"{table}.{key}" if table else key, number)
    return lines


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        tables = tomllib.loads(quoted(text))
        return unquoted(tables) if "{{" in text else tables
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(
            r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL
        )
        assert found is not None, error
        lines = text.rstrip().split("\n")
        line = int(found.group(2) or len(lines))
        shown = lines[line - 1].rstrip("\r") if line <= len(lines) else ""
        column = int(found.group(3) or len(shown) + 1)
        message = f"not valid TOML: {found.group(1)}\n{_pointed(shown, column)}"
        raise UsageError(Problem(message, f"{path}:{line}:{column}")) from error
    except RecursionError as error:
        raise UsageError(Problem("not valid TOML: nested too deeply", str(path))) from error
    except ValueError as error:  # a whole number of thousands of digits
        raise UsageError(Problem(f"not valid TOML: {error}", str(path))) from error


def _pointed(line: str, column: int) -> str:
    """Return the part of a line around a column, from 1, and a caret under it."""
    first = max(0, column - 60)
    shown = line[first : column + 20].replace("\t", " ")
    return f"    {shown}\n    {' ' * (column - 1 - first)}^"


def _parse_yaml(path: Path, text: str) -> dict[str, Any]:
    import yaml

    try:
        tables = yaml.load(text, _yaml_loader())
    except yaml.MarkedYAMLError as error:
        message, place, mark = f"not valid YAML: {error.problem}", str(path), error.problem_mark
        if mark is not None:
            lines = text.split("\n")
            shown = lines[mark.line].rstrip("\r") if mark.line < len(lines) else ""
            place = f"{path}:{mark.line + 1}:{mark.column + 1}"
            message += f"\n{_pointed(shown, mark.column + 1)}"
        raise UsageError(Problem(message, place)) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(Problem(f"not valid YAML: {error}", str(path))) from error
    if tables is None:
        return {}
    if not isinstance(tables, dict) or not all(isinstance(key, str) for key in tables):
        got = f"got {type(tables).__name__}" if not isinstance(tables, dict) else "got other keys"
        message = f"{got}, expected sections by name, as in the config.yaml of a trial"
        raise UsageError(Problem(message, str(path)))
    return tables


@cache
def _yaml_loader() -> Any:
    """Return a loader of plain values: 3e-4 is a number, and nothing is given twice or by alias."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):  # a few lines of them make a file of gigabytes
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(None, None, "aliases are not read", mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if str(key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} is given twice", key.start_mark
                    )
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    number = re.compile(r"[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    return Loader

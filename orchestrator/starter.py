"""The template that `arbiter init` writes: every table with what it is for."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import Problem, UsageError


def write_starter(path: Path) -> None:
    """Write the commented template into a new file.

    Raises:
        UsageError: The file exists, is no TOML file by its name, or its folder cannot be written
            to.
    """
    if path.suffix != ".toml":
        message = f"got {str(path)!r}, expected the name of a .toml file"
        raise UsageError(Problem(message, "FILE", f"arbiter init {path.name or 'sweep'}.toml"))
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        hint = f"another name, or arbiter plan --strategy {path}"
        raise UsageError(Problem("it exists, and is not overwritten", str(path), hint)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(Problem(f"cannot write the file: {reason}", str(path))) from error

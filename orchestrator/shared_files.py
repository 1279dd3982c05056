"""Where the files that ship are: Hydra groups and sweep templates."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from orchestrator.errors import Problem, UsageError, nearest


def find(folder: str) -> Path:
    """Return `configs` or `sweep_templates`: the checkout's first, then the installed ones."""
    checkout = Path(__file__).resolve().parent.parent / folder
    if checkout.is_dir():
        return checkout
    return Path(sysconfig.get_path("data")) / "share" / "arbiter" / folder


def find_template(name: str) -> Path:
    """Return the file of a template's name or path.

    Raises:
        UsageError: There is none.
    """
    folder = find("sweep_templates")
    for path in (Path(name), folder / f"{name}.toml"):
        if path.is_file():
            return path
    known = sorted(path.stem for path in folder.glob("*.toml"))
    raise UsageError(
        Problem(
            f"no sweep template {name!r}{nearest(name, known)}",
            "--strategy",
            f"one of {', '.join(known)}, or the path of a TOML file",
        )
    )

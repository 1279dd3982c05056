"""Where the files that ship are: Hydra groups, sweep templates, what Prometheus and Grafana load."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from orchestrator.errors import Problem, UsageError, nearest


def find(folder: str) -> Path:
    """Return `configs`, `sweep_templates` or `monitoring`: the checkout's, or the installed one."""
    packages = Path(__file__).resolve().parent.parent
    if (packages / "pyproject.toml").is_file():  # site-packages may hold anybody's `configs`
        return packages / folder
    # The environment's own, or that of the one whose packages it was given to use.
    prefixes = [Path(sysconfig.get_path("data")), *packages.parents[2:3]]
    places = [prefix / "share" / "arbiter" / folder for prefix in prefixes]
    return next((place for place in places if place.is_dir()), places[0])


def find_template(name: str) -> Path:
    """Return the file of a template's name, or the path as it is given.

    Raises:
        UsageError: There is none.
    """
    shipped = {path.stem: path for path in sorted(find("sweep_templates").glob("*.toml"))}
    if name in shipped:
        return shipped[name]
    if name.endswith(".toml") or os.path.lexists(name):
        return Path(name)
    known = tuple(shipped)
    raise UsageError(
        Problem(
            f"no sweep template {name!r}{nearest(name, known)}",
            "--strategy",
            f"one of {', '.join(known)}, or the path of a TOML file",
        )
    )

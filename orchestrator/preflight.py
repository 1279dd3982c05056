"""What must be right of an installation before anything is planned or trained.

Another package of the name `trainer` or `orchestrator` may stand before ours on the path; a
library may be missing or too old. Both are looked up by name: nothing is imported for it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import Problem, UsageError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGES = ("orchestrator", "trainer")
DISTRIBUTION = "arbiter-sweep"
ROOT = Path(__file__).resolve().parent.parent
"""The folder that our packages lie in: a checkout, or an environment's site-packages."""


def check_ready(*, with_workers: bool) -> None:
    """Refuse to train with other packages or older libraries than ours.

    Args:
        with_workers: Whether Ray's workers are started; they also look in the current folder.

    Raises:
        UsageError: All that is wrong.
    """
    problems = [*shadowed(with_workers=with_workers), *wrong_libraries()]
    if problems:
        raise UsageError(*problems)


def shadowed(*, with_workers: bool) -> list[Problem]:
    """Return a problem for each of our packages that another one stands before."""
    problems = []
    for name in PACKAGES:
        ours = ROOT / name / "__init__.py"
        other = _file(importlib.util.find_spec(name))
        if other is not None and other != ours:
            message = f"this is not arbiter's package {name}, and stands before it on the path"
            hint = f"run arbiter without {_folder(other)} on the path (PYTHONPATH), or rename it"
            problems.append(Problem(f"{message}: {ours}", str(other), hint))
            continue
        here = _file(PathFinder.find_spec(name, [str(Path.cwd())])) if with_workers else None
        if here is not None and here != ours:
            message = f"Ray's workers would take this for arbiter's package {name}"
            hint = "start arbiter from another folder, rename it, or use --executor inline"
            problems.append(Problem(message, str(here), hint))
    return problems


def _file(spec: ModuleSpec | None) -> Path | None:
    """Return the file a package would be loaded from; a folder without one is none."""
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    return Path(spec.origin).resolve()


def _folder(file: Path) -> Path:
    """Return the entry of the path that a package's file was found under."""
    return file.parent.parent if file.name == "__init__.py" else file.parent


@dataclass(frozen=True)
class Library:
    """A library that arbiter needs.

    Args:
        requirement: As it is stated.
        wanted_by: Whose requirement it is: ours, or an extra of another library.
        version: What is installed; None where it is missing.
    """

    requirement: Requirement
    wanted_by: str
    version: str | None

    @property
    def problem(self) -> Problem | None:
        """What is wrong with it, and the pip line that mends it."""
        name, floor = self.requirement.name, self.requirement.specifier
        wanted = f"{name}{floor}" if str(floor) else name
        extra = f" ({self.wanted_by} needs it)" if self.wanted_by != DISTRIBUTION else ""
        if self.version is None:
            message = f"{name} is not installed, expected {wanted}{extra}"
        elif not floor.contains(self.version, prereleases=True):
            message = f"{name}: got version {self.version}, expected {wanted}{extra}"
        else:
            return None
        asked = str(self.requirement) if not extra else self.wanted_by
        return Problem(message, sys.prefix, f"{sys.executable} -m pip install '{asked}'")


def wrong_libraries() -> list[Problem]:
    """Return a problem for each library that is missing or too old."""
    return [library.problem for library in libraries() if library.problem is not None]


def libraries() -> Iterator[Library]:
    """Yield what arbiter needs: its requirements, and those of the extras it asks for."""
    from packaging.requirements import Requirement

    for text in stated_requirements():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _version(requirement.name)
        yield Library(requirement, DISTRIBUTION, version)
        if version is not None and requirement.extras:
            yield from _of_extras(requirement)


def _of_extras(wanted: Requirement) -> Iterator[Library]:
    from packaging.requirements import Requirement

    for text in importlib.metadata.requires(wanted.name) or ():
        if not any(extra in text for extra in wanted.extras):  # the rest is not worth parsing
            continue
        part = Requirement(text)
        if part.marker is not None and any(
            part.marker.evaluate({"extra": extra}) for extra in wanted.extras
        ):
            yield Library(part, str(wanted), _version(part.name))


def stated_requirements() -> list[str]:
    """Return what we require: of the checkout, or as it was installed."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        stated = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
        if stated.get("name") == DISTRIBUTION:
            return [*stated["dependencies"]]
    return importlib.metadata.requires(DISTRIBUTION) or []


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

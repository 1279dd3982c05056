"""The data set that a run trains on where none is given: simulated once, kept in the cache.

Of all the planets that were ever asked for there is one copy; a data set of any size holds links to
the first of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.tasks.ariel.simulation.recipe import VERSION, Recipe

if TYPE_CHECKING:
    from trainer.tasks.ariel.simulation.planet import Planet

RECIPE = Recipe(planets=1, seed=2025, exposures=187, rows=4, fgs1_side=4, truth=False)
"""Of each size, but for its planets: an exposure a frame, about 1 MB a planet."""


def built_in_hash(planets: int) -> str:
    """Return a hash of everything that decides the data set; makes nothing.

    Raises:
        InputError: There is no such number of planets.
    """
    return _hash(replace(RECIPE, planets=planets))


def built_in(planets: int) -> Path:
    """Return the folder of the data set with the first so many planets, made if it is not there.

    One process makes it, others that ask for it wait. A larger one contains a smaller one.

    Raises:
        InputError: There is no such number of planets.
        OSError: The cache cannot be written to.
    """
    from trainer.tasks.ariel.cache import folder

    recipe = replace(RECIPE, planets=planets)
    base = folder() / "simulated" / _hash(RECIPE)[:16]
    root = base / str(planets)
    if not root.is_dir():
        from filelock import FileLock

        base.mkdir(parents=True, exist_ok=True)
        with FileLock(base / ".lock"):
            if not root.is_dir():
                _tidy(base)
                _make(root, base / "planets", recipe)
    return root


def _tidy(base: Path) -> None:
    """Remove what processes left behind that were killed; the lock is held."""
    for folder in (base, base / "planets"):
        for draft in folder.glob(".*.*"):
            shutil.rmtree(draft, ignore_errors=True)


def _make(root: Path, kept: Path, recipe: Recipe) -> None:
    from trainer.tasks.ariel.simulation.planet import Part, draw_planet
    from trainer.tasks.ariel.simulation.simulate import drafted, folder_of, write_tables
    from trainer.tasks.ariel.simulation.sources import read_sources

    sources = read_sources(recipe)
    planets = [draw_planet(recipe, sources, Part.TRAIN, n) for n in range(recipe.planets)]
    with drafted(root) as draft:
        for planet in planets:
            folder = folder_of(draft, planet)
            folder.parent.mkdir(exist_ok=True)
            _link(_keep(kept, recipe, planet), folder)
        write_tables(draft, recipe, sources, planets)


def _keep(kept: Path, recipe: Recipe, planet: Planet) -> Path:
    """Return the folder of the one copy of a planet, written if it is not there."""
    from trainer.tasks.ariel.simulation.planet import write_planet
    from trainer.tasks.ariel.simulation.simulate import drafted

    place = kept / str(planet.system.planet_id)
    if not place.is_dir():
        with drafted(place) as draft:
            draft.rmdir()
            write_planet(draft, recipe, planet, None)
    return place


def _link(source: Path, target: Path) -> None:
    """Give files a second name; where a file system knows no such thing, copy them."""

    def link(old: str, new: str) -> str:
        try:
            os.link(old, new)
        except OSError:
            shutil.copy2(old, new)
        return new

    shutil.copytree(source, target, copy_function=link)


def _hash(recipe: Recipe) -> str:
    text = json.dumps({"recipe": asdict(recipe), "version": VERSION}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

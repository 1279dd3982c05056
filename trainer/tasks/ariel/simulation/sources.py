"""The spectra and systems of the files that a recipe names, in an order that its seed draws."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.errors import InputError
from trainer.tasks.ariel.simulation.recipe import Recipe
from trainer.tasks.ariel.simulation.systems import numbers_of, read_systems
from trainer.tasks.ariel.tables import SPECTRUM
from trainer.tasks.ariel.visit import System

DEEPEST = 0.04
"""Largest transit depth of a spectrum that is simulated."""


@dataclass(frozen=True, eq=False)
class Sources:
    """What planets are made of; None where it is drawn for each.

    Args:
        spectra: (spectra, 283) in the order in which planets get them.
        systems: In such an order as well.
        hashes: SHA-256 of each file's bytes, by the name of its setting.
    """

    spectra: np.ndarray | None
    systems: tuple[System, ...] | None
    hashes: dict[str, str]

    def spectrum(self, place: int) -> np.ndarray | None:
        """Return the spectrum at a place; a negative one counts from the end."""
        return None if self.spectra is None else self.spectra[place]

    def system(self, place: int) -> System | None:
        """Return the system at a place; a negative one counts from the end."""
        return None if self.systems is None else self.systems[place]


def read_sources(recipe: Recipe) -> Sources:
    """Read the files that a recipe names.

    Raises:
        InputError: One cannot be used, or holds too little for the planets that are asked for.
    """
    spectra, systems, hashes = None, None, {}
    if recipe.spectra is not None:
        spectra = _read_spectra(recipe.spectra)
        _check_number(recipe, recipe.spectra, len(spectra), "spectra")
        spectra = spectra[np.random.default_rng([recipe.seed, 0, 0]).permutation(len(spectra))]
        hashes["spectra"] = _sha256(recipe.spectra)
    if recipe.systems is not None:
        found = read_systems(recipe.systems)
        _check_number(recipe, recipe.systems, len(found), "systems whose planet crosses its star")
        order = np.random.default_rng([recipe.seed, 0, 1]).permutation(len(found))
        systems = tuple(found[place] for place in order)
        hashes["systems"] = _sha256(recipe.systems)
    return Sources(spectra, systems, hashes)


def _read_spectra(path: Path) -> np.ndarray:
    ids, spectra = numbers_of(path, SPECTRUM)
    outside = (spectra.min(1) <= 0) | (spectra.max(1) > DEEPEST)
    if outside.any():
        at = int(outside.argmax())
        raise InputError(
            f"{path}: planet {ids[at]}: got depths from {spectra[at].min():.3g} to"
            f" {spectra[at].max():.3g}, expected (Rp/Rs)² above 0 and at most {DEEPEST}"
        )
    return spectra


def _check_number(recipe: Recipe, path: Path, n: int, what: str) -> None:
    asked = recipe.planets + recipe.test_planets
    if asked > n:
        raise InputError(f"{path}: got {n} {what}, expected at least one a planet: {asked}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

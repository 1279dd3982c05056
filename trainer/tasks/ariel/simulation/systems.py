"""Stars and orbits: drawn from plausible distributions, or taken from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.errors import InputError
from trainer.tasks.ariel import tables
from trainer.tasks.ariel.simulation.light_curves import duration_h
from trainer.tasks.ariel.visit import System

COLUMNS = ("Rs", "Ms", "Ts", "Mp", "e", "P", "sma", "i")
KEPLER_SUN_DAY = 4.2083
"""Semi-major axis in solar radii of a period of one day around one solar mass."""
MOST_GRAZING = 0.9
"""Largest impact parameter: further out the planet never stands before the disc as a whole."""
LONGEST_H = 6.0
"""Longest transit, of a visit of 7.5 hours."""


def draw_system(rng: np.random.Generator, planet_id: int) -> System:
    """Return a planet of 0.05 to 0.4 Jupiter masses around a star of the main sequence."""
    mass = float(np.exp(rng.uniform(np.log(0.7), np.log(1.5))))
    radius = mass * float(np.exp(rng.normal(0, 0.08)))
    kelvin = 5772 * mass**0.55 * float(np.exp(rng.normal(0, 0.02)))
    period = float(rng.uniform(2, 6))
    sma = KEPLER_SUN_DAY * (mass * period**2) ** (1 / 3) / radius
    inclination = math.degrees(math.acos(float(rng.uniform(0, 0.6)) / sma))
    planet = float(np.exp(rng.uniform(np.log(0.05), np.log(0.4))))
    return System(planet_id, radius, mass, kelvin, planet, 0.0, period, sma, inclination)


def read_systems(path: Path) -> tuple[System, ...]:
    """Return the systems of a file whose planets cross their star within a visit.

    Args:
        path: A CSV file with `planet_id, Rs, Ms, Ts, Mp, e, P, sma, i`.

    Raises:
        InputError: A column is missing, a value is none of a star and an orbit, or no planet
            crosses its star.
    """
    ids, values = numbers_of(path, COLUMNS)
    systems = []
    for planet_id, row in zip(ids, values.tolist(), strict=True):
        system = System(planet_id, *row)
        positive = all(getattr(system, name) > 0 for name in ("Rs", "Ms", "Ts", "Mp", "P"))
        if not (positive and system.sma > 1 and 0 <= system.e < 1 and 0 < system.i <= 90):
            raise InputError(
                f"{path}: planet {planet_id}: got {dict(zip(COLUMNS, row, strict=True))}, expected"
                " Rs, Ms, Ts, Mp, P above 0, sma above 1, 0 ≤ e < 1, 0 < i ≤ 90"
            )
        if crosses(system):
            systems.append(system)
    if not systems:
        raise InputError(f"{path}: no planet in it crosses its star within a visit of 7.5 hours")
    return tuple(systems)


def numbers_of(path: Path, names: Sequence[str]) -> tuple[list[int], np.ndarray]:
    """Return the planet ids of a table, and the named columns: (planets, names).

    Raises:
        InputError: It cannot be read, a column is missing, a planet stands twice, or something
            in it is no number.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    rows = tables.read(path).by_planet(names)
    if not rows:
        raise InputError(f"{path}: got no planet, expected a row for each")
    ids, values = list(rows), np.array(list(rows.values()))
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(f"{path}: planet {ids[row]}: {names[column]} is no finite number")
    return ids, values


def crosses(system: System) -> bool:
    """Return whether the whole planet passes before the star, in time for a visit."""
    impact = system.sma * math.cos(math.radians(system.i))
    return impact <= MOST_GRAZING and duration_h(system, 0.01) <= LONGEST_H

"""One planet of a data set, from its star to its files.

Everything about it comes from streams of its own, (seed, part, index, what), so that it stays as it
is whatever other planets a data set holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import numpy as np

from trainer.tasks.ariel.layout import AIRS, FGS1, Instrument, VisitFiles
from trainer.tasks.ariel.simulation import detector, files
from trainer.tasks.ariel.simulation.instrument import (
    BRIGHTEST_PIXEL_E,
    COLUMNS,
    TARGETS,
    airs_electrons_per_s,
    airs_um,
    fgs1_electrons_per_s,
    times_h,
    wavelengths_um,
)
from trainer.tasks.ariel.simulation.light_curves import duration_h, transit
from trainer.tasks.ariel.simulation.recipe import Recipe
from trainer.tasks.ariel.simulation.sources import Sources
from trainer.tasks.ariel.simulation.spectra import draw_spectrum
from trainer.tasks.ariel.simulation.star import limb_darkening
from trainer.tasks.ariel.simulation.systematics import VISIT_H, draw_drift, draw_pointing
from trainer.tasks.ariel.simulation.systems import draw_system
from trainer.tasks.ariel.tables import FGS1_UM
from trainer.tasks.ariel.visit import System

BRIGHTNESS_E = (100_000.0, 220_000.0)
"""Least and most electrons of an AIRS exposure, mean over the columns that are predicted."""
OFF_CENTRE_H = 0.6
"""Most that the middle of a transit is off the middle of its visit."""
OUT_OF_TRANSIT_H = 0.5
"""Least time before and after the transit."""


class Part(IntEnum):
    """Where a planet stands."""

    TRAIN = 1
    TEST = 2


class Stream(IntEnum):
    """What a random number is for."""

    SYSTEM = 1
    SPECTRUM = 2
    STAR = 3
    VISITS = 4
    LIGHT = 5  # and the visit
    AIRS_PIXELS = 6  # and the visit
    FGS1_PIXELS = 7  # and the visit


@dataclass(frozen=True, eq=False)
class Planet:
    """What is true of a planet.

    Args:
        part: Where it stands.
        index: Its place there.
        system: Its star and its orbit.
        depth: Transit depth at the wavelengths of a spectrum: (283,).
        brightness_e: Electrons of an AIRS exposure, mean over the columns that are predicted.
        visits: How often it is observed.
    """

    part: Part
    index: int
    system: System
    depth: np.ndarray
    brightness_e: float
    visits: int


def draw_planet(recipe: Recipe, sources: Sources, part: Part, index: int) -> Planet:
    """Return what is true of a planet."""
    planet_id = {Part.TRAIN: 100_001, Part.TEST: 900_001}[part] + index
    system = sources.system(_place(part, index))
    if system is None:
        system = draw_system(_stream(recipe, part, index, Stream.SYSTEM), planet_id)
    system = replace(system, planet_id=planet_id)
    depth = sources.spectrum(_place(part, index))
    if depth is None:
        rng = _stream(recipe, part, index, Stream.SPECTRUM)
        depth = draw_spectrum(rng, system, wavelengths_um())
    star = _stream(recipe, part, index, Stream.STAR)
    brightness = float(np.exp(star.uniform(*np.log(BRIGHTNESS_E))))
    twice = _stream(recipe, part, index, Stream.VISITS).random() < recipe.visits - 1
    return Planet(part, index, system, depth, brightness, 2 if twice else 1)


def write_planet(folder: Path, recipe: Recipe, planet: Planet, truth: Path | None) -> None:
    """Write the files of a planet.

    Args:
        folder: Where to; made here.
        recipe: How it is observed.
        planet: What is true of it.
        truth: Folder for its light curves without noise; None: they are not written.
    """
    folder.mkdir(parents=True)
    planet_id = planet.system.planet_id
    for visit in range(planet.visits):
        suffix = f"_{visit}" if recipe.edition == "2025" else ""
        observed = _observe(VisitFiles(planet_id, visit, folder, suffix), recipe, planet)
        if truth is not None:
            file = truth / f"{planet_id}_{visit}.npz"
            np.savez(file, allow_pickle=False, depth=planet.depth, **observed)


def _observe(out: VisitFiles, recipe: Recipe, planet: Planet) -> dict[str, np.ndarray]:
    """Write the files of one visit; return what is true of it."""
    system, coadded = planet.system, recipe.coadded
    rng = _stream(recipe, planet.part, planet.index, Stream.LIGHT, out.visit)
    airs_h, fgs1_h = (times_h(one, recipe.exposures, coadded) for one in (AIRS, FGS1))
    mid_h = _draw_middle(rng, duration_h(system, float(planet.depth.max())))
    drift = draw_drift(rng)
    pointing = draw_pointing(rng, fgs1_h, coadded)
    airs_rows = detector.point_spread(recipe.rows, pointing[:, 0].reshape(len(airs_h), -1).mean(1))
    fgs1_rows, fgs1_columns = (detector.point_spread(recipe.fgs1_side, p) for p in pointing.T)

    um = airs_um()
    airs_transit = transit(
        airs_h, mid_h, system, _by_column(planet.depth), limb_darkening(um, system.Ts)
    )
    limb = limb_darkening(np.array([FGS1_UM]), system.Ts)
    fgs1_transit = transit(fgs1_h, mid_h, system, planet.depth[:1], limb)

    airs_star, fgs1_star = _electrons_per_s(planet, float(airs_rows.max()))
    airs_light = airs_star * airs_transit * drift.airs(airs_h, um)
    fgs1_light = (fgs1_star * fgs1_transit[:, 0] * drift.of_fgs1(fgs1_h))[:, None] * fgs1_columns

    airs_seen = _write_instrument(out, recipe, planet, AIRS, airs_rows, airs_light)
    fgs1_seen = _write_instrument(out, recipe, planet, FGS1, fgs1_rows, fgs1_light)
    return {
        "mid_h": np.array(mid_h - airs_h[0]),
        "airs_h": airs_h - airs_h[0],
        "airs_transit": _by_wavelength(airs_transit),
        "airs_electrons": _by_wavelength(airs_seen),
        "fgs1_h": fgs1_h - airs_h[0],
        "fgs1_transit": fgs1_transit[:, 0].astype(np.float32),
        "fgs1_electrons": fgs1_seen.sum(1).astype(np.float32),
    }


def _write_instrument(
    out: VisitFiles,
    recipe: Recipe,
    planet: Planet,
    instrument: Instrument,
    along_rows: np.ndarray,
    light: np.ndarray,
) -> np.ndarray:
    """Write an instrument's files; return the electrons that its good pixels expect by column."""
    stream = Stream.AIRS_PIXELS if instrument is AIRS else Stream.FGS1_PIXELS
    rng = _stream(recipe, planet.part, planet.index, stream, out.visit)
    pixels = detector.draw_pixels(rng, instrument, along_rows.shape[1], light.shape[1])
    counts = detector.counts(
        rng, instrument, along_rows, light, pixels, coadded=recipe.coadded, noise=recipe.noise
    )
    files.write_frames(out.signal(instrument), counts)
    files.write_pixels(out.calibration(instrument, "dark").parent, pixels)
    return detector.expected_electrons(instrument, along_rows, light, pixels)


def _electrons_per_s(planet: Planet, largest_share: float) -> tuple[np.ndarray, float]:
    """Return the star in each column of AIRS, and in FGS1, electrons per second."""
    kelvin = planet.system.Ts
    airs = airs_electrons_per_s(kelvin, planet.brightness_e)
    peak_e = float(airs.max()) * AIRS.integration_s[1] * largest_share
    dimmed = min(1.0, BRIGHTEST_PIXEL_E / peak_e)
    return airs * dimmed, fgs1_electrons_per_s(kelvin, planet.brightness_e * dimmed)


def _draw_middle(rng: np.random.Generator, duration_h: float) -> float:
    """Return the middle of the transit, hours from the start of the visit."""
    room_h = max(0.0, (VISIT_H - duration_h) / 2 - OUT_OF_TRANSIT_H)
    return VISIT_H / 2 + min(OFF_CENTRE_H, room_h) * float(rng.uniform(-1, 1))


def _by_column(depth: np.ndarray) -> np.ndarray:
    """Return the depth in each column of AIRS; those beside the spectrum go on as it ends."""
    before, after = TARGETS.start, COLUMNS - TARGETS.stop
    return np.pad(depth[:0:-1], (before, after), mode="edge")


def _by_wavelength(columns: np.ndarray) -> np.ndarray:
    """Return AIRS light curves (exposures, 356) by rising wavelength: (exposures, 282)."""
    return columns[:, TARGETS][:, ::-1].astype(np.float32)


def _place(part: Part, index: int) -> int:
    """Return a planet's place in the order of a file: those for tests come from its end."""
    return index if part is Part.TRAIN else -1 - index


def _stream(recipe: Recipe, part: Part, index: int, *what: int) -> np.random.Generator:
    return np.random.default_rng([recipe.seed, part, index, *what])

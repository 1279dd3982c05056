"""What is simulated: orbits, stars, spectra, pixels, each against a law or a case worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from trainer.tasks.ariel.layout import AIRS, FGS1
from trainer.tasks.ariel.simulation import Recipe
from trainer.tasks.ariel.simulation.detector import counts, draw_pixels, point_spread
from trainer.tasks.ariel.simulation.instrument import (
    ADC_GAIN,
    ADC_OFFSET,
    TARGETS,
    airs_electrons_per_s,
    airs_um,
    times_h,
    wavelengths_um,
)
from trainer.tasks.ariel.simulation.light_curves import duration_h, transit
from trainer.tasks.ariel.simulation.planet import Part, draw_planet
from trainer.tasks.ariel.simulation.sources import read_sources
from trainer.tasks.ariel.simulation.spectra import (
    equilibrium_k,
    opacity,
    radius_m,
    scale_height_m,
)
from trainer.tasks.ariel.simulation.star import emergent, limb_darkening
from trainer.tasks.ariel.simulation.systems import draw_system
from trainer.tasks.ariel.visit import System

HD_209458_B = System(1, 1.155, 1.119, 6065.0, 0.682, 0.0, 3.52475, 8.76, 86.71)
"""Torres, Winn & Holman 2008 (ApJ 677, 1324)."""


def test_the_axes_are_those_of_the_challenge() -> None:
    """At the published number of exposures; with fewer, the same hours."""
    assert times_h(AIRS, 5625, 1)[1] * 3600 == pytest.approx(4.8)
    assert times_h(FGS1, 5625, 1)[1] * 3600 == pytest.approx(0.4)
    few = times_h(AIRS, 187, 30)
    assert few[0] * 3600 == pytest.approx(14.5 * 4.8)  # the middle of the first thirty
    assert few[-1] == pytest.approx(7.5, abs=0.06)
    assert airs_um()[[0, -1]] == pytest.approx([4.0785, 1.6333], abs=1e-4)
    assert wavelengths_um()[[0, 1, -1]] == pytest.approx([0.7, 1.951761, 3.895036], abs=1e-6)


@pytest.mark.parametrize("spread", [0.0, 1e-4, 1.5e-3])
def test_the_transit_is_batmans_within_a_ppm(spread: float) -> None:
    import batman

    um = airs_um()[TARGETS][::20]
    rng = np.random.default_rng(0)
    for _ in range(3):
        system = draw_system(rng, 1)
        depth = 6e-3 + spread * rng.uniform(-0.5, 0.5, len(um))
        limb = limb_darkening(um, system.Ts)
        hours = np.linspace(0, 7.5, 151)
        found = transit(hours, 3.6, system, depth, limb)
        for column, (one, u) in enumerate(zip(depth, limb, strict=True)):
            params = batman.TransitParams()
            params.t0, params.per, params.ecc, params.w = 3.6, system.P * 24, system.e, 90.0
            params.a, params.inc, params.rp = system.sma, system.i, math.sqrt(one)
            params.limb_dark, params.u = "quadratic", list(u)
            direct = batman.TransitModel(params, hours).light_curve(params)
            assert np.abs(found[:, column] - direct).max() < 1e-6
        assert found.min() < 1 - 0.8 * depth.min()


def test_the_duration_of_a_transit() -> None:
    """HD 209458 b: 3.07 hours from first to last contact (Torres, Winn & Holman 2008)."""
    assert duration_h(HD_209458_B, 0.01460) == pytest.approx(3.07, abs=0.06)
    assert duration_h(replace(HD_209458_B, i=80.0), 0.0146) == 0


def test_the_scale_height_of_a_planet_worked_by_hand() -> None:
    """HD 209458 b: 1.38e-23 J/K × 1,449 K / (2.3 × 1.66e-27 kg × 9.2 m/s²) = 570 km."""
    kelvin = equilibrium_k(HD_209458_B)
    assert kelvin == pytest.approx(6065 / math.sqrt(2 * 8.76))  # 1,449 K
    height = scale_height_m(kelvin, 0.682, 1.359 * 7.1492e7)
    assert height == pytest.approx(1.380649e-23 * 1449 / (2.3 * 1.66054e-27 * 9.155), rel=0.005)
    assert 500e3 < height < 600e3
    assert scale_height_m(kelvin, 2 * 0.682, 1.359 * 7.1492e7) == pytest.approx(height / 2)


def test_the_radius_follows_from_the_mass() -> None:
    """Neptune, 17.15 Earth masses: Chen & Kipping's relation gives 4.3 Earth radii (it has 3.9)."""
    neptune = replace(HD_209458_B, Mp=17.15 / 317.83)
    assert radius_m(neptune, 0.0) / 6.3781e6 == pytest.approx(0.808 * 17.15**0.589, rel=0.01)
    giant = radius_m(replace(HD_209458_B, Mp=1.0, Rs=2.0), 0.0)
    assert giant / 6.3781e6 == pytest.approx(0.808 * 132**0.589 * (317.83 / 132) ** -0.044)
    # Before a smaller star it would be deeper than a depth may be.
    kept = radius_m(replace(HD_209458_B, Mp=1.0), 0.0)
    assert (kept / (1.155 * 6.957e8)) ** 2 == pytest.approx(1e-2)


def test_bands_stand_at_their_wavelengths() -> None:
    um = np.array([2.02, 2.10, 2.72, 3.32, 3.60])
    none = {"H2O": 0.0, "CO2": 0.0, "CH4": 0.0, "CO": 0.0}
    assert opacity(um, none, 0.0) == pytest.approx(np.ones(5))
    co2 = opacity(um, none | {"CO2": 2.0}, 0.0)
    assert co2[0] == pytest.approx(1 + 2.0 * 0.5, rel=1e-6)
    assert co2[0] > 1.5 * co2[1] and co2[2] > 5 > co2[3]
    methane = opacity(um, none | {"CH4": 2.0}, 0.0)
    assert methane[3] > 3 * methane[4] > 3
    hazy = opacity(np.array([0.7, 1.4]), none, 2.0)
    assert hazy == pytest.approx([3.0, 1 + 2.0 / 16])


def test_limb_darkening_is_the_classical_law_over_all_wavelengths() -> None:
    """Eddington: I(μ)/I(1) = (2 + 3μ)/5."""
    um = np.geomspace(0.1, 100, 600)
    mu = np.array([0.2, 0.6, 1.0])
    total = np.trapezoid(emergent(um, 5772.0, mu), um, axis=0)
    assert total / total[-1] == pytest.approx((2 + 3 * mu) / 5, rel=2e-3)
    u = limb_darkening(np.array([0.7, 2.0, 3.9]), 5772.0).sum(1)
    assert u[0] > u[1] > u[2] > 0.1
    assert limb_darkening(np.array([0.7]), 4500.0).sum() > u[0]  # a cooler star darkens more


def test_the_spectra_are_worth_learning() -> None:
    """Depths of 1e-3 to 1e-2 that vary by some 30 to 150 ppm with the wavelength."""
    recipe = Recipe(planets=60)
    sources = read_sources(recipe)
    planets = [draw_planet(recipe, sources, Part.TRAIN, index) for index in range(60)]
    depth = np.stack([planet.depth for planet in planets])
    assert depth.mean(1).min() > 9e-4 and depth.mean(1).max() < 1.2e-2
    assert 30e-6 < np.median(depth[:, 1:].std(1)) < 100e-6
    durations = [duration_h(planet.system, planet.depth.max()) for planet in planets]
    assert min(durations) > 1 and max(durations) < 6


def test_no_count_leaves_sixteen_bits() -> None:
    """Whatever star and number of rows: the brightest pixel stays below the converter's end."""
    rng = np.random.default_rng(1)
    for rows in (1, 4, 32):
        pixels = draw_pixels(rng, AIRS, rows, 356)
        assert (pixels.good.sum(0) >= rows / 2).all() and pixels.good.any(0).all()
        light = np.broadcast_to(airs_electrons_per_s(5800.0, 40_000.0), (2, 356))
        spread = point_spread(rows, np.zeros(2))
        written = counts(rng, AIRS, spread, light, pixels, coadded=1, noise=True)
        assert written.shape == (rows * 356, 4)
        assert written.min() > 0 and written.max() < 65_535
        assert (
            written.reshape(rows, 356, 4)[pixels.dead].max(initial=0) < (50 - ADC_OFFSET) * ADC_GAIN
        )

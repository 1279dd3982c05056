"""Transmission spectra: how large a planet with an atmosphere looks at each wavelength.

A wavelength at which the atmosphere absorbs f times more is blocked ln f scale heights higher
(Lecavelier des Etangs et al. 2008, A&A 481, L83). Opacities are those of a cloud deck, of haze and
of a few molecules with bands at their real wavelengths; their strengths are drawn for each planet.
"""

from __future__ import annotations

import numpy as np

from trainer.tasks.ariel.visit import System

BOLTZMANN_J_PER_K = 1.380649e-23
ATOMIC_MASS_KG = 1.66053906660e-27
GM_JUPITER_M3_PER_S2 = 1.2668653e17
EARTH_RADII_M = 6.3781e6
EARTHS_IN_JUPITER = 317.83
SOLAR_RADII_M = 6.957e8

MOLECULAR_WEIGHT = 2.3
"""Of hydrogen with the Sun's share of helium, atomic mass units."""
BANDS = {
    "H2O": ((1.87, 0.09, 1.0), (2.70, 0.16, 2.0), (3.20, 0.25, 0.15)),
    "CO2": ((2.02, 0.035, 0.5), (2.72, 0.05, 3.0), (4.26, 0.12, 8.0)),
    "CH4": ((2.32, 0.11, 0.8), (3.32, 0.12, 3.0), (3.75, 0.15, 0.2)),
    "CO": ((2.34, 0.045, 0.4), (4.67, 0.15, 2.0)),
}
"""Molecule to its bands: centre in µm, width (standard deviation) in µm, strength."""
STRONGEST = 12.0
"""Most that a molecule absorbs in a band of strength 1, in units of the cloud deck."""
DEPTHS = (1e-3, 1e-2)
"""Least and most (Rp/Rs)² of a planet's cloud deck."""


def equilibrium_k(system: System) -> float:
    """Return the temperature of a planet that reflects nothing and spreads its heat, kelvin."""
    return float(system.Ts * np.sqrt(0.5 / system.sma))


def radius_m(system: System, scatter: float) -> float:
    """Return the radius that a planet of this mass has, metres, kept within `DEPTHS`.

    The mass-radius relation of Chen & Kipping 2017 (ApJ 834, 17): R ~ M^0.589 up to 132 Earth
    masses (0.41 of Jupiter's), then R ~ M^-0.044.

    Args:
        system: The star and the planet's mass.
        scatter: Natural logarithm of the radius over the relation's.
    """
    earths = system.Mp * EARTHS_IN_JUPITER
    exponent = 0.589 if earths < 132 else -0.044
    radius = 0.808 * 132**0.589 * (earths / 132) ** exponent * EARTH_RADII_M * np.exp(scatter)
    least, most = np.sqrt(DEPTHS) * system.Rs * SOLAR_RADII_M
    return float(np.clip(radius, least, most))


def scale_height_m(kelvin: float, mass_jupiters: float, radius_m: float) -> float:
    """Return kT / (μ g), the height in which the pressure falls by a factor e, metres.

    Args:
        kelvin: Temperature of the atmosphere.
        mass_jupiters: Mass of the planet in Jupiter's.
        radius_m: Radius of the planet.
    """
    gravity = GM_JUPITER_M3_PER_S2 * mass_jupiters / radius_m**2
    return BOLTZMANN_J_PER_K * kelvin / (MOLECULAR_WEIGHT * ATOMIC_MASS_KG * gravity)


def opacity(um: np.ndarray, abundances: dict[str, float], haze: float) -> np.ndarray:
    """Return the opacity in units of the cloud deck's, at least 1: the shape of `um`.

    Args:
        um: Wavelengths in µm.
        abundances: Molecule to what it absorbs in a band of strength 1.
        haze: What scatters at 0.7 µm; it falls with the fourth power of the wavelength.
    """
    total = 1 + haze * (um / 0.7) ** -4.0
    for molecule, amount in abundances.items():
        for centre, width, strength in BANDS[molecule]:
            total += amount * strength * np.exp(-0.5 * ((um - centre) / width) ** 2)
    return np.asarray(total)


def draw_spectrum(rng: np.random.Generator, system: System, um: np.ndarray) -> np.ndarray:
    """Return a transit depth at each wavelength, (Rp/Rs)²: the shape of `um`."""
    deck_m = radius_m(system, rng.normal(0, 0.1))
    height_m = scale_height_m(equilibrium_k(system), system.Mp, deck_m)
    amounts = np.exp(rng.uniform(np.log(STRONGEST / 300), np.log(STRONGEST), len(BANDS)))
    haze = float(np.exp(rng.uniform(np.log(0.1), np.log(10))))
    bands = opacity(um, dict(zip(BANDS, amounts.tolist(), strict=True)), haze)
    height = height_m * np.log(bands)
    return np.asarray(((deck_m + height) / (system.Rs * SOLAR_RADII_M)) ** 2)

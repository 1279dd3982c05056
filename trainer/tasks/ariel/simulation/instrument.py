"""The two instruments: when they read, and how many electrons of a star they count.

Layout and times are those of the challenge; throughput and brightness are chosen so that a visit
tells the depth at one wavelength to about 130 ppm (AIRS) and 45 ppm (FGS1).
"""

from __future__ import annotations

import numpy as np

from trainer.tasks.ariel.layout import AIRS, EXPOSURE_S, FGS1, Instrument
from trainer.tasks.ariel.simulation.star import planck_photons
from trainer.tasks.ariel.tables import FGS1_UM

COLUMNS = 356
"""Columns of AIRS; wavelength falls from the first to the last."""
TARGETS = slice(AIRS.first, AIRS.last)
"""Columns whose wavelengths are predicted."""

ADC_OFFSET = -1000.0
ADC_GAIN = 0.4369
"""As published: electrons = counts / gain + offset."""
BRIGHTEST_PIXEL_E = 130_000.0
"""Most electrons in a pixel of AIRS; a brighter star would be exposed for less time."""
DARK_E_PER_S = {AIRS.name: 1.0, FGS1.name: 20.0}
"""Mean dark current of a pixel by instrument, electrons per second."""
FGS1_OVER_AIRS = 7.5
"""Electrons per second in FGS1, at 5,800 K, over those of an AIRS exposure."""

DISPERSION = (4.07846314, -4.43363407e-3, -6.91347214e-6)
"""Wavelength of a column in µm as a polynomial in its index, lowest order first.

Through the published 1.951761 µm at column 320 and 3.895036 µm at column 39.
"""


def exposed_s(instrument: Instrument) -> float:
    """Return the seconds between the reads: the light that correlated double sampling sees."""
    return instrument.integration_s[1] - instrument.integration_s[0]


def times_h(instrument: Instrument, airs_exposures: int, coadded: int) -> np.ndarray:
    """Return when each exposure stands, hours from the first published one: (exposures,).

    One that is the mean of several stands at their mean time.
    """
    period_s = EXPOSURE_S / instrument.exposures
    n = airs_exposures * instrument.exposures
    return (coadded * np.arange(n) + (coadded - 1) / 2) * period_s / 3600


def axis_h(instrument: Instrument, airs_exposures: int, coadded: int) -> np.ndarray:
    """Return the time axis of `axis_info.parquet`: two reads an exposure, 0.1 s apart."""
    first_h = times_h(instrument, airs_exposures, coadded) + 0.1 / 3600
    return np.stack([first_h, first_h + 0.1 / 3600], axis=1).reshape(-1)


def airs_um() -> np.ndarray:
    """Return the wavelength of each column in µm, falling: (356,)."""
    return np.polynomial.polynomial.polyval(np.arange(COLUMNS), DISPERSION)


def wavelengths_um() -> np.ndarray:
    """Return the wavelengths of a spectrum in µm, FGS1 first, then AIRS rising: (283,)."""
    return np.concatenate([[FGS1_UM], airs_um()[TARGETS][::-1]])


def airs_electrons_per_s(kelvin: float, mean_e: float) -> np.ndarray:
    """Return the electrons per second of a star in each column of AIRS: (356,).

    Args:
        kelvin: Temperature of the star.
        mean_e: Electrons of an exposure, mean over the columns that are predicted.
    """
    um = airs_um()
    edges = 1 / (1 + np.exp((1.75 - um) / 0.05)) / (1 + np.exp((um - 4.0) / 0.05))
    width_um = -np.gradient(um)
    seen = planck_photons(um, kelvin) * width_um * edges * um**1.8
    return np.asarray(seen / seen[TARGETS].mean() * mean_e / exposed_s(AIRS))


def fgs1_electrons_per_s(kelvin: float, mean_e: float) -> float:
    """Return the electrons per second of the same star in FGS1."""

    def colour(kelvin: float) -> float:
        visible, infrared = planck_photons(np.array([FGS1_UM, 2.9]), kelvin)
        return float(visible / infrared)

    return FGS1_OVER_AIRS * mean_e * colour(kelvin) / colour(5800.0)

"""The two instruments: when they read, what they see of a star, how they count.

Layout and times are those of the challenge; throughput and brightness are chosen so that the depth
at one wavelength is known to about 60 to 150 ppm (AIRS) and 20 to 40 ppm (FGS1) after a visit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.tasks.ariel.simulation.star import planck_photons

COLUMNS = 356
"""Columns of AIRS; wavelength falls from the first to the last."""
TARGETS = slice(39, 321)
"""Columns whose wavelengths are predicted."""
N_WAVELENGTHS = 283
FGS1_UM = 0.7

ADC_OFFSET = -1000.0
ADC_GAIN = 0.4369
"""As published: electrons = counts / gain + offset."""
BRIGHTEST_PIXEL_E = 130_000.0
"""Most electrons in a pixel of AIRS; a brighter star would be exposed for less time."""

DISPERSION = (4.07846314, -4.43363407e-3, -6.91347214e-6)
"""Wavelength of a column in µm as a polynomial in its index, lowest order first.

Through the published 1.951761 µm at column 320 and 3.895036 µm at column 39.
"""


@dataclass(frozen=True)
class Instrument:
    """When an instrument reads.

    Args:
        name: As in the names of its files.
        reads_s: Seconds that a pixel has collected light at the first and the second read.
        period_s: Seconds from one published exposure to the next.
        per_airs_exposure: Exposures while AIRS takes one.
        dark_e_per_s: Mean dark current of a pixel, electrons per second.
    """

    name: str
    reads_s: tuple[float, float]
    period_s: float
    per_airs_exposure: int
    dark_e_per_s: float

    @property
    def exposed_s(self) -> float:
        """Seconds between the reads: the light that correlated double sampling sees."""
        return self.reads_s[1] - self.reads_s[0]

    def times_h(self, airs_exposures: int, coadded: int) -> np.ndarray:
        """Return when each exposure stands, hours from the first published one: (exposures,).

        One that is the mean of several stands at their mean time.
        """
        step_s = coadded * self.period_s
        middle_s = (coadded - 1) / 2 * self.period_s
        n = airs_exposures * self.per_airs_exposure
        return (middle_s + step_s * np.arange(n)) / 3600

    def axis_h(self, airs_exposures: int, coadded: int) -> np.ndarray:
        """Return the time axis of `axis_info.parquet`: two reads an exposure, 0.1 s apart."""
        first_h = self.times_h(airs_exposures, coadded) + 0.1 / 3600
        return np.stack([first_h, first_h + 0.1 / 3600], axis=1).reshape(-1)


AIRS = Instrument("AIRS-CH0", (0.1, 4.5), 4.8, 1, 1.0)
FGS1 = Instrument("FGS1", (0.1, 0.2), 0.4, 12, 20.0)


def airs_um() -> np.ndarray:
    """Return the wavelength of each column in µm, falling: (356,)."""
    return np.polynomial.polynomial.polyval(np.arange(COLUMNS), DISPERSION)


def wavelengths_um() -> np.ndarray:
    """Return the wavelengths of a spectrum in µm, FGS1 first, then AIRS rising: (283,)."""
    return np.concatenate([[FGS1_UM], airs_um()[TARGETS][::-1]])


def airs_electrons_per_s(temperature_k: float, mean_e: float) -> np.ndarray:
    """Return the electrons per second of a star in each column of AIRS: (356,).

    Args:
        temperature_k: Of the star, kelvin.
        mean_e: Electrons of an exposure, mean over the columns that are predicted.
    """
    um = airs_um()
    edges = 1 / (1 + np.exp((1.75 - um) / 0.05)) / (1 + np.exp((um - 4.0) / 0.05))
    width_um = -np.gradient(um)
    seen = planck_photons(um, temperature_k) * width_um * edges * um**1.8
    return np.asarray(seen / seen[TARGETS].mean() * mean_e / AIRS.exposed_s)


def fgs1_electrons_per_s(temperature_k: float, mean_e: float) -> float:
    """Return the electrons per second of the same star in FGS1."""

    def colour(kelvin: float) -> float:
        visible, infrared = planck_photons(np.array([FGS1_UM, 2.9]), kelvin)
        return float(visible / infrared)

    return 7.5 * mean_e * colour(temperature_k) / colour(5800.0)

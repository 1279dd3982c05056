"""What the instrument adds to a light curve: a slow drift, and a line of sight that trembles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VISIT_H = 7.5
FASTEST_JITTER_PX = 0.01
"""Standard deviation of the pointing from one published FGS1 exposure to the next, pixels."""
SLOW_JITTER_PX = 0.0007
"""Amplitude of each of its slow waves, pixels."""


@dataclass(frozen=True, eq=False)
class Drift:
    """A gain of 1 + f(t)·g(λ).

    Args:
        in_time: Coefficients of the Legendre polynomials of degree 0 to 4 in time, which runs
            from −1 to 1 over 7.5 hours; the first is 0.
        in_wavelength: Coefficients of the Legendre polynomials of degree 0 to 2 over AIRS.
        fgs1: The factor that stands for g in FGS1.
    """

    in_time: np.ndarray
    in_wavelength: np.ndarray
    fgs1: float

    def over_time(self, times_h: np.ndarray) -> np.ndarray:
        """Return f(t): (exposures,)."""
        x = 2 * times_h / VISIT_H - 1
        return np.asarray(np.polynomial.legendre.legval(x, self.in_time))

    def airs(self, times_h: np.ndarray, um: np.ndarray) -> np.ndarray:
        """Return the gain of AIRS at each wavelength: (exposures, wavelengths)."""
        y = 2 * (um - 1.95) / (3.9 - 1.95) - 1
        g = np.polynomial.legendre.legval(y, self.in_wavelength)
        return np.asarray(1 + self.over_time(times_h)[:, None] * g)

    def of_fgs1(self, times_h: np.ndarray) -> np.ndarray:
        """Return the gain of FGS1: (exposures,)."""
        return np.asarray(1 + self.over_time(times_h) * self.fgs1)


def draw_drift(rng: np.random.Generator) -> Drift:
    """Return a drift of 0.01 to 0.07% over the visit, weaker in its higher degrees."""
    size = np.exp(rng.uniform(np.log(1e-4), np.log(7e-4)))
    in_time = rng.normal(0, size, 4) / np.arange(1, 5)
    in_wavelength = np.array([1.0, 0.0, 0.0]) + rng.normal(0, [0.2, 0.4, 0.2])
    return Drift(np.concatenate([[0.0], in_time]), in_wavelength, float(rng.normal(0.6, 0.3)))


def draw_pointing(rng: np.random.Generator, times_h: np.ndarray, coadded: int) -> np.ndarray:
    """Return where the star stands off its place, pixels along rows and columns: (exposures, 2).

    Args:
        rng: Source of the random numbers.
        times_h: Times of the FGS1 exposures.
        coadded: Published exposures whose mean each is.
    """
    period_h = np.exp(rng.uniform(np.log(0.3), np.log(3.0), (3, 1, 2)))
    phase = rng.uniform(0, 2 * np.pi, (3, 1, 2))
    slow = SLOW_JITTER_PX * np.sin(2 * np.pi * times_h[:, None] / period_h + phase).sum(0)
    fast = rng.normal(0, FASTEST_JITTER_PX / np.sqrt(coadded), (len(times_h), 2))
    return np.asarray(slow + fast)

"""At which scales over wavelength a prediction is wrong: the power spectrum of its residuals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from trainer.tasks.ariel.score import PPM, WAVELENGTHS, Array

AIRS = WAVELENGTHS - 1
FREQUENCIES: Array = np.arange(1, AIRS // 2 + 1) / (AIRS / 2)
"""Above 0 (141,), as shares of the Nyquist frequency, whose period is two wavelengths."""


@dataclass(frozen=True, eq=False)
class Power:
    """The residuals of AIRS: FGS1, at 0.7 µm, is no neighbour of 1.95 µm.

    Args:
        planets: How many it is the mean of.
        offset: Mean over planets of the squared mean of the residual, in ppm².
        shape: Mean over planets and wavelengths of what is squared about that, in ppm².
        power: Of the residual about its mean at each of `FREQUENCIES` (141,), in ppm²; the mean over
            planets.
    """

    planets: int
    offset: float
    shape: float
    power: Array

    @classmethod
    def of(cls, mu: Array, truth: Array) -> Power:
        """Return that of spectra (planets, 283), in depth.

        One-sided periodogram under a Hann window w (periodic, as the loss has it), divided by
        n Σ w²: its sum over all frequencies, 0 included, is the variance that the window sees.
        """
        residual = (mu - truth)[:, 1:] * PPM
        mean = residual.mean(axis=1, keepdims=True)
        about = residual - mean
        window = np.sin(np.pi * np.arange(AIRS) / AIRS) ** 2
        waves = np.abs(np.fft.rfft(about * window, axis=1)) ** 2
        sided = np.full(AIRS // 2 + 1, 2.0)  # all but 0 and Nyquist stand for two
        sided[[0, -1]] = 1.0
        power = sided * waves.mean(axis=0) / (AIRS * (window**2).sum())
        return cls(len(mu), float((mean**2).mean()), float((about**2).mean()), power[1:])

    @classmethod
    def mean(cls, parts: Iterable[Power]) -> Power:
        """Return that of all planets of the parts together."""
        parts = list(parts)
        planets = sum(part.planets for part in parts)
        shares = [part.planets / planets for part in parts]
        return cls(
            planets,
            sum(share * part.offset for share, part in zip(shares, parts, strict=True)),
            sum(share * part.shape for share, part in zip(shares, parts, strict=True)),
            np.sum([share * p.power for share, p in zip(shares, parts, strict=True)], axis=0),
        )

    def share_above(self, cutoff_frac: float) -> float:
        """Return the share of the power above a frequency, itself a share of the Nyquist frequency."""
        total = float(self.power.sum())
        return float(self.power[cutoff_frac < FREQUENCIES].sum()) / total if total else 0.0

"""A detector's pixels: what calibration undoes, done.

In the reverse of the order in which a reader calibrates: flat field, dark current over the time to
each read, response that is not linear, dead pixels, counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trainer.tasks.ariel.layout import COEFFICIENTS, Instrument
from trainer.tasks.ariel.simulation.instrument import (
    ADC_GAIN,
    ADC_OFFSET,
    DARK_E_PER_S,
    exposed_s,
)

DEAD_FRAC = 0.003
HOT_FRAC = 0.002
FEWEST_FOR_HOT = 200
"""Pixels from which a hot one stands out by five standard deviations of them all."""
READ_NOISE_E = 6.0
FULL_WELL_E = 150_000.0
LARGEST_COUNT = 65_535
AT_ONCE = 500_000
"""Pixel reads that are worked on at once."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """What is known of the pixels, as in the calibration files; each (rows, columns).

    Args:
        dark: Dark current, electrons per second.
        dead: Whether a pixel sees nothing.
        flat: Relative sensitivity.
        linear_corr: Coefficients, lowest order first, of the polynomial from the electrons that
            are read to those that were collected: (6, rows, columns).
        read: Standard deviation of the read noise, electrons.
        good: Whether a pixel is neither dead nor hot.
    """

    dark: np.ndarray
    dead: np.ndarray
    flat: np.ndarray
    linear_corr: np.ndarray
    read: np.ndarray
    good: np.ndarray


def draw_pixels(
    rng: np.random.Generator, instrument: Instrument, rows: int, columns: int
) -> Pixels:
    """Return pixels of which a few are dead or hot; a column keeps at least half of its own."""
    shape = (rows, columns)
    usual = DARK_E_PER_S[instrument.name]
    dark = usual * (1 + 0.05 * np.clip(rng.normal(size=shape), -3, 3))
    dead = rng.random(shape) < DEAD_FRAC
    hot = (rng.random(shape) < HOT_FRAC) & ~dead & (rows * columns >= FEWEST_FOR_HOT)
    dark[hot] *= rng.uniform(20, 60, int(hot.sum()))
    poor = (dead | hot).sum(0) > rows / 2
    dark[:, poor] = usual
    dead[:, poor] = hot[:, poor] = False
    bend = np.array([0.03, 0.01, 0.003, 0.001]) / FULL_WELL_E ** np.arange(1, 5)
    linear_corr = np.empty((COEFFICIENTS, *shape))
    linear_corr[0] = rng.normal(0, 1, shape)
    linear_corr[1] = 1
    linear_corr[2:] = bend[:, None, None] * (1 + 0.1 * np.clip(rng.normal(size=shape), -3, 3))
    return Pixels(
        dark=dark,
        dead=dead,
        flat=1 + 0.01 * np.clip(rng.normal(size=shape), -3, 3),
        linear_corr=linear_corr,
        read=READ_NOISE_E * (1 + 0.05 * np.clip(rng.normal(size=shape), -3, 3)),
        good=~(dead | hot),
    )


def point_spread(size: int, offset_px: np.ndarray) -> np.ndarray:
    """Return the share of the light in each of a line of pixels: (exposures, size).

    A Gaussian whose width follows the number of pixels, 2 at most; what falls beside is lost.

    Args:
        size: Pixels in the line.
        offset_px: How far the star stands off the middle: (exposures,).
    """
    width = float(np.clip(size / 5, 0.5, 2.0))
    edges = np.arange(size + 1) - size / 2 - offset_px[:, None]
    below = 0.5 * (1 + np.vectorize(math.erf)(edges / (width * math.sqrt(2))))
    return np.asarray(np.diff(below, axis=1))


def expected_electrons(
    instrument: Instrument, along_rows: np.ndarray, e_per_s: np.ndarray, pixels: Pixels
) -> np.ndarray:
    """Return the electrons of an exposure that the good pixels of each column see.

    What a perfect calibration recovers: (exposures, columns). Arguments as for `counts`.
    """
    return np.asarray(along_rows @ pixels.good * e_per_s * exposed_s(instrument))


def counts(
    rng: np.random.Generator,
    instrument: Instrument,
    along_rows: np.ndarray,
    e_per_s: np.ndarray,
    pixels: Pixels,
    *,
    coadded: int,
    noise: bool,
) -> np.ndarray:
    """Return what is written of a visit: (rows · columns, 2 · exposures), uint16.

    Args:
        rng: Source of the random numbers.
        instrument: Which it is.
        along_rows: Share of a column's light in each row: (exposures, rows).
        e_per_s: Electrons per second in each column: (exposures, columns).
        pixels: What is known of the pixels.
        coadded: Exposures whose mean each is: that much less variance has its noise.
        noise: With photon and read noise.
    """
    exposures, rows = along_rows.shape
    columns = e_per_s.shape[1]
    written = np.empty((rows * columns, exposures, 2), np.uint16)
    step = max(1, AT_ONCE // (2 * rows * columns))
    for start in range(0, exposures, step):
        block = slice(start, start + step)
        light = along_rows[block, :, None] * e_per_s[block, None, :] * pixels.flat + pixels.dark
        collected = _collected(rng, instrument, light, coadded if noise else None)
        raw = _bent(collected, pixels.linear_corr)
        raw[..., pixels.dead] = 0.0
        if noise:
            raw += rng.standard_normal(raw.shape, np.float32) * (pixels.read / math.sqrt(coadded))
        digital = np.rint((raw - ADC_OFFSET) * ADC_GAIN).clip(0, LARGEST_COUNT)
        written[:, block] = digital.reshape(2, -1, rows * columns).transpose(2, 1, 0)
    return written.reshape(rows * columns, -1)


def _collected(
    rng: np.random.Generator, instrument: Instrument, e_per_s: np.ndarray, coadded: int | None
) -> np.ndarray:
    """Return the electrons at both reads of one ramp: (2, exposures, rows, columns)."""
    first, second = instrument.integration_s
    if coadded is None:
        return np.stack([e_per_s * first, e_per_s * second])
    before = rng.poisson(e_per_s * (first * coadded)) / coadded
    return np.stack(
        [before, before + rng.poisson(e_per_s * ((second - first) * coadded)) / coadded]
    )


def _bent(collected: np.ndarray, linear_corr: np.ndarray) -> np.ndarray:
    """Return the electrons that the polynomial turns into these, by Newton's method.

    It rises everywhere, and is nearly a line: each step squares an error of a few per cent.
    """
    raw = collected.copy()
    for _ in range(8):
        value = np.broadcast_to(linear_corr[-1], raw.shape).copy()
        slope = np.zeros_like(raw)
        for coefficient in linear_corr[-2::-1]:
            slope *= raw
            slope += value
            value *= raw
            value += coefficient
        value -= collected
        value /= slope
        raw -= value
        if np.abs(value).max() < 1e-3:
            break
    return raw

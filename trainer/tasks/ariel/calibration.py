"""From the counts of a detector to light curves: the challenge's calibration, pixel by pixel.

The order is that of the organisers: converter, dead and hot pixels, linearity, dark current, correlated
double sampling, binning in time, flat field (`calibration_reference.py` does just that, slowly). Each
step is a function of one pixel, and after the linearity polynomial each is linear. So for a pixel

    light(bin) = mean over the bin of [P(second read) − P(first read)] − dark · (Δt₂ − Δt₁)

where P maps counts to electrons: the linearity polynomial after the converter's line, multiplied out. Its
constant cancels. A wavelength is the mean of light / flat over its good pixels times the number of its
pixels, so that a dead pixel does not dim it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

import numpy as np

from trainer.tasks.ariel.detector import Detector
from trainer.tasks.ariel.parquet import Signal

CALIBRATION_VERSION = 1
"""Raised by hand whenever the same files would give other light curves."""
READ_BYTES = 16 * 2**20
"""Of counts that are taken from a file at once."""
BLOCK = 16_384
"""Reads that are computed at once: as float64, with their polynomial, they stay in the cache."""


def calibrate(
    signal: Signal,
    detector: Detector,
    gain: float,
    offset: float,
    frames: int,
    exposures: int,
    integration_s: tuple[float, float] | None = None,
) -> np.ndarray:
    """Return the light curves of a detector.

    Args:
        signal: Its reads, at least 2 x frames x exposures; what is left over at the end is dropped.
        detector: Its calibration frames.
        gain: Counts an electron.
        offset: Electrons added after the gain.
        frames: Points in time.
        exposures: Exposures in each.
        integration_s: Seconds of the two reads of an exposure; None for the instrument's.

    Returns:
        (wavelengths, frames) float64 electrons an exposure; wavelengths in the detector's order.

    Raises:
        FileError: The signal has values that are missing or no numbers.
    """
    first_s, second_s = integration_s or detector.instrument.integration_s
    polynomial = _of_counts(detector.linearity, gain, offset)
    dark = detector.dark * (second_s - first_s)
    merged = detector.instrument.columns is None
    pixels, good = detector.good.size, detector.good
    counted = good.sum() if merged else good.sum(axis=0)
    of = pixels if merged else len(good)
    flux = np.zeros((1 if merged else good.shape[1], frames))
    for rows, columns in _groups(signal, good):
        wanted = [detector.pixel(r, c) for r, c in zip(rows, columns, strict=True)]
        light = double_sampled(
            signal.pixels(wanted), polynomial[:, rows, columns], frames, exposures
        )
        light -= dark[rows, columns, None]
        light /= detector.flat[rows, columns, None]
        for column, curve in zip(columns, light, strict=True):
            flux[0 if merged else column] += curve
    return flux * (of / np.reshape(counted, (-1, 1)))


def double_sampled(
    counts: np.ndarray, polynomial: np.ndarray, frames: int, exposures: int
) -> np.ndarray:
    """Return the mean over each bin of P(second read) − P(first read).

    Args:
        counts: (pixels, reads), first and second reads in turn.
        polynomial: (5, pixels) coefficients of P for powers 1 to 5 of a count.
        frames: Bins.
        exposures: Exposures, pairs of reads, a bin.

    Returns:
        (pixels, frames) float64 electrons.
    """
    sign = np.tile([-1.0, 1.0], exposures) / exposures
    binned = np.empty((len(counts), frames))
    bins = min(frames, max(1, BLOCK // sign.size))
    together = max(1, BLOCK // (bins * sign.size))
    for first in range(0, len(counts), together):
        some = slice(first, first + together)
        c1, c2, c3, c4, c5 = polynomial[:, some, None]
        for start in range(0, frames, bins):
            stop = min(start + bins, frames)
            x = counts[some, start * sign.size : stop * sign.size].astype(np.float64)
            y = c5 * x  # Horner's scheme, in place
            for c in (c4, c3, c2, c1):
                y += c
                y *= x
            pairs = y.reshape(len(y), stop - start, sign.size)
            binned[some, start:stop] = np.einsum("pfe,e->pf", pairs, sign)
    return binned


def _of_counts(linearity: np.ndarray, gain: float, offset: float) -> np.ndarray:
    """Return the linearity polynomial after count / gain + offset, as powers 1 to 5 of a count.

    By the binomial theorem, (x/g + o)ʲ = Σₖ C(j, k) oʲ⁻ᵏ (x/g)ᵏ.

    Args:
        linearity: (6, rows, columns), lowest order first.
        gain: Counts an electron.
        offset: Electrons.

    Returns:
        (5, rows, columns); the constant, which a difference of two reads loses, is left out.
    """
    degree = len(linearity) - 1
    powers = [
        sum(comb(j, k) * offset ** (j - k) * linearity[j] for j in range(k, degree + 1)) / gain**k
        for k in range(1, degree + 1)
    ]
    return np.stack(powers)


def _groups(signal: Signal, good: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows and columns of good pixels, as many as are read at once."""
    rows, columns = np.nonzero(good)
    step = max(1, READ_BYTES // (signal.reads * signal.item_bytes))
    for first in range(0, rows.size, step):
        some = slice(first, first + step)
        yield rows[some], columns[some]

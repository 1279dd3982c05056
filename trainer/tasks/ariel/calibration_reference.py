"""The calibration as the organisers write it, step by step on whole frames: what the fast one equals."""

from __future__ import annotations

import numpy as np

from trainer.tasks.ariel.detector import Detector


def calibrate(
    counts: np.ndarray,
    detector: Detector,
    gain: float,
    offset: float,
    frames: int,
    exposures: int,
    integration_s: tuple[float, float] | None = None,
) -> np.ndarray:
    """Return the light curves of a detector, as `trainer.tasks.ariel.calibration.calibrate` does.

    Args:
        counts: (reads, rows, columns) of the whole detector.
        detector: Its calibration frames.
        gain: Counts an electron.
        offset: Electrons added after the gain.
        frames: Points in time.
        exposures: Exposures in each.
        integration_s: Seconds of the two reads of an exposure; None for the instrument's.

    Returns:
        (wavelengths, frames) float64 electrons an exposure; wavelengths in the detector's order.
    """
    instrument = detector.instrument
    observed = counts[:, :, instrument.first : instrument.last].astype(np.float64)
    electrons = observed / gain + offset
    electrons = np.where(detector.good, electrons, np.nan)
    linear = np.zeros_like(electrons)
    for power, coefficient in enumerate(detector.linearity):
        linear += coefficient * electrons**power
    seconds = np.empty(len(linear))
    seconds[0::2], seconds[1::2] = integration_s or instrument.integration_s
    linear -= detector.dark * seconds[:, None, None]
    light = linear[1::2] - linear[0::2]
    used = light[: frames * exposures]
    binned = used.reshape(frames, exposures, *used.shape[1:]).mean(axis=1)
    binned = binned / np.where(detector.good, detector.flat, 1.0)
    if instrument.columns is None:
        merged = np.nanmean(binned.reshape(frames, -1), axis=1) * detector.good.size
        return np.asarray(merged[None])
    return np.asarray(np.nanmean(binned, axis=1).T * len(detector.good))

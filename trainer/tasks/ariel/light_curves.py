"""One visit, from its files to light curves on a common grid of times."""

from __future__ import annotations

import numpy as np

from trainer.tasks.ariel.calibration import calibrate
from trainer.tasks.ariel.detector import Detector, read_detector
from trainer.tasks.ariel.layout import AIRS, FGS1, INSTRUMENTS, VisitFiles
from trainer.tasks.ariel.parquet import Signal
from trainer.tasks.ariel.tables import Adc, Axis, exposure_times_h
from trainer.tasks.ariel.visit import WAVELENGTHS, FileError, Visit


def read_visit(files: VisitFiles, adc: Adc, axis: Axis, frames: int) -> Visit:
    """Calibrate a visit.

    Both instruments are cut into the same `frames` spans of time: 30 exposures of AIRS-CH0 and 360 of
    FGS1 for 187 frames of the published 5,625 and 67,500. What is left over at the end is dropped.

    Args:
        files: Its files.
        adc: Its converters.
        axis: The times of its exposures.
        frames: Points in time of the light curves, from 1.

    Raises:
        FileError: A file is missing, damaged, of another shape or too short; or there is no star.
    """
    detectors, signals = open_visit(files)
    exposures = {name: signal.reads // 2 for name, signal in signals.items()}
    each = exposures[AIRS.name] // frames
    if each == 0:
        raise FileError(
            files.signal(AIRS),
            f"{exposures[AIRS.name]} exposures, expected at least {frames}: one a frame (data.frames)",
        )
    needed = frames * each * FGS1.exposures
    if exposures[FGS1.name] < needed:
        raise FileError(
            files.signal(FGS1),
            f"{exposures[FGS1.name]} exposures, expected at least {needed}: {FGS1.exposures} for each"
            f" of the {frames * each} of {AIRS.name}",
        )
    curves = {
        i.name: curves_of(files, detectors[i.name], signals[i.name], adc, axis, frames, each)
        for i in INSTRUMENTS
    }
    flux = np.concatenate([curves[FGS1.name], curves[AIRS.name][::-1]]).T
    assert flux.shape == (frames, WAVELENGTHS)
    times_h = exposure_times_h(axis, exposures[AIRS.name], files.signal(AIRS))
    middle_h = times_h[: frames * each].reshape(frames, each).mean(axis=1)
    return Visit(files.planet_id, files.visit, middle_h, flux.astype(np.float32))


def open_visit(files: VisitFiles) -> tuple[dict[str, Detector], dict[str, Signal]]:
    """Return the detectors and signals of a visit by instrument; what fits is not yet read.

    Raises:
        FileError: A file is missing, damaged or of another shape.
    """
    detectors = {i.name: read_detector(files, i) for i in INSTRUMENTS}
    signals = {i.name: Signal(files.signal(i), detectors[i.name].shape) for i in INSTRUMENTS}
    return detectors, signals


def curves_of(
    files: VisitFiles,
    detector: Detector,
    signal: Signal,
    adc: Adc,
    axis: Axis,
    frames: int,
    each: int,
) -> np.ndarray:
    """Return the light curves (wavelengths, frames) of one instrument, as `calibrate` does.

    Args:
        files: The visit's.
        detector: The instrument's.
        signal: Its reads.
        adc: The visit's converters.
        axis: The times of its exposures.
        frames: Points in time.
        each: Exposures of AIRS-CH0 in each.

    Raises:
        FileError: The signal has values that are no counts, or shows no star.
    """
    instrument = detector.instrument
    curves = calibrate(
        signal,
        detector,
        adc.gain[instrument.name],
        adc.offset[instrument.name],
        frames,
        each * instrument.exposures,
        axis.integration_s if instrument is AIRS else None,
    )
    dark = np.flatnonzero(~(np.median(curves, axis=1) > 0))
    if dark.size:
        where = f" in {dark.size} of {len(curves)} wavelengths" if len(curves) > 1 else ""
        raise FileError(
            files.signal(instrument),
            f"the star's flux is 0 or less{where}, expected light in every wavelength",
        )
    return curves

"""What is known of a detector's pixels: which are good, and how each answers to light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.tasks.ariel import parquet
from trainer.tasks.ariel.layout import CALIBRATION_FILES, COEFFICIENTS, Instrument, VisitFiles
from trainer.tasks.ariel.visit import FileError

HOT_SIGMA = 5.0
"""A pixel whose dark current is further than this from the median is hot."""
HOT_PASSES = 5
"""Times that the clip is repeated on what is left."""


@dataclass(frozen=True, eq=False)
class Detector:
    """A visit's calibration frames of an instrument, cut to the columns that are observed.

    Args:
        instrument: Whose they are.
        shape: (rows, columns) of the whole detector, as in the signal.
        good: (rows, observed) bool: neither dead nor hot.
        dark: (rows, observed) electrons a second.
        flat: (rows, observed) relative sensitivity, above 0 where the pixel is good.
        linearity: (6, rows, observed) a polynomial from electrons that were read to electrons that
            were there, lowest order first.
    """

    instrument: Instrument
    shape: tuple[int, int]
    good: np.ndarray
    dark: np.ndarray
    flat: np.ndarray
    linearity: np.ndarray

    def pixel(self, row: int, observed: int) -> int:
        """Return the number of a pixel in the signal."""
        return row * self.shape[1] + self.instrument.first + observed


def read_detector(files: VisitFiles, instrument: Instrument) -> Detector:
    """Return the detector of a visit.

    Raises:
        FileError: A frame is missing, has another shape, has NaN in a good pixel, or leaves a
            wavelength without a good pixel.
    """
    frames, errors = read_frames(files, instrument)
    for error in errors:
        raise error
    return detector_of(files, instrument, frames)


def read_frames(
    files: VisitFiles, instrument: Instrument
) -> tuple[dict[str, np.ndarray], list[FileError]]:
    """Return the calibration frames that can be read, by name, and what is wrong with the others."""
    frames: dict[str, np.ndarray] = {}
    errors: list[FileError] = []
    for name in CALIBRATION_FILES:
        stacked = COEFFICIENTS if name == "linear_corr" else 1
        try:
            frames[name] = parquet.frame(files.calibration(instrument, name), instrument, stacked)
        except FileError as error:
            errors.append(error)
    return frames, errors


def detector_of(
    files: VisitFiles, instrument: Instrument, frames: dict[str, np.ndarray]
) -> Detector:
    """Return a detector from all its frames; `read_detector` says what is refused."""
    paths = {name: files.calibration(instrument, name) for name in CALIBRATION_FILES}
    dark, dead, flat, linearity = (frames[name] for name in CALIBRATION_FILES)
    for name, frame in (("dead", dead), ("flat", flat), ("linear_corr", linearity[0])):
        if frame.shape != dark.shape:
            raise FileError(
                paths[name],
                f"frames of shape {frame.shape}, expected {dark.shape} as in dark.parquet",
            )
    observed = np.s_[..., instrument.first : instrument.last]
    if not np.isfinite(dead[observed]).all():
        raise FileError(paths["dead"], "NaN, expected 0 or 1 for each pixel")
    good = ~((dead != 0) | hot(dark))[observed]
    dark, flat, linearity = dark[observed], flat[observed], linearity[observed]
    for name, frame in (("dark", dark), ("flat", flat), ("linear_corr", linearity)):
        if wrong := int((~np.isfinite(frame) & good).sum()):
            raise FileError(paths[name], f"NaN or infinite in {wrong} values of good pixels")
    if wrong := int((good & (flat <= 0)).sum()):
        raise FileError(paths["flat"], f"0 or less in {wrong} good pixels, expected more than 0")
    _refuse_blind(paths["dead"], instrument, good)
    return Detector(instrument, (len(dead), dead.shape[1]), good, dark, flat, linearity)


def hot(dark: np.ndarray) -> np.ndarray:
    """Return the pixels (rows, columns) that glow in the dark: a repeated clip about the median."""
    left = np.isfinite(dark)
    for _ in range(HOT_PASSES):
        known = dark[left]
        if known.size == 0:
            break
        near = np.abs(dark - np.median(known)) <= HOT_SIGMA * known.std()
        if (near & left).sum() == left.sum():
            break
        left &= near
    return np.asarray(np.isfinite(dark) & ~left)


def _refuse_blind(file: Path, instrument: Instrument, good: np.ndarray) -> None:
    if instrument.columns is None:
        if not good.any():
            raise FileError(file, f"all pixels of {instrument.name} are dead or hot")
        return
    blind = np.flatnonzero(~good.any(axis=0))
    if blind.size:
        column, wavelength = instrument.first + int(blind[0]), good.shape[1] + 1 - int(blind[0])
        more = f" and of {blind.size - 1} more" if blind.size > 1 else ""
        raise FileError(
            file, f"all pixels of detector column {column} (wl_{wavelength}){more} are dead or hot"
        )

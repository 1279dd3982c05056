"""Which file of a data set of the Ariel challenge holds what, in both editions.

A visit's files are `INSTRUMENT_signal_K.parquet` and the folder `INSTRUMENT_calibration_K`; the 2024
edition has one visit a planet and no `_K`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.tasks.ariel.visit import Fault, FileError

Edition = Literal["2024", "2025"]
PartName = Literal["train", "test"]

EDITIONS: tuple[Edition, ...] = ("2025", "2024")
LABELS_FILE = {"2025": "train.csv", "2024": "train_labels.csv"}
AXIS_FILE = "axis_info.parquet"
WAVELENGTHS_FILE = "wavelengths.csv"
CALIBRATION_FILES = ("dark", "dead", "flat", "linear_corr")
"""Frames that the calibration needs; `read`, the read noise, is published but not used."""
COEFFICIENTS = 6
"""Of a pixel's linearity polynomial, lowest order first."""


@dataclass(frozen=True)
class Instrument:
    """An instrument as the challenge publishes it.

    Args:
        name: As in file names.
        columns: Columns of its detector; None where the detector is square, of any size.
        first, last: The detector's columns that are observed wavelengths: first:last.
        integration_s: Seconds of the two reads of an exposure.
        exposures: Exposures while AIRS-CH0 takes one.
    """

    name: str
    columns: int | None
    first: int
    last: int | None
    integration_s: tuple[float, float]
    exposures: int


AIRS = Instrument("AIRS-CH0", 356, 39, 321, (0.1, 4.5), 1)
"""Its wavelengths run from red to blue along the columns."""
FGS1 = Instrument("FGS1", None, 0, None, (0.1, 0.2), 12)
"""All its pixels together are one wavelength."""
INSTRUMENTS = (FGS1, AIRS)

EXPOSURE_S = 4.8
"""Seconds from one exposure of AIRS-CH0 to the next, where `axis_info.parquet` is missing."""

SIGNAL = re.compile(rf"({AIRS.name}|{FGS1.name})_signal(?:_(\d+))?\.parquet")


def adc_file(edition: Edition, part: PartName) -> str:
    """Return the file with the converter's gain and offset."""
    return "adc_info.csv" if edition == "2025" else f"{part}_adc_info.csv"


def star_file(part: PartName) -> str:
    """Return the file with the systems; the published 2024 edition has none."""
    return f"{part}_star_info.csv"


def edition_of(root: Path, part: PartName) -> Edition:
    """Return the edition of the data set in `root`.

    Raises:
        FileError: There is no folder, or none of a data set.
    """
    if not root.is_dir():
        raise FileError(root, "no such folder", "spectramind data simulate DIR makes a data set")
    for edition in EDITIONS:
        if any((root / f).is_file() for f in (LABELS_FILE[edition], adc_file(edition, part))):
            return edition
    hint = ""
    if root.name in ("train", "test") or root.name.isdecimal():
        hint = f"the folder above it: {root.parent}"
    message = (
        f"holds no data set of the challenge: expected {LABELS_FILE['2025']} and"
        f" {adc_file('2025', part)} (2025) or {LABELS_FILE['2024']} and {adc_file('2024', part)} (2024)"
    )
    raise FileError(root, message, hint)


@dataclass(frozen=True)
class VisitFiles:
    """The files of one visit.

    Args:
        planet_id: Whose they are.
        visit: Its number.
        folder: The planet's folder.
        suffix: Of the signals and of the calibration folders: `_0`, or empty in 2024.
    """

    planet_id: int
    visit: int
    folder: Path
    suffix: str

    def signal(self, instrument: Instrument) -> Path:
        """Return the file of an instrument's reads."""
        return self.folder / f"{instrument.name}_signal{self.suffix}.parquet"

    def calibration(self, instrument: Instrument, name: str) -> Path:
        """Return one of `CALIBRATION_FILES` of an instrument."""
        folder = self.folder / f"{instrument.name}_calibration{self.suffix}"
        return folder / f"{name}.parquet"

    def all(self) -> tuple[Path, ...]:
        """Return every file that the light curves are made of, always in the same order."""
        return tuple(
            path
            for instrument in INSTRUMENTS
            for path in (
                self.signal(instrument),
                *(self.calibration(instrument, name) for name in CALIBRATION_FILES),
            )
        )


def planet_folders(root: Path, part: PartName) -> dict[int, Path]:
    """Return the folders of a part by planet, ascending; what is not named by a number is none.

    Raises:
        FileError: The part has no folder, or a planet two.
    """
    folder = root / part
    if not folder.is_dir():
        raise FileError(folder, "no such folder: expected one folder a planet in it")
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if not (path.name.isascii() and path.name.isdecimal() and path.is_dir()):
            continue
        planet = int(path.name)
        if planet in found:
            both = f"{found[planet].name} and {path.name}"
            raise FileError(folder, f"planet {planet} has two folders, {both}: expected one")
        found[planet] = path
    return dict(sorted(found.items()))


def find_visits(root: Path, planet_id: int, folder: Path) -> tuple[list[VisitFiles], list[Fault]]:
    """Return the visits of a planet of which every file is there, and what the others lack."""
    found = {m[2] for path in folder.iterdir() if (m := SIGNAL.fullmatch(path.name))}
    visits: list[VisitFiles] = []
    faults: list[Fault] = []
    numbered = sorted(
        (int(number or 0), "" if number is None else f"_{number}") for number in found
    )
    for number, suffix in numbered:
        if number in [visit.visit for visit in visits]:
            again = FileError(folder, f"visit {number} is there twice, with and without _{number}")
            faults.append(again.fault(root, planet_id))
            continue
        files = VisitFiles(planet_id, number, folder, suffix)
        missing = [error.fault(root, planet_id) for error in _missing(files)]
        faults += missing
        if not missing:
            visits.append(files)
    if not numbered:
        faults.append(
            FileError(folder, "no signal: expected AIRS-CH0_signal_0.parquet").fault(
                root, planet_id
            )
        )
    return visits, faults


def _missing(files: VisitFiles) -> Iterator[FileError]:
    for path in files.all():
        if path.is_dir():
            yield FileError(path, "a folder, expected a parquet file")
        elif not path.is_file():
            yield FileError(path, "missing" if path.parent.is_dir() else "missing, with its folder")

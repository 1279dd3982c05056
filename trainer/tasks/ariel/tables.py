"""The tables at the root of a data set: spectra, systems, converters, wavelengths, times.

What is wrong with a row is a fault of its planet; what makes a table unusable is an error.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from trainer.tasks.ariel.layout import (
    AIRS,
    AXIS_FILE,
    EXPOSURE_S,
    INSTRUMENTS,
    LABELS_FILE,
    WAVELENGTHS_FILE,
    Edition,
    PartName,
    adc_file,
    star_file,
)
from trainer.tasks.ariel.visit import WAVELENGTHS, FileError, System

SPECTRUM = tuple(f"wl_{number}" for number in range(1, WAVELENGTHS + 1))
FGS1_UM = 0.7
"""The wavelength of FGS1 where `wavelengths.csv` is missing."""
PROBABLE = {
    "Rs": (1e-3, 1e4, "solar radii"),
    "Ms": (1e-3, 1e4, "solar masses"),
    "Ts": (100, 1e6, "K"),
    "P": (1e-3, 1e7, "days"),
    "sma": (1, 1e6, "stellar radii"),
}
"""Least, most and unit of what a system can be, generously: a slip of the pen beyond it would be the
scale that all other systems are standardised by."""
MOST_NAMED = 5
"""Names that a message spells out."""


@dataclass(frozen=True)
class Adc:
    """What turns a count into electrons: count / gain + offset.

    Args:
        gain: Counts an electron, by instrument.
        offset: Electrons, by instrument.
    """

    gain: dict[str, float]
    offset: dict[str, float]


@dataclass(frozen=True, eq=False)
class Axis:
    """When the reads of AIRS-CH0 were taken.

    Args:
        exposures_h: (exposures,) hours of the middle of each exposure's two reads; None where the
            data set does not say, and the published cadence stands for it.
        integration_s: Seconds of the two reads of an exposure.
        wavelengths_um: (283,) what the axis says of them, or None.
    """

    exposures_h: np.ndarray | None = None
    integration_s: tuple[float, float] = AIRS.integration_s
    wavelengths_um: np.ndarray | None = None


@dataclass
class Rows:
    """A CSV file by its columns.

    Args:
        file: Where it is.
        names: Its header.
        values: (rows, columns) as they are written, stripped.
    """

    file: Path
    names: list[str]
    values: list[list[str]]

    def columns(self, wanted: Sequence[str]) -> Iterator[list[str]]:
        """Yield each row's values of some columns, in the order wanted.

        Raises:
            FileError: The header lacks some.
        """
        if missing := [name for name in wanted if name not in self.names]:
            raise FileError(
                self.file,
                f"no column {named(missing)}: got {named(self.names)}, expected {named(wanted)}",
            )
        places = [self.names.index(name) for name in wanted]
        for row in self.values:
            yield [row[place] if place < len(row) else "" for place in places]

    def by_planet(self, wanted: Sequence[str]) -> dict[int, list[float]]:
        """Return the numbers of some columns by planet; NaN for what is no number.

        Raises:
            FileError: The header lacks some, an id is none, or one occurs twice.
        """
        found: dict[int, list[float]] = {}
        seen: Counter[int] = Counter()
        for line, (name, *row) in enumerate(self.columns(["planet_id", *wanted]), start=2):
            number = _number(name)
            if not number.is_integer():
                raise FileError(
                    self.file, f"row {line}: planet_id {name!r}, expected a whole number"
                )
            seen[int(number)] += 1
            found[int(number)] = [_number(value) for value in row]
        if twice := [str(planet) for planet, times in seen.items() if times > 1]:
            s = "" if len(twice) == 1 else "s"
            raise FileError(self.file, f"planet_id{s} {named(twice)} in more than one row")
        return found


def labels(root: Path, edition: Edition) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Return the true spectra (283,) by planet, and what is wrong with those of others.

    Raises:
        FileError: The table cannot be used.
    """
    good, wrong = {}, {}
    for planet, row in read(root / LABELS_FILE[edition]).by_planet(SPECTRUM).items():
        depth = np.array(row)
        if (bad := ~((depth > 0) & (depth < 1))).any():
            first = int(bad.argmax())
            wrong[planet] = (
                f"{SPECTRUM[first]} is {_shown(row[first])}, expected a depth between 0 and 1"
            )
        else:
            good[planet] = depth
    return good, wrong


def systems(root: Path, part: PartName) -> tuple[dict[int, System], dict[int, str]]:
    """Return the systems by planet, and what is wrong with those of others.

    Raises:
        FileError: The table cannot be used.
    """
    names = [field.name for field in fields(System)][1:]
    good, wrong = {}, {}
    for planet, row in read(root / star_file(part)).by_planet(names).items():
        system = System(planet, *row)
        if complaint := _improbable(system, names):
            wrong[planet] = complaint
        else:
            good[planet] = system
    return good, wrong


def _improbable(system: System, names: list[str]) -> str:
    values = dict(zip(names, astuple(system)[1:], strict=True))
    for name, value in values.items():
        if not math.isfinite(value):
            return f"{name} is {_shown(value)}, expected a number"
    for name, (least, most, unit) in PROBABLE.items():
        if values[name] <= 0:
            return f"{name} is {values[name]:g}, expected more than 0"
        if not least <= values[name] <= most:
            return f"{name} is {values[name]:g}, expected {least:g} to {most:g} {unit}"
    if not 0 <= system.e < 1:
        return f"e is {system.e:g}, expected 0 <= e < 1"
    if not 0 < system.i <= 180:
        return f"i is {system.i:g}, expected degrees from 0 to 180"
    return ""


def adc(root: Path, edition: Edition, part: PartName, planets: Sequence[int]) -> dict[int, Adc]:
    """Return the converters by planet; in 2025 all planets share one, in 2024 each has its own.

    A planet without a row of its own is left out.

    Raises:
        FileError: The table cannot be used.
    """
    rows = read(root / adc_file(edition, part))
    names = [f"{i.name}_adc_{what}" for i in INSTRUMENTS for what in ("gain", "offset")]
    if edition == "2024":
        found = rows.by_planet(names)
        return {
            planet: _adc(rows.file, found[planet], names) for planet in planets if planet in found
        }
    values = list(rows.columns(names))
    if len(values) != 1:
        raise FileError(rows.file, f"{len(values)} rows, expected one for all planets")
    shared = _adc(rows.file, [_number(value) for value in values[0]], names)
    return dict.fromkeys(planets, shared)


def _adc(file: Path, row: list[float], names: list[str]) -> Adc:
    for name, value in zip(names, row, strict=True):
        if not math.isfinite(value) or (name.endswith("gain") and value <= 0):
            raise FileError(file, f"{name} is {_shown(value)}, expected a number; gains above 0")
    instruments = [instrument.name for instrument in INSTRUMENTS]
    return Adc(
        dict(zip(instruments, row[::2], strict=True)),
        dict(zip(instruments, row[1::2], strict=True)),
    )


def wavelengths(root: Path, axis: Axis) -> np.ndarray:
    """Return the wavelengths (283,) in µm, of `wavelengths.csv` or else of the axis.

    Raises:
        FileError: Neither has them, or they are none.
    """
    file = root / WAVELENGTHS_FILE
    if not file.is_file():
        if axis.wavelengths_um is None:
            raise FileError(file, f"missing, and {AXIS_FILE} has no wavelengths either")
        return axis.wavelengths_um
    rows = list(read(file).columns(SPECTRUM))
    if len(rows) != 1:
        raise FileError(file, f"{len(rows)} rows, expected one")
    found = np.array([_number(value) for value in rows[0]])
    if not (np.isfinite(found).all() and (found > 0).all() and (np.diff(found[1:]) > 0).all()):
        raise FileError(file, "expected wavelengths in µm, those of AIRS-CH0 (wl_2 …) ascending")
    return found


def axis(root: Path) -> Axis:
    """Return the times and wavelengths of AIRS-CH0, as far as `axis_info.parquet` has them.

    Raises:
        FileError: The file cannot be read, or its times are none.
    """
    from trainer.tasks.ariel import parquet

    file = root / AXIS_FILE
    if not file.is_file():
        return Axis()
    columns = parquet.numbers(file)
    times = f"{AIRS.name}-axis0-h"
    times_h, integration_s, um = (
        _without_padding(file, columns, name)
        for name in (times, f"{AIRS.name}-integration_time", f"{AIRS.name}-axis2-um")
    )
    if times_h is None:  # the published cadence would be a guess beside a file of times
        raise FileError(file, f"no numbers in a column {times}, expected hours of the reads")
    exposures_h = times_h[: times_h.size // 2 * 2].reshape(-1, 2).mean(axis=1)
    if not (np.diff(exposures_h) > 0).all():
        raise FileError(file, f"{times}: expected times that ascend")
    seconds = AIRS.integration_s
    if integration_s is not None and integration_s.size > 1:
        seconds = float(integration_s[0]), float(integration_s[1])
    observed = None
    if um is not None and um.size == AIRS.columns:
        observed = np.concatenate([[FGS1_UM], um[AIRS.first : AIRS.last][::-1]])
    return Axis(exposures_h, seconds, observed)


def exposure_times_h(axis: Axis, exposures: int, signal: Path) -> np.ndarray:
    """Return the hours (exposures,) since the first exposure of AIRS-CH0.

    Raises:
        FileError: The axis has fewer than the signal.
    """
    if axis.exposures_h is None:
        return np.arange(exposures) * (EXPOSURE_S / 3600)
    if axis.exposures_h.size < exposures:
        raise FileError(
            signal, f"{exposures} exposures, but {AXIS_FILE} has times of {axis.exposures_h.size}"
        )
    return np.asarray(axis.exposures_h[:exposures] - axis.exposures_h[0])


def read(file: Path) -> Rows:
    """Return a CSV file.

    Raises:
        FileError: It is missing, cannot be read, is no CSV, or has no header.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = [
                [value.strip() for value in row]
                for row in csv.reader(lines, strict=True)
                if any(row)
            ]
    except FileNotFoundError:
        raise FileError(file, "missing") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileError(file, f"not a CSV file: {error}") from None
    except OSError as error:  # a folder, a link to itself, no permission
        raise FileError(file, f"cannot be read: {error.strerror}") from None
    if not rows:
        raise FileError(file, "empty, expected a line of column names")
    return Rows(file, rows[0], rows[1:])


def named(names: Sequence[str]) -> str:
    """Return some names, the first few spelled out."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _without_padding(file: Path, columns: dict[str, np.ndarray], name: str) -> np.ndarray | None:
    """Return a column up to the NaN that fill it to the length of the longest."""
    if name not in columns:
        return None
    values = columns[name]
    known = np.isfinite(values)
    count = int(known.sum())
    if not known[:count].all():
        raise FileError(file, f"{name}: NaN before the last number")
    return values[:count] if count else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _shown(value: float) -> str:
    return "no number" if math.isnan(value) else f"{value:g}"

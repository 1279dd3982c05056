"""A data set in the layout of the Ariel challenge, and its light curves.

`open_dataset` reads the tables and looks which files there are; `read_visits` calibrates, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from trainer.errors import InputError
from trainer.identity import fingerprint
from trainer.tasks.ariel import tables
from trainer.tasks.ariel.content import digests
from trainer.tasks.ariel.layout import (
    AXIS_FILE,
    LABELS_FILE,
    Edition,
    PartName,
    VisitFiles,
    adc_file,
    edition_of,
    find_visits,
    planet_folders,
    star_file,
)
from trainer.tasks.ariel.visit import Fault, FileError, System, Visits


@dataclass(frozen=True, eq=False)
class Dataset:
    """The planets of one part of a data set that can be used, as far as is known without their frames.

    Args:
        root: Its folder.
        edition: Whose layout it has.
        part: Train, or test, which has no labels.
        planets: Usable, ascending.
        visit_numbers: The visits of each of them that are whole.
        systems: By planet; empty where a 2024 edition has no `train_star_info.csv`.
        labels: (283,) true depths by planet; empty for test.
        wavelengths_um: (283,) FGS1, then AIRS-CH0 ascending.
        faults: Why planets, or visits of them, are left out.
        visits: The files of each (planet, visit) that is whole, of planets that are left out as well.
        adc: The converters by planet.
        axis: When the exposures were taken.
    """

    root: Path
    edition: Edition
    part: PartName
    planets: tuple[int, ...]
    visit_numbers: dict[int, tuple[int, ...]]
    systems: dict[int, System]
    labels: dict[int, np.ndarray]
    wavelengths_um: np.ndarray
    faults: tuple[Fault, ...]
    visits: dict[tuple[int, int], VisitFiles]
    adc: dict[int, tables.Adc]
    axis: tables.Axis

    def visits_of(self, planets: Sequence[int]) -> list[VisitFiles]:
        """Return the files of all visits of some planets, those of a planet next to each other."""
        return [self.visits[p, number] for p in planets for number in self.visit_numbers[p]]


@dataclass(frozen=True, eq=False)
class Survey:
    """What a look at a data set has found.

    Args:
        dataset: Its usable planets; None where the whole cannot be used.
        fatal: Why not.
        without_folder: Planets of the table of spectra that have no folder.
    """

    dataset: Dataset | None
    fatal: tuple[FileError, ...]
    without_folder: tuple[int, ...] = ()


def open_dataset(root: Path, part: PartName = "train") -> Dataset:
    """Return the usable planets of a data set.

    Args:
        root: The folder with `train.csv` (2025) or `train_labels.csv` (2024).
        part: Of it.

    Raises:
        InputError: The whole cannot be used: all reasons.
    """
    surveyed = survey(root, part)
    if surveyed.dataset is None:
        reasons = "\n".join(str(error) for error in surveyed.fatal)
        raise InputError(reasons, next((e.hint for e in surveyed.fatal if e.hint), ""))
    if not surveyed.dataset.planets:
        faults = surveyed.dataset.faults
        first = f"; the first of {len(faults)} faults: {faults[0]}" if faults else ""
        raise InputError(
            f"{root / part}: no planet in it that can be used{first}",
            f"spectramind data check {root}",
        )
    return surveyed.dataset


def survey(root: Path, part: PartName = "train") -> Survey:
    """Look at the tables of a data set and at which files there are."""
    fatal: list[FileError] = []

    @contextmanager
    def step() -> Iterator[None]:
        try:
            yield
        except FileError as error:
            fatal.append(error)

    folders: dict[int, Path] = {}
    spectra: dict[int, np.ndarray] = {}
    wrong_spectra: dict[int, str] = {}
    systems: dict[int, System] = {}
    wrong_systems: dict[int, str] = {}
    converters: dict[int, tables.Adc] = {}
    axis, wavelengths_um = tables.Axis(), np.empty(0)
    edition: Edition = "2025"
    with step():
        edition = edition_of(root, part)
    if fatal:
        return Survey(None, tuple(fatal))
    with step():
        folders = planet_folders(root, part)
    if part == "train":
        with step():
            spectra, wrong_spectra = tables.labels(root, edition)
    has_stars = edition == "2025" or (root / star_file(part)).is_file()
    if has_stars:
        with step():
            systems, wrong_systems = tables.systems(root, part)
    with step():
        converters = tables.adc(root, edition, part, list(folders))
    with step():
        axis = tables.axis(root)
        wavelengths_um = tables.wavelengths(root, axis)
    if fatal:
        return Survey(None, tuple(fatal))

    needed: list[tuple[str, dict[int, str], set[int]]] = []
    if part == "train":
        needed.append((LABELS_FILE[edition], wrong_spectra, {*spectra}))
    if has_stars:
        needed.append((star_file(part), wrong_systems, {*systems}))
    needed.append((adc_file(edition, part), {}, {*converters}))
    faults: list[Fault] = []
    visits: dict[tuple[int, int], VisitFiles] = {}
    numbers: dict[int, tuple[int, ...]] = {}
    for planet, folder in folders.items():
        found, missing = find_visits(root, planet, folder)
        lacks = [
            Fault(file, planet, wrong.get(planet, f"no row of planet {planet}"))
            for file, wrong, good in needed
            if planet not in good
        ]
        faults += missing + lacks
        visits |= {(planet, files.visit): files for files in found}
        if found and not lacks:
            numbers[planet] = tuple(files.visit for files in found)
    dataset = Dataset(
        root=root,
        edition=edition,
        part=part,
        planets=tuple(numbers),
        visit_numbers=numbers,
        systems={planet: systems[planet] for planet in numbers if planet in systems},
        labels={planet: spectra[planet] for planet in numbers if planet in spectra},
        wavelengths_um=wavelengths_um,
        faults=tuple(faults),
        visits=visits,
        adc=converters,
        axis=axis,
    )
    return Survey(dataset, (), tuple(sorted({*spectra} - {*folders})))


def content_hash(dataset: Dataset, planets: Sequence[int]) -> str:
    """Return a hash of everything that is learned of some planets: frames, spectra, systems.

    Args:
        dataset: Where they are.
        planets: Of the usable ones; their order does not matter.

    Raises:
        InputError: A file cannot be read.
    """
    keys = visit_keys(dataset, planets)
    rows = {
        str(planet): [
            [keys[planet, number] for number in dataset.visit_numbers[planet]],
            dataset.labels[planet].tolist() if planet in dataset.labels else None,
            astuple(dataset.systems[planet]) if planet in dataset.systems else None,
        ]
        for planet in planets
    }
    return fingerprint({"planets": rows, "wavelengths_um": dataset.wavelengths_um.tolist()})


def visit_keys(dataset: Dataset, planets: Sequence[int]) -> dict[tuple[int, int], str]:
    """Return a hash of all that each visit's light curves are made of.

    Raises:
        InputError: A file cannot be read.
    """
    visits = dataset.visits_of(planets)
    axis_file = dataset.root / AXIS_FILE
    files = [path for visit in visits for path in visit.all()]
    hashes = digests(dataset.root, files + [axis_file] * axis_file.is_file())
    return {
        (visit.planet_id, visit.visit): fingerprint(
            {
                "files": [hashes[path] for path in visit.all()],
                "axis": hashes.get(axis_file),
                "adc": astuple(dataset.adc[visit.planet_id]),
            }
        )
        for visit in visits
    }


def read_visits(
    dataset: Dataset,
    planets: Sequence[int],
    frames: int,
    *,
    workers: int = 1,
    memory_map: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Visits:
    """Return the light curves of some planets, from the cache or calibrated now.

    A visit that cannot be read is left out and named in the faults. Each that was calibrated is kept at
    once: what is interrupted goes on where it was.

    Args:
        dataset: Where they are.
        planets: Of the usable ones.
        frames: Points in time of a light curve, from 1.
        workers: Processes that calibrate, each with one visit in memory at a time; 1 for this one.
        memory_map: Return the flux as a map of one file instead of in memory.
        progress: Told how many visits of how many are done, whenever one is.

    Raises:
        InputError: A file vanished, or no visit is left.
        OSError: The cache cannot be written.
    """
    from trainer.tasks.ariel.visits import read

    return read(dataset, planets, frames, workers=workers, memory_map=memory_map, progress=progress)

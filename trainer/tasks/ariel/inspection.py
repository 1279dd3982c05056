"""What is missing or malformed in a data set, file by file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.tasks.ariel.dataset import survey
from trainer.tasks.ariel.detector import Detector, detector_of, read_frames
from trainer.tasks.ariel.layout import (
    AIRS,
    FGS1,
    INSTRUMENTS,
    LABELS_FILE,
    PartName,
    VisitFiles,
    edition_of,
    find_visits,
    planet_folders,
)
from trainer.tasks.ariel.light_curves import curves_of
from trainer.tasks.ariel.parquet import Signal
from trainer.tasks.ariel.tables import Adc, Axis, exposure_times_h, named
from trainer.tasks.ariel.visit import Fault, FileError
from trainer.tasks.ariel.visits import in_processes

PARTS: tuple[PartName, ...] = ("train", "test")


@dataclass(frozen=True)
class Report:
    """What a check has found.

    Args:
        edition: Whose layout the data set has.
        planets: Folders of planets that were looked at.
        visits: Their visits of which every file is there.
        faults: What is wrong, in the order of parts and planets.
    """

    edition: str
    planets: int
    visits: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True, eq=False)
class Inspection:
    """One visit that is to be looked at.

    Args:
        root: The data set's.
        files: The visit's.
        adc: Its converters; None where a table does not say, or its frames are not asked for.
        axis: The times of its exposures.
    """

    root: Path
    files: VisitFiles
    adc: Adc | None
    axis: Axis


def check(
    root: Path,
    *,
    quick: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Look for what is missing or malformed; nothing is written.

    Args:
        root: The data set's folder.
        quick: Look at shapes and at the calibration frames, and leave the signals' values unread.
        workers: Processes; 1 for this one.
        progress: Told how many visits of how many are done, whenever one is.

    Raises:
        FileError: There is no data set in `root`.
    """
    parts = [part for part in PARTS if (root / part).is_dir()] or ["train"]
    edition = edition_of(root, parts[0])
    faults: list[Fault] = []
    orders: list[Inspection] = []
    planets = 0
    for part in parts:
        surveyed = survey(root, part)
        faults += [error.fault(root) for error in surveyed.fatal]
        if gone := surveyed.without_folder:
            message = (
                f"{len(gone)} of its planets have no folder in {part}: {named([*map(str, gone)])}"
            )
            faults.append(Fault(LABELS_FILE[edition], None, message))
        dataset = surveyed.dataset
        try:
            folders = planet_folders(root, part)
        except FileError:  # among the fatal ones of the survey
            folders = {}
        planets += len(folders)
        if dataset is not None:
            faults += dataset.faults
            for files in dataset.visits.values():
                adc = None if quick else dataset.adc.get(files.planet_id)
                orders.append(Inspection(root, files, adc, dataset.axis))
        else:  # its tables say nothing; its files may
            for planet, folder in folders.items():
                visits, missing = find_visits(root, planet, folder)
                faults += missing
                orders += [Inspection(root, files, None, Axis()) for files in visits]
    found: dict[tuple[Path, int], list[Fault]] = {}
    for done, (order, wrong) in enumerate(in_processes(inspect, orders, workers), start=1):
        found[order.files.folder, order.files.visit] = wrong
        if progress is not None:
            progress(done, len(orders))
    for order in orders:
        faults += found[order.files.folder, order.files.visit]
    return Report(edition, planets, len(orders), tuple(faults))


def inspect(order: Inspection) -> list[Fault]:
    """Return what is wrong with a visit's files, each by itself as far as that goes."""
    errors: list[FileError] = []
    exposures: dict[str, int] = {}
    for instrument in INSTRUMENTS:
        frames, unreadable = read_frames(order.files, instrument)
        errors += unreadable
        if unreadable:
            continue
        try:
            detector = detector_of(order.files, instrument, frames)
            signal = Signal(order.files.signal(instrument), detector.shape)
            exposures[instrument.name] = signal.reads // 2
            if order.adc is not None:
                _inspect_counts(order, order.adc, detector, signal)
        except FileError as error:
            errors.append(error)
    if len(exposures) == len(INSTRUMENTS):
        errors += _inspect_lengths(order, exposures)
    return [error.fault(order.root, order.files.planet_id) for error in errors]


def _inspect_counts(order: Inspection, adc: Adc, detector: Detector, signal: Signal) -> None:
    """Read every count: all exposures as one frame leave none out."""
    each = signal.reads // 2 // detector.instrument.exposures
    if each:
        curves_of(order.files, detector, signal, adc, order.axis, 1, each)


def _inspect_lengths(order: Inspection, exposures: dict[str, int]) -> list[FileError]:
    """Return where an instrument has too few exposures, or there are too few times."""
    airs = exposures[AIRS.name]
    errors: list[FileError] = []
    try:
        exposure_times_h(order.axis, airs, order.files.signal(AIRS))
    except FileError as error:
        errors.append(error)
    if (got := exposures[FGS1.name]) < (needed := airs * FGS1.exposures):
        message = f"{got} exposures, expected at least {needed} beside {airs} of {AIRS.name}"
        errors.append(FileError(order.files.signal(FGS1), message))
    return errors

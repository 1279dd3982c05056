"""A whole data set: its planets and the tables beside them."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import InputError
from trainer.tasks.ariel.layout import (
    AIRS,
    AXIS_FILE,
    FGS1,
    LABELS_FILE,
    WAVELENGTHS_FILE,
    PartName,
    adc_file,
    star_file,
)
from trainer.tasks.ariel.simulation import files
from trainer.tasks.ariel.simulation.instrument import (
    ADC_GAIN,
    ADC_OFFSET,
    airs_um,
    axis_h,
    wavelengths_um,
)
from trainer.tasks.ariel.simulation.planet import Part, Planet, draw_planet, write_planet
from trainer.tasks.ariel.simulation.recipe import VERSION, Recipe
from trainer.tasks.ariel.simulation.sources import Sources, read_sources
from trainer.tasks.ariel.simulation.systems import COLUMNS
from trainer.tasks.ariel.tables import SPECTRUM
from trainer.tasks.ariel.visit import WAVELENGTHS

SIGMAS = [f"sigma_{n}" for n in range(1, WAVELENGTHS + 1)]
ADC = ("FGS1_adc_offset", "FGS1_adc_gain", "AIRS-CH0_adc_offset", "AIRS-CH0_adc_gain")
FOLDERS: dict[Part, PartName] = {Part.TRAIN: "train", Part.TEST: "test"}

Progress = Callable[[int, int], None]
"""Is told how many planets are written, of how many."""

NO_PLACE = {errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
"""What the system says of a place where no folder can be."""


def simulate(
    root: Path, recipe: Recipe, *, workers: int = 1, progress: Progress | None = None
) -> None:
    """Write a data set in the challenge's layout: whole, or not at all.

    Beside the challenge's files it holds `simulation.json`, the recipe, and `truth/`, for each visit
    the depths, the middle of the transit and the light curves before noise.

    Args:
        root: A folder that does not exist yet, or is empty.
        recipe: What it is made from.
        workers: Processes that write planets; the files do not depend on it.
        progress: Called after each planet.

    Raises:
        InputError: The folder is not empty or cannot be made, or a file of the recipe cannot be used.
        OSError: The disk is full or cannot be written to.
    """
    check_empty(root)
    sources = read_sources(recipe)
    planets = [draw_planet(recipe, sources, *place) for place in _places(recipe)]
    with drafted(root) as draft:
        truth = draft / "truth" if recipe.truth else None
        if truth is not None:
            truth.mkdir()
        write = partial(_write, draft, recipe, truth)
        for done, _ in enumerate(_spread(write, planets, workers), start=1):
            if progress is not None:
                progress(done, len(planets))
        write_tables(draft, recipe, sources, planets)


def check_empty(root: Path) -> None:
    """Refuse a place that holds something.

    Raises:
        InputError: It does, or is no folder.
    """
    with _placed(root):
        there = root.is_dir()
    if there:
        if set(root.iterdir()) - set(_abandoned(root, root)):
            raise InputError(f"{root}: the folder is not empty", "the name of a new folder")
    elif os.path.lexists(root):
        raise InputError(f"{root}: got a file, expected a new folder", "the name of a new folder")


@contextmanager
def drafted(root: Path) -> Iterator[Path]:
    """Give a folder whose content stands in `root` at the end, and is removed at an error."""
    root = root.absolute()
    there = root.is_dir()  # then it may be where somebody stands, or a mount: it is kept
    folder = root if there else root.parent
    draft = folder / f"{_draft_of(root)}{os.getpid()}"
    with _placed(root):
        folder.mkdir(parents=True, exist_ok=True)
        for old in _abandoned(folder, root):
            shutil.rmtree(old, ignore_errors=True)
        draft.mkdir()
    try:
        yield draft
        if there:
            for entry in sorted(draft.iterdir()):
                entry.replace(root / entry.name)
        else:
            draft.replace(root)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _placed(root: Path) -> Iterator[None]:
    """Say of a place where no folder can be that it is wrong."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        message = f"{root}: no folder can be made there: {error.strerror}"
        raise InputError(message, "the name of a new folder") from error


def _draft_of(root: Path) -> str:
    """Return what the names of the drafts of this machine begin with; a process id ends them."""
    return f".{root.absolute().name}.{socket.gethostname()}."


def _abandoned(folder: Path, root: Path) -> list[Path]:
    """Return the drafts that processes of this machine left when they were killed."""
    drafts = folder.glob(f"{glob.escape(_draft_of(root))}*")
    ends = [(draft, draft.name.rpartition(".")[2]) for draft in drafts]
    own = str(os.getpid())
    return [d for d, pid in ends if pid == own or (pid.isdecimal() and not _runs(int(pid)))]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def write_tables(root: Path, recipe: Recipe, sources: Sources, planets: Sequence[Planet]) -> None:
    """Write everything but the planets' own files."""
    settings: dict[str, Any] = asdict(recipe) | sources.hashes
    settings |= {name: None for name in ("spectra", "systems") if name not in sources.hashes}
    files.write_json(root / "simulation.json", {"recipe": settings, "version": VERSION})
    files.write_csv(root / WAVELENGTHS_FILE, SPECTRUM, [wavelengths_um().tolist()])
    airs_h, fgs1_h = (axis_h(one, recipe.exposures, recipe.coadded) for one in (AIRS, FGS1))
    files.write_axes(root / AXIS_FILE, airs_h, fgs1_h, airs_um())
    parts = {part: [one for one in planets if one.part is part] for part in Part}
    labels = np.stack([one.depth for one in parts[Part.TRAIN]])
    _write_spectra(root / LABELS_FILE[recipe.edition], parts[Part.TRAIN])
    # A submission that is in order, and worth 0: the same guess for every planet.
    guess = [float(labels.mean())] * WAVELENGTHS + [float(labels.std())] * WAVELENGTHS
    header = ["planet_id", *SPECTRUM, *SIGMAS]
    rows = [[one.system.planet_id, *guess] for one in parts[Part.TEST]]
    files.write_csv(root / "sample_submission.csv", header, rows)
    for part, members in parts.items():
        if part is Part.TRAIN or members:
            _write_systems(root, recipe, FOLDERS[part], members)
    if recipe.edition == "2025":
        files.write_csv(root / adc_file("2025", "train"), ADC, [[ADC_OFFSET, ADC_GAIN] * 2])
    if recipe.truth and parts[Part.TEST]:
        _write_spectra(root / "truth" / "test.csv", parts[Part.TEST])


def _write_spectra(path: Path, planets: Sequence[Planet]) -> None:
    rows = ([one.system.planet_id, *one.depth.tolist()] for one in planets)
    files.write_csv(path, ["planet_id", *SPECTRUM], rows)


def _write_systems(root: Path, recipe: Recipe, part: PartName, planets: Sequence[Planet]) -> None:
    systems = [one.system for one in planets]
    rows = [[one.planet_id, *(getattr(one, name) for name in COLUMNS)] for one in systems]
    files.write_csv(root / star_file(part), ["planet_id", *COLUMNS], rows)
    if recipe.edition == "2024":
        adc = [[one.planet_id, *[ADC_OFFSET, ADC_GAIN] * 2, 0] for one in systems]
        files.write_csv(root / adc_file("2024", part), ["planet_id", *ADC, "star"], adc)


def _places(recipe: Recipe) -> Iterator[tuple[Part, int]]:
    for part, n in ((Part.TRAIN, recipe.planets), (Part.TEST, recipe.test_planets)):
        yield from ((part, index) for index in range(n))


def _write(root: Path, recipe: Recipe, truth: Path | None, planet: Planet) -> None:
    write_planet(folder_of(root, planet), recipe, planet, truth)


def folder_of(root: Path, planet: Planet) -> Path:
    """Return where the files of a planet stand."""
    return root / FOLDERS[planet.part] / str(planet.system.planet_id)


def _spread(
    write: Callable[[Planet], None], planets: Sequence[Planet], workers: int
) -> Iterator[None]:
    """Write the planets, in this process or in several others."""
    if min(workers, len(planets)) <= 1:
        yield from map(write, planets)
        return
    with ProcessPoolExecutor(min(workers, len(planets)), get_context("spawn")) as pool:
        try:
            yield from pool.map(write, planets)
        finally:
            pool.shutdown(cancel_futures=True)

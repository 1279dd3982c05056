"""The light curves of many visits: each is calibrated once, by one of several processes, and kept.

An entry of the cache is one visit. For a memory map the visits are laid end to end in one more entry.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from trainer.errors import InputError
from trainer.identity import fingerprint
from trainer.tasks.ariel import cache
from trainer.tasks.ariel.calibration import CALIBRATION_VERSION
from trainer.tasks.ariel.layout import VisitFiles
from trainer.tasks.ariel.tables import Adc, Axis
from trainer.tasks.ariel.visit import WAVELENGTHS, Fault, FileError, Visits

if TYPE_CHECKING:
    from trainer.tasks.ariel.dataset import Dataset

KIND = "light_curves"
KIND_MAPPED = "light_curves_mapped"
Progress = Callable[[int, int], None]
Asked = TypeVar("Asked")
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Order:
    """One visit that is to be calibrated; plain values, for another process.

    Args:
        root: The data set's.
        files: The visit's.
        adc: Its converters.
        axis: The times of its exposures.
        frames: Points in time.
        key: A hash of everything that decides the result.
    """

    root: Path
    files: VisitFiles
    adc: Adc
    axis: Axis
    frames: int
    key: str


def read(
    dataset: Dataset,
    planets: Sequence[int],
    frames: int,
    *,
    workers: int,
    memory_map: bool,
    progress: Progress | None,
) -> Visits:
    """Return the light curves of some planets; `dataset.read_visits` says the rest."""
    from trainer.tasks.ariel.dataset import visit_keys

    keys = visit_keys(dataset, planets)
    orders = [
        Order(
            dataset.root,
            files,
            dataset.adc[files.planet_id],
            dataset.axis,
            frames,
            f"{keys[files.planet_id, files.visit]} {frames} {CALIBRATION_VERSION}",
        )
        for files in dataset.visits_of(planets)
    ]
    missing = [order for order in orders if not cache.path_of(KIND, order.key).is_file()]
    done = len(orders) - len(missing)
    faults: dict[str, Fault] = {}
    for order, fault in in_processes(calibrate_one, missing, workers):
        done += 1
        if fault is not None:
            faults[order.key] = fault
        if progress is not None:
            progress(done, len(orders))
    good = [order for order in orders if order.key not in faults]
    left_out = tuple(faults[order.key] for order in orders if order.key in faults)
    if not good:
        raise InputError(
            f"{dataset.root}: none of {len(orders)} visits can be read; the first: {left_out[0]}"
            if left_out
            else f"{dataset.root}: no planet was asked for",
            f"spectramind data check {dataset.root}",
        )
    if memory_map:
        key = fingerprint([order.key for order in good])
        arrays = cache.remembered(KIND_MAPPED, key, lambda: _stacked(good), memory_map=True)
    else:
        arrays = _stacked(good)
    return Visits(
        planet_ids=np.array([order.files.planet_id for order in good]),
        visit=np.array([order.files.visit for order in good]),
        times_h=np.array(arrays["times_h"]),
        flux=arrays["flux"],
        faults=left_out,
    )


def kept(order: Order) -> cache.Arrays:
    """Return the light curves of a visit, from the cache or calibrated now.

    Raises:
        FileError: A file of it is missing, damaged or of another shape.
    """
    from trainer.tasks.ariel.light_curves import read_visit

    def make() -> cache.Arrays:
        visit = read_visit(order.files, order.adc, order.axis, order.frames)
        return {"times_h": visit.times_h, "flux": visit.flux}

    return cache.remembered(KIND, order.key, make)


def calibrate_one(order: Order) -> Fault | None:
    """Calibrate a visit into the cache; return what is wrong with it."""
    try:
        kept(order)
    except FileError as error:
        return error.fault(order.root, order.files.planet_id)
    return None


def in_processes(
    work: Callable[[Asked], Found], orders: Sequence[Asked], workers: int
) -> Iterator[tuple[Asked, Found]]:
    """Yield each order with what was made of it, in the order in which they are done.

    One worker is this process. Others are started anew: a fork would carry over the threads and locks of this one.
    """
    if workers == 1 or len(orders) < 2:
        yield from ((order, work(order)) for order in orders)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(orders)), mp_context=context) as pool:
        try:
            of = {pool.submit(work, order): order for order in orders}
            for future in as_completed(of):
                yield of[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _stacked(orders: Sequence[Order]) -> cache.Arrays:
    """Return the light curves of visits: times (n, frames) and flux (n, frames, 283)."""
    shape = len(orders), orders[0].frames
    times_h, flux = np.empty(shape), np.empty((*shape, WAVELENGTHS), np.float32)
    for row, order in enumerate(orders):
        entry = kept(order)
        times_h[row], flux[row] = entry["times_h"], entry["flux"]
    return {"times_h": times_h, "flux": flux}

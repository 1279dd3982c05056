"""Seconds and memory of the calibration of one full-size planet, beside what cannot be done without.

    python -m benchmarks.calibration_speed [--load PLANETS]

One visit as published (11,250 x 32 x 356 and 135,000 x 32 x 32 counts, uint16, as pandas writes them) of
random plausible counts is written to a temporary folder. Three processes of one thread each then

- floor: read the same pixels from the same files and touch each count once (a sum);
- calibrate: do what a run does, `read_visit`, stage by stage;
- whole: the same as one call, from the start of Python on.

The goal is less than 10 s on one core and 2 GiB. Expected before it was measured: decoding 240 million
counts at some 300 million a second, 0.8 s; the polynomial in ten passes over float64 that stay in the
cache, at a billion a second, 2.4 s; so 3 s, at 3 to 4 times the floor.

With `--load` the light curves of so many planets are put into a cache and read back.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

AIRS_READS, FGS1_READS, ROWS, COLUMNS, SIDE = 11_250, 135_000, 32, 356, 32
FRAMES = 187
PROGRAM = (sys.executable, "-m", "benchmarks.calibration_speed")
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "ARROW")}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--load", type=int, default=0, help="planets to read back from a cache")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(PARTS[asked.part](asked.folder, asked.load)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if asked.load:
            _print_load(Path(folder), asked.load)
            return
        _write(Path(folder) / "train" / "1")
        floor, stages, whole = (
            _run(part, Path(folder)) for part in ("floor", "calibrate", "whole")
        )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    print("                                   s   CPU s  peak GiB")
    for name, found in (("floor: read and touch", floor), ("calibrate, of it", stages)):
        print(f"{name:28}{found['wall_s']:8.2f}{found['cpu_s']:8.2f}{found['peak_gib']:10.2f}")
    for name in ("open", "FGS1", "AIRS-CH0"):
        print(f"  {name:26}{stages[name]:8.2f}")
    print(f"{'whole process':28}{whole['process_s']:8.2f}{'':8}{whole['peak_gib']:10.2f}")
    print(f"calibrate / floor {stages['cpu_s'] / floor['cpu_s']:.2f} (CPU)  goal: < 10 s, < 2 GiB")


def _run(part: str, folder: Path, planets: int = 0) -> dict[str, float]:
    clock = time.perf_counter()
    done = subprocess.run(
        [*PROGRAM, "--part", part, "--folder", str(folder), "--load", str(planets)],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env=os.environ | ONE_THREAD | {"ARBITER_HOME": str(folder / "home")},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found | {"process_s": time.perf_counter() - clock}


def _floor(folder: Path, _: int) -> dict[str, float]:
    from trainer.tasks.ariel.layout import INSTRUMENTS
    from trainer.tasks.ariel.parquet import Signal

    files, total = _files(folder), 0
    began = _Began()
    for instrument in INSTRUMENTS:
        shape = (ROWS, COLUMNS) if instrument.columns else (SIDE, SIDE)
        signal = Signal(files.signal(instrument), shape)
        wanted = np.arange(shape[0] * shape[1]).reshape(shape)
        wanted = wanted[:, instrument.first : instrument.last].ravel()
        step = 16 * 2**20 // (2 * signal.reads)
        for first in range(0, wanted.size, step):
            total += int(signal.pixels(wanted[first : first + step].tolist()).sum(dtype=np.int64))
    assert total > 0
    return began.now()


def _calibrate(folder: Path, _: int) -> dict[str, float]:
    from trainer.tasks.ariel.layout import INSTRUMENTS
    from trainer.tasks.ariel.light_curves import curves_of, open_visit
    from trainer.tasks.ariel.tables import Axis

    files, adc = _files(folder), _adc()
    began = _Began()
    detectors, signals = open_visit(files)
    clocks = {"open": time.perf_counter()}
    for instrument in INSTRUMENTS:
        name = instrument.name
        curves_of(files, detectors[name], signals[name], adc, Axis(), FRAMES, 30)
        clocks[name] = time.perf_counter()
    seconds = np.diff([began.wall_s, *clocks.values()])
    return began.now() | dict(zip(clocks, seconds.tolist(), strict=True))


def _whole(folder: Path, _: int) -> dict[str, float]:
    from trainer.tasks.ariel.light_curves import read_visit
    from trainer.tasks.ariel.tables import Axis

    began = _Began()
    visit = read_visit(_files(folder), _adc(), Axis(), FRAMES)
    assert visit.flux.shape == (FRAMES, 283) and np.isfinite(visit.flux).all()
    return began.now()


def _fill(folder: Path, planets: int) -> dict[str, float]:
    """Write a data set of one small visit a planet, and light curves of full size to the cache."""
    from trainer.tasks.ariel import cache
    from trainer.tasks.ariel.calibration import CALIBRATION_VERSION
    from trainer.tasks.ariel.dataset import open_dataset, visit_keys
    from trainer.tasks.ariel.visits import KIND

    rng = np.random.default_rng(0)
    for planet in range(1, planets + 1):
        _write_small(folder / "train" / str(planet), planet)
    names = [f"wl_{k}" for k in range(1, 284)]
    depths = ",".join(["0.01"] * 283)
    _lines(folder / "train.csv", ["planet_id", *names], [f"{p},{depths}" for p in _ids(planets)])
    system = ["planet_id", "Rs", "Ms", "Ts", "Mp", "e", "P", "sma", "i"]
    rows = [f"{p},1,1,5600,1,0,3,8,89" for p in _ids(planets)]
    _lines(folder / "train_star_info.csv", system, rows)
    adc = [f"{i}_adc_{what}" for i in ("FGS1", "AIRS-CH0") for what in ("offset", "gain")]
    _lines(folder / "adc_info.csv", adc, ["-1000,0.4369,-1000,0.4369"])
    um = ",".join(str(0.7 if k == 0 else 1.95 + 0.007 * k) for k in range(283))
    _lines(folder / "wavelengths.csv", names, [um])
    began = _Began()
    dataset = open_dataset(folder)
    keys = visit_keys(dataset, dataset.planets)
    flux, times_h = rng.random((FRAMES, 283), np.float32), np.arange(FRAMES) * 0.04
    for key in keys.values():
        entry = {"flux": flux, "times_h": times_h}
        cache.remembered(KIND, f"{key} {FRAMES} {CALIBRATION_VERSION}", lambda entry=entry: entry)
    return began.now()


def _read(folder: Path, planets: int) -> dict[str, float]:
    return _load(folder, planets, memory_map=False)


def _map(folder: Path, planets: int) -> dict[str, float]:
    return _load(folder, planets, memory_map=True)


def _load(folder: Path, planets: int, memory_map: bool) -> dict[str, float]:
    from trainer.tasks.ariel.dataset import open_dataset, read_visits

    began = _Began()
    dataset = open_dataset(folder)
    opened_s = time.perf_counter() - began.wall_s
    visits = read_visits(dataset, dataset.planets, FRAMES, memory_map=memory_map)
    assert visits.flux.shape == (planets, FRAMES, 283)
    return began.now() | {"opened_s": opened_s}


PARTS = {
    "floor": _floor,
    "calibrate": _calibrate,
    "whole": _whole,
    "fill": _fill,
    "read": _read,
    "map": _map,
}


def _print_load(folder: Path, planets: int) -> None:
    _run("fill", folder, planets)
    print(f"{planets} planets             s  of it tables  peak GiB")
    for part, name in (
        ("read", "into memory"),
        ("map", "mapped, first"),
        ("map", "mapped, again"),
    ):
        found = _run(part, folder, planets)
        print(f"{name:18}{found['wall_s']:9.2f}{found['opened_s']:12.2f}{found['peak_gib']:10.2f}")


class _Began:
    """Clocks that were started."""

    def __init__(self) -> None:
        self.wall_s, self.cpu_s = time.perf_counter(), time.process_time()

    def now(self) -> dict[str, float]:
        """Return the seconds since, and the most memory that the process has held."""
        import resource

        return {
            "wall_s": time.perf_counter() - self.wall_s,
            "cpu_s": time.process_time() - self.cpu_s,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }


def _files(folder: Path):  # type: ignore[no-untyped-def]  # its type would be imported here
    from trainer.tasks.ariel.layout import VisitFiles

    return VisitFiles(1, 0, folder / "train" / "1", "_0")


def _adc():  # type: ignore[no-untyped-def]
    from trainer.tasks.ariel.tables import Adc

    names = ("FGS1", "AIRS-CH0")
    return Adc(dict.fromkeys(names, 0.4369), dict.fromkeys(names, -1000.0))


def _ids(planets: int) -> range:
    return range(1, planets + 1)


def _lines(file: Path, header: list[str], rows: list[str]) -> None:
    file.write_text("\n".join([",".join(header), *rows]) + "\n")


def _write(folder: Path) -> None:
    """Write a visit as published: two reads an exposure, shot noise, a detector that is not linear."""
    rng = np.random.default_rng(0)
    for name, reads, shape in (
        ("AIRS-CH0", AIRS_READS, (ROWS, COLUMNS)),
        ("FGS1", FGS1_READS, (SIDE, SIDE)),
    ):
        electrons = rng.uniform(2_000, 60_000, shape).ravel()
        columns = []
        for light in electrons:
            noise = rng.standard_normal(reads, np.float32) * np.sqrt(light)
            noise[0::2] *= 0.2
            mean = np.tile([0.03 * light, light], reads // 2)
            columns.append(np.round((mean + noise + 1000) * 0.4369).astype(np.uint16))
        _parquet(folder / f"{name}_signal_0.parquet", columns)
        below = folder / f"{name}_calibration_0"
        _parquet(below / "dark.parquet", list(rng.normal(1, 0.1, shape).T))
        _parquet(below / "dead.parquet", list((rng.random(shape) < 0.003).T))
        _parquet(below / "flat.parquet", list(rng.normal(1, 0.02, shape).T))
        scales = np.reshape([0, 1, 1e-7, 1e-13, 1e-19, 1e-25], (6, 1, 1))
        linear = scales * rng.normal(1, 0.1, (6, *shape))
        _parquet(below / "linear_corr.parquet", list(linear.reshape(-1, shape[1]).T))


def _write_small(folder: Path, planet: int) -> None:
    """Make files of a planet that differ from another's, as far as a hash can tell."""
    for name in ("AIRS-CH0", "FGS1"):
        below = folder / f"{name}_calibration_0"
        below.mkdir(parents=True)
        for file in ("dark", "dead", "flat", "linear_corr"):
            (below / f"{file}.parquet").write_text(f"{planet} {name} {file}")
        (folder / f"{name}_signal_0.parquet").write_text(f"{planet} {name}")


def _parquet(file: Path, columns: list[np.ndarray]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    names = [f"column_{index}" for index in range(len(columns))]
    pq.write_table(pa.table(columns, names=names), file)


if __name__ == "__main__":
    main()

"""Small data sets in the layout of the Ariel challenge, with counts that are known."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS, COLUMNS, SIDE = 2, 356, 4
EXPOSURES = 20
GAIN, OFFSET = 0.4369, -1000.0
SHAPES = {"AIRS-CH0": (ROWS, COLUMNS), "FGS1": (SIDE, SIDE)}
READS = {"AIRS-CH0": 2 * EXPOSURES, "FGS1": 24 * EXPOSURES}
SPECTRUM = [f"wl_{k}" for k in range(1, 284)]
ADC = ["FGS1_adc_offset", "FGS1_adc_gain", "AIRS-CH0_adc_offset", "AIRS-CH0_adc_gain"]
SYSTEM = {"Rs": 1.1, "Ms": 1.0, "Ts": 5600, "Mp": 0.7, "e": 0, "P": 3.3, "sma": 8.5, "i": 89.2}


@dataclass
class Frames:
    """What is written of an instrument: counts (reads, rows, columns) and calibration frames."""

    counts: np.ndarray
    dark: np.ndarray
    dead: np.ndarray
    flat: np.ndarray
    linear_corr: np.ndarray  # (6, rows, columns)

    @classmethod
    def of(cls, instrument: str, rng: np.random.Generator, exposures: int = EXPOSURES) -> Frames:
        """Make plausible frames of a star with a hump in time."""
        shape, reads = SHAPES[instrument], READS[instrument] * exposures // EXPOSURES
        light = rng.uniform(3_000, 30_000, shape) * (
            1 + 0.01 * np.sin(np.linspace(0, 3, reads))[:, None, None]
        )
        light[0::2] *= 0.03
        dark = rng.normal(1, 0.1, shape)
        dark.flat[100 % dark.size] = 40  # hot, on a detector with enough pixels to tell
        dead = np.zeros(shape, bool)
        dead[1, 2] = dead[0, -50 % shape[1]] = True
        linear = np.zeros((6, *shape))
        linear[0] = rng.normal(0, 5, shape)
        linear[1] = rng.normal(1, 0.01, shape)
        for power, size in enumerate((3e-7, 1e-12, 1e-17, 1e-22), start=2):
            linear[power] = size * rng.normal(1, 0.1, shape)
        counts = np.clip((rng.poisson(light) - OFFSET) * GAIN, 0, 65535).astype(np.uint16)
        return cls(counts, dark, dead, rng.normal(1, 0.03, shape), linear)

    def write(self, folder: Path, instrument: str, suffix: str) -> None:
        """Write an instrument's files of a visit."""
        self.write_signal(folder / f"{instrument}_signal{suffix}.parquet")
        below = folder / f"{instrument}_calibration{suffix}"
        below.mkdir(parents=True)
        for name in ("dark", "dead", "flat"):
            write_frame(below / f"{name}.parquet", getattr(self, name))
        write_frame(below / "read.parquet", np.full(self.dark.shape, 10.0))
        rows, columns = self.dark.shape
        write_frame(below / "linear_corr.parquet", self.linear_corr.reshape(6 * rows, columns))

    def write_signal(self, file: Path) -> None:
        """Write the counts, a column a pixel."""
        write_frame(file, self.counts.reshape(len(self.counts), -1))


def write_frame(file: Path, values: np.ndarray, names: Sequence[str] | None = None) -> None:
    """Write an array (rows, columns) as a parquet file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    names = names or [f"column_{index}" for index in range(values.shape[1])]
    pq.write_table(pa.table(list(np.ascontiguousarray(values.T)), names=list(names)), file)


def write_csv(file: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table."""
    with file.open("w", newline="") as opened:
        csv.writer(opened, lineterminator="\n").writerows([header, *rows])


@dataclass
class Set:
    """A data set that was written, and what is in it by (planet, visit) and instrument."""

    root: Path
    frames: dict[tuple[int, int], dict[str, Frames]] = field(default_factory=dict)
    labels: dict[int, np.ndarray] = field(default_factory=dict)


def write_set(
    root: Path, visits: dict[int, int], *, edition: str = "2025", part: str = "train", seed: int = 0
) -> Set:
    """Write a data set.

    Args:
        root: A folder that is not there.
        visits: Visits of each planet.
        edition: Whose layout.
        part: Train or test.
        seed: Of all numbers.
    """
    rng = np.random.default_rng(seed)
    made = Set(root)
    root.mkdir(parents=True, exist_ok=True)
    for planet, number in visits.items():
        made.labels[planet] = rng.uniform(0.001, 0.01, 283)
        for visit in range(number):
            suffix = f"_{visit}" if edition == "2025" else ""
            both = {name: Frames.of(name, rng) for name in SHAPES}
            for name, frames in both.items():
                frames.write(root / part / str(planet), name, suffix)
            made.frames[planet, visit] = both
    write_csv(root / "wavelengths.csv", SPECTRUM, [[0.7, *np.linspace(1.95, 3.9, 282)]])
    write_csv(
        root / f"{part}_star_info.csv",
        ["planet_id", *SYSTEM],
        [[planet, *SYSTEM.values()] for planet in visits],
    )
    if part == "train":
        name = "train.csv" if edition == "2025" else "train_labels.csv"
        write_labels(root / name, made.labels)
    if edition == "2025":
        write_csv(root / "adc_info.csv", ADC, [[OFFSET, GAIN, OFFSET, GAIN]])
    else:
        rows = [[planet, OFFSET, GAIN, OFFSET, GAIN, 0] for planet in visits]
        write_csv(root / f"{part}_adc_info.csv", ["planet_id", *ADC, "star"], rows)
    write_axis(root / "axis_info.parquet")
    return made


def write_labels(file: Path, labels: dict[int, np.ndarray]) -> None:
    """Write the table of spectra."""
    write_csv(file, ["planet_id", *SPECTRUM], [[p, *row] for p, row in labels.items()])


def write_axis(file: Path) -> None:
    """Write the times of `EXPOSURES` exposures, 240 s apart, filled up with NaN."""
    longest = READS["FGS1"]

    def padded(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.full(longest - len(values), np.nan)])

    starts_s = np.repeat(np.arange(EXPOSURES) * 240.0, 2) + np.tile([0.1, 0.2], EXPOSURES)
    columns = {
        "AIRS-CH0-axis0-h": padded(starts_s / 3600),
        "AIRS-CH0-axis2-um": padded(np.linspace(4.08, 1.63, COLUMNS)),
        "AIRS-CH0-integration_time": padded(np.tile([0.1, 4.5], EXPOSURES)),
        "FGS1-axis0-h": np.arange(longest) / 36000,
    }
    pq.write_table(pa.table(columns), file)

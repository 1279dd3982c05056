"""Write the files of a data set, with the same bytes each time."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.tasks.ariel.layout import AIRS, FGS1
from trainer.tasks.ariel.simulation.detector import Pixels


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table; numbers as the shortest text that reads back as they are."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a value with sorted keys."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_parquet(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write columns of one length and one type."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [_arrow(column) for column in columns.values()]
    is_counts = arrays[0].type == pa.uint16()
    # Parquet keeps 16 bits in 32: split by bytes, the half that is empty costs nothing. What a
    # footer says of each of thousands of columns could be larger than the columns.
    pq.write_table(
        pa.Table.from_arrays(arrays, names=list(columns)),
        path,
        compression="snappy",
        use_dictionary=False,
        column_encoding="BYTE_STREAM_SPLIT" if is_counts else None,
        write_statistics=False,
        store_schema=False,
    )


def _arrow(column: np.ndarray) -> Any:
    """Return numbers as Arrow holds them, by their bytes: `pyarrow.array` loads pandas first."""
    import pyarrow as pa

    bits = np.packbits(column, bitorder="little") if column.dtype == np.bool_ else column
    values = pa.py_buffer(np.ascontiguousarray(bits))
    return pa.Array.from_buffers(pa.from_numpy_dtype(column.dtype), len(column), [None, values])


def write_frames(path: Path, frames: np.ndarray) -> None:
    """Write (columns, rows) numbers; a column of the file is a row of the array."""
    write_parquet(path, {f"column_{index}": column for index, column in enumerate(frames)})


def write_pixels(folder: Path, pixels: Pixels) -> None:
    """Write the calibration files of an instrument; coefficients are stacked along the rows."""
    folder.mkdir()
    stacked = pixels.linear_corr.reshape(-1, pixels.linear_corr.shape[-1])
    write_frames(folder / "linear_corr.parquet", np.ascontiguousarray(stacked.T))
    for name in ("dark", "dead", "flat", "read"):
        write_frames(folder / f"{name}.parquet", np.ascontiguousarray(getattr(pixels, name).T))


def write_axes(path: Path, airs_h: np.ndarray, fgs1_h: np.ndarray, um: np.ndarray) -> None:
    """Write `axis_info.parquet`: four columns, the shorter ones filled up with NaN.

    Args:
        path: Where to.
        airs_h: Times of the reads of AIRS, hours.
        fgs1_h: Times of the reads of FGS1, hours.
        um: Wavelength of each column of AIRS.
    """
    values = {
        f"{AIRS.name}-axis0-h": airs_h,
        f"{AIRS.name}-axis2-um": um,
        f"{AIRS.name}-integration_time": np.tile(AIRS.integration_s, len(airs_h) // 2),
        f"{FGS1.name}-axis0-h": fgs1_h,
    }
    longest = max(map(len, values.values()))
    filled = {name: np.full(longest, np.nan) for name in values}
    for name, column in values.items():
        filled[name][: len(column)] = column
    write_parquet(path, filled)

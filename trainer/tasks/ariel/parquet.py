"""Parquet files of a data set, read by shape: a frame of the detector, or its reads pixel by pixel.

The only importer of pyarrow here. A file has one column a detector column (a frame) or a pixel (a
signal), under any names, with or without the index column of pandas; or it is flattened to one column.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.tasks.ariel.layout import Instrument
from trainer.tasks.ariel.visit import FileError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

INDEX_NAMES = ("__index_level_0__", "index", "Unnamed: 0", "")
"""Columns that are a row's number where the file itself does not say which is."""


def numbers(file: Path) -> dict[str, np.ndarray]:
    """Return the columns that are numbers, by name, as float64 with NaN for what is missing.

    Raises:
        FileError: It cannot be read.
    """
    with _reading(file):
        table = _open(file).read(use_threads=False)
        return {
            name: _values(column).astype(np.float64)
            for name, column in zip(table.column_names, table.columns, strict=True)
            if _is_number(column.type)
        }


def frame(file: Path, instrument: Instrument, stacked: int = 1) -> np.ndarray:
    """Return a frame of the detector, or several that are stacked.

    Args:
        file: Of one column a detector column, or flattened.
        instrument: Whose it is: says how many columns there are.
        stacked: Frames below each other.

    Returns:
        (rows, columns) float64, or (stacked, rows, columns) where there are several.

    Raises:
        FileError: It cannot be read, or has another shape.
    """
    with _reading(file):
        opened = _open(file)
        names = _pixels(file, opened)
        table = opened.read(columns=names, use_threads=False)
        values = np.stack([_values(column).astype(np.float64) for column in table.columns], axis=1)
    rows, columns = values.shape
    if columns == 1:  # flattened, row by row
        columns = instrument.columns or math.isqrt(values.size // stacked)
        rows = values.size // max(columns, 1)
    expected = f"{stacked} x ROWS" if stacked > 1 else "ROWS"
    square = instrument.columns is None
    fits = (
        rows > 0
        and rows * columns == values.size
        and rows % stacked == 0
        and columns == (rows // stacked if square else instrument.columns)
    )
    if not fits:
        width = "as many columns" if square else f"{instrument.columns} columns"
        raise FileError(
            file, f"shape {values.shape}, expected {expected} rows and {width} of {instrument.name}"
        )
    shape = (rows // stacked, columns)
    return values.reshape(shape if stacked == 1 else (stacked, *shape))


class Signal:
    """The reads of a detector, which are taken from the file some pixels at a time.

    A column of the file is a pixel, and its reads lie next to each other: reading pixels instead of
    frames decodes only those that are wanted, in runs that a processor can keep.

    Args:
        file: Of one column a pixel, row by row of the detector; or of one column, frame by frame.
        shape: (rows, columns) of the detector.

    Raises:
        FileError: It cannot be read, or does not fit the detector.
    """

    def __init__(self, file: Path, shape: tuple[int, int]) -> None:
        self.file = file
        self._whole: np.ndarray | None = None
        pixels = math.prod(shape)
        with _reading(file):
            self._opened = _open(file)
            self._names = _pixels(file, self._opened)
            values = self._opened.metadata.num_rows
        if len(self._names) == 1 and pixels > 1:
            self.reads, rest = divmod(values, pixels)
            fits = rest == 0
        else:
            self.reads, fits = values, len(self._names) == pixels
        if not fits:
            expected = f"one column for each of the {shape[0]} x {shape[1]} pixels"
            raise FileError(
                file,
                f"shape ({values}, {len(self._names)}), expected {expected}, or one column with"
                " all of them read after read",
            )
        kind = self._opened.schema_arrow.field(self._names[0]).type
        self.item_bytes = max(1, kind.bit_width // 8)
        if self.reads == 0 or self.reads % 2:
            raise FileError(file, f"{self.reads} reads, expected an even number: two an exposure")
        self._flattened = len(self._names) == 1 and pixels > 1

    def pixels(self, wanted: Sequence[int]) -> np.ndarray:
        """Return the counts (pixels, reads) of some pixels, numbered row by row, in the file's type.

        Raises:
            FileError: They are not numbers, or some are missing.
        """
        with _reading(self.file):
            if self._flattened:
                return np.ascontiguousarray(self._all()[:, wanted].T)
            names = [self._names[pixel] for pixel in wanted]
            table = self._opened.read(columns=names, use_threads=False)
            return np.stack([self._counts(table.column(name)) for name in names])

    def _all(self) -> np.ndarray:
        """Return everything of a flattened file (reads, pixels), which is read once."""
        if self._whole is None:
            parts = [
                self._counts(batch.column(0))
                for batch in self._opened.iter_batches(columns=self._names, use_threads=False)
            ]
            self._whole = np.concatenate(parts).reshape(self.reads, -1)
        return self._whole

    def _counts(self, column: Any) -> np.ndarray:
        if column.null_count:
            raise FileError(self.file, f"{column.null_count} values are missing in a pixel's reads")
        counts = _values(column)
        if counts.dtype.kind == "f" and not np.isfinite(counts).all():
            raise FileError(self.file, "NaN or infinite among a pixel's reads, expected counts")
        return counts


def _open(file: Path) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, pre_buffer=True)


def _pixels(file: Path, opened: pq.ParquetFile) -> list[str]:
    """Return the names of the columns that are data, not a row's number."""
    schema = opened.schema_arrow
    about = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    indices = [name for name in about.get("index_columns", ()) if isinstance(name, str)]
    left_out = indices or [name for name in INDEX_NAMES if name in schema.names]
    names = [name for name in schema.names if name not in left_out] or schema.names
    if not names:
        raise FileError(file, "no column of numbers")
    if len({*names}) < len(names):
        raise FileError(file, "columns with the same name")
    for name in names:
        if not _is_number(schema.field(name).type):
            raise FileError(file, f"column {name!r} is {schema.field(name).type}, expected numbers")
    return names


def _values(column: Any) -> np.ndarray:
    """Return a column as an array, float with NaN where values are missing."""
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn what pyarrow raises into an error that names the file."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise FileError(file, "missing") from None
    except (pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise FileError(file, f"not a parquet file that can be read: {first}") from None

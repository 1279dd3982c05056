"""Read the CSV files that a person gives: planets and numbers by the names of their columns."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.errors import InputError


def read_columns(path: Path, names: Sequence[str]) -> tuple[list[int], np.ndarray]:
    """Return the planet ids, and the named columns as (planets, names).

    Args:
        path: A CSV file whose first row names its columns, `planet_id` among them.
        names: The columns to read.

    Raises:
        InputError: It cannot be read, a column is missing, a planet stands twice, or something
            in it is no finite number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    header = rows[0] if rows else []
    if missing := [name for name in ("planet_id", *names) if name not in header]:
        shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise InputError(f"{path}: no column {shown}; expected planet_id, {names[0]} … {names[-1]}")
    places = [header.index(name) for name in names]
    ids: list[int] = []
    values = np.empty((len(rows) - 1, len(names)))
    for index, row in enumerate(rows[1:]):
        try:
            ids.append(int(row[header.index("planet_id")]))
            values[index] = [float(row[place]) for place in places]
        except (ValueError, IndexError) as error:
            raise InputError(f"{path}: line {index + 2}: {error}, expected numbers") from error
        if not np.isfinite(values[index]).all():
            raise InputError(f"{path}: planet {ids[-1]}: got a number that is not finite")
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise InputError(f"{path}: planet {twice} stands in it twice")
    if not ids:
        raise InputError(f"{path}: no planet in it")
    return ids, values

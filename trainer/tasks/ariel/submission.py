"""`submission.csv`: what the challenge takes, written whole and judged before it is sent.

567 columns in this order: `planet_id`, the depths `wl_1` … `wl_283`, their standard deviations
`sigma_1` … `sigma_283`; one row a planet. The evaluation takes the columns by their place, and the
planets by their id.
"""

from __future__ import annotations

import csv
import errno
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from trainer.errors import InputError
from trainer.tasks.ariel.score import WAVELENGTHS, Array, as_spectra

ID = "planet_id"
DEPTHS = tuple(f"wl_{k}" for k in range(1, WAVELENGTHS + 1))
SIGMAS = tuple(f"sigma_{k}" for k in range(1, WAVELENGTHS + 1))
COLUMNS = (ID, *DEPTHS, *SIGMAS)

MOST_FAULTS = 20
"""Faults that are listed one by one; the rest are counted."""

_KNOWN, _OF_SIGMA = frozenset(COLUMNS), frozenset(SIGMAS)
_LONGEST_SHOWN = 40
_NO_PLACE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class SubmissionFault:
    """One thing that the challenge would refuse.

    Args:
        message: What was got, and what was expected.
        line: Of the file, from 1; None where it is of the whole.
        column: Its name; "" where it is of a whole line.
    """

    message: str
    line: int | None = None
    column: str = ""

    def __str__(self) -> str:
        place = [f"line {self.line}"] if self.line is not None else []
        place += [self.column] if self.column else []
        return f"{', '.join(place)}: {self.message}" if place else self.message


def write_submission(
    path: Path, planet_ids: Sequence[int], mu: ArrayLike, sigma: ArrayLike
) -> None:
    """Write a submission, all of it or nothing; numbers are read back as the same float64.

    Args:
        path: Where to; a file that is there is replaced.
        planet_ids: One a row, each once.
        mu: Depth (planets, 283), at least 0.
        sigma: Its standard deviation (planets, 283), more than 0.

    Raises:
        InputError: The challenge would refuse it, or `path` is no place to write to.
    """
    depths, sigmas = as_spectra("mu", mu), as_spectra("sigma", sigma)
    ids = [int(planet) for planet in planet_ids]
    if not len(ids) == len(depths) == len(sigmas):
        raise InputError(
            f"submission: got {len(ids)} planet ids, {len(depths)} spectra and {len(sigmas)} of"
            " sigma, expected as many of each"
        )
    planet, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise InputError(f"submission: planet {planet} is there {times} times, expected once")
    _refuse_where(depths < 0, depths, ids, DEPTHS, "at least 0")
    _refuse_where(sigmas <= 0, sigmas, ids, SIGMAS, "more than 0")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            for planet, depth, error in zip(ids, depths.tolist(), sigmas.tolist(), strict=True):
                rows.writerow([planet, *depth, *error])
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise  # the disk, which is nobody's mistake
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        if draft.is_file():
            draft.unlink()


def submission_faults(path: Path, sample: Path | None = None) -> list[SubmissionFault]:
    """Return what the challenge would refuse a submission for; nothing where it is valid.

    Args:
        path: A CSV file. Numbers may be written in any way that Python and pandas both read.
        sample: The challenge's `sample_submission.csv`, whose planets are the ones to predict; none:
            any planets.

    Returns:
        At most `MOST_FAULTS`, in the order of the file, and one more that counts the rest.

    Raises:
        InputError: A file cannot be read, or `sample` itself is not valid.
    """
    expected = None if sample is None else _sample_ids(sample)
    faults = _faults(path, expected)
    listed = list(itertools.islice(faults, MOST_FAULTS))
    if more := sum(1 for _ in faults):
        listed.append(SubmissionFault(f"and {more} more"))
    return listed


def _sample_ids(sample: Path) -> dict[int, int]:
    """Return the planets of a sample, each with its line."""
    ids: dict[int, int] = {}
    fault = next(_faults(sample, None, ids, any_values=True), None)
    if fault is not None:
        raise InputError(f"{sample}: {fault}", "the sample_submission.csv of the challenge")
    return ids


def _faults(
    path: Path,
    expected: dict[int, int] | None,
    seen: dict[int, int] | None = None,
    *,
    any_values: bool = False,
) -> Iterator[SubmissionFault]:
    """Yield every fault of a file.

    Args:
        path: The file.
        expected: The planets that it must have, or any.
        seen: Is filled with its planets and their lines.
        any_values: Whether the numbers do not matter, as those of a sample.
    """
    seen = {} if seen is None else seen
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            try:
                header = [name.strip() for name in next(lines, [])]
                yield from _header_faults(header)
                if _KNOWN.isdisjoint(header):
                    return
                for row in lines:
                    if row:
                        yield from _row_faults(row, header, lines.line_num, seen, any_values)
            except (UnicodeDecodeError, csv.Error) as error:
                yield SubmissionFault(f"not CSV in UTF-8: {error}", lines.line_num + 1)
                return
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if ID not in header:
        return
    if not seen:
        yield SubmissionFault("got no planet, expected one a line")
    if expected is not None:
        for planet, line in seen.items():
            if planet not in expected:
                yield SubmissionFault(f"planet {planet} is not in the sample", line, ID)
        for planet, line in expected.items():
            if planet not in seen:
                yield SubmissionFault(f"planet {planet}, line {line} of the sample, is missing")


def _header_faults(header: list[str]) -> Iterator[SubmissionFault]:
    expected = f"expected {ID}, wl_1 … wl_{WAVELENGTHS}, sigma_1 … sigma_{WAVELENGTHS}"
    if _KNOWN.isdisjoint(header):
        got = f"{len(header)} columns, {_shown(header[0])} first" if header else "an empty file"
        yield SubmissionFault(f"got {got}; {expected}", 1)
        return
    if header == list(COLUMNS):
        return
    names = dict.fromkeys(header)
    faults = [
        *(SubmissionFault("missing", 1, name) for name in COLUMNS if name not in names),
        *(SubmissionFault("there twice", 1, name) for name in names if header.count(name) > 1),
        *(
            SubmissionFault("no column of a submission", 1, _shown(name))
            for name in names
            if name not in _KNOWN
        ),
    ]
    if not faults:
        got, want = next(pair for pair in zip(header, COLUMNS, strict=True) if pair[0] != pair[1])
        faults = [
            SubmissionFault(f"stands where {want} belongs; {expected}, in this order", 1, got)
        ]
    yield from faults


def _row_faults(
    row: list[str], header: list[str], line: int, seen: dict[int, int], any_values: bool
) -> Iterator[SubmissionFault]:
    if len(row) != len(header):
        yield SubmissionFault(f"got {len(row)} values, expected {len(header)}", line)
        return
    for name, text in zip(header, row, strict=True):
        value = _number(text)
        if name == ID:
            if value is None or not value.is_integer():
                yield SubmissionFault(f"got {_shown(text)}, expected a whole number", line, ID)
                continue
            planet = _whole(text)
            if planet in seen:
                yield SubmissionFault(
                    f"planet {planet} is on line {seen[planet]} already", line, ID
                )
            seen.setdefault(planet, line)
        elif any_values or name not in _KNOWN:
            continue
        elif value is None or not math.isfinite(value):
            yield SubmissionFault(f"got {_shown(text)}, expected a finite number", line, name)
        elif name in _OF_SIGMA and value <= 0:
            yield SubmissionFault(f"got {_shown(text)}, expected more than 0", line, name)
        elif value < 0:
            yield SubmissionFault(f"got {_shown(text)}, expected at least 0", line, name)


def _number(text: str) -> float | None:
    """Return what is written; None where pandas would not read a number: `1_0`, other digits."""
    if "_" in text or not text.isascii():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _whole(text: str) -> int:
    """Return a whole number exactly: an id may have more digits than a float."""
    try:
        return int(text)
    except ValueError:
        return int(float(text))  # 785834.0, as a table with a gap in it is written


def _shown(text: str) -> str:
    if not text.strip():
        return "nothing"
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…")


def _refuse_where(
    wrong: np.ndarray, values: Array, ids: Sequence[int], names: Sequence[str], expected: str
) -> None:
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(
            f"submission: {names[column]} of planet {ids[row]}: got {values[row, column]:g},"
            f" expected {expected}"
        )

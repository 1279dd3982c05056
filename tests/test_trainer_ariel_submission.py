"""What is written is valid and comes back as it was; what is not valid is said by line and column."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import InputError
from trainer.tasks.ariel.submission import (
    COLUMNS,
    MOST_FAULTS,
    submission_faults,
    write_submission,
)

PLANETS = (785834, 14485303, 17002355)


@pytest.fixture
def rows() -> list[list[str]]:
    """A valid submission of three planets, as text."""
    return [list(COLUMNS), *([str(p), *["0.002"] * 283, *["1e-4"] * 283] for p in PLANETS)]


def saved(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def said(path: Path, sample: Path | None = None) -> list[str]:
    return [str(fault) for fault in submission_faults(path, sample)]


def test_what_is_written_is_valid_and_comes_back_exactly(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mu, sigma = random.uniform(0, 1e-2, (3, 283)), random.uniform(1e-6, 1e-3, (3, 283))
    mu[0, 0] = 0
    path = tmp_path / "submission.csv"
    write_submission(path, PLANETS, mu, sigma)
    assert submission_faults(path) == []
    with path.open(newline="") as file:
        header, *body = csv.reader(file)
    assert len(header) == 567
    assert header[:2] == ["planet_id", "wl_1"] and header[284:286] == ["sigma_1", "sigma_2"]
    assert tuple(int(row[0]) for row in body) == PLANETS
    assert np.array_equal(np.array([row[1:] for row in body], float), np.hstack([mu, sigma]))
    assert list(tmp_path.iterdir()) == [path]


def test_a_submission_of_another_float_is_written_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    ids = np.array(PLANETS)
    write_submission(path, ids, np.full((3, 283), 2e-3, np.float32), np.full((3, 283), 1e-4))  # type: ignore[arg-type]
    assert submission_faults(path) == []


def test_what_the_challenge_would_refuse_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("of yesterday")
    mu, sigma = np.full((3, 283), 2e-3), np.full((3, 283), 1e-4)
    negative, zero, missing = mu.copy(), sigma.copy(), mu.copy()
    negative[1, 3], zero[2, 282], missing[0, 0] = -1e-5, 0, np.nan
    for ids, m, s, message in (
        (PLANETS, negative, sigma, "wl_4 of planet 14485303: got -1e-05, expected at least 0"),
        (PLANETS, mu, zero, "sigma_283 of planet 17002355: got 0, expected more than 0"),
        (PLANETS, missing, sigma, "mu of row 0, wl_1: got nan, expected a finite number"),
        (PLANETS, mu[:, :5], sigma, "mu: got shape"),
        (PLANETS[:2], mu, sigma, "got 2 planet ids, 3 spectra and 3 of sigma"),
        ((1, 2, 1), mu, sigma, "planet 1 is there 2 times, expected once"),
    ):
        with pytest.raises(InputError, match=message):
            write_submission(path, ids, m, s)
    assert path.read_text() == "of yesterday" and list(tmp_path.iterdir()) == [path]


def test_no_place_to_write_to_is_said(tmp_path: Path) -> None:
    mu, sigma = np.full((3, 283), 2e-3), np.full((3, 283), 1e-4)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "s.csv", tmp_path / "folder"):
        with pytest.raises(InputError, match=f"cannot write {path}: "):
            write_submission(path, PLANETS, mu, sigma)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_any_spelling_of_a_number_is_read(tmp_path: Path, rows: list[list[str]]) -> None:
    rows[1][:5] = ["785834.0", " 2e-3", "+.002", "0", "-0.0"]
    rows[2][284:287] = ["1E-04", "1", "00.1 "]
    path = tmp_path / "submission.csv"
    text = "\ufeff" + "\r\n".join(", ".join(f'"{v}"' if v == "1" else v for v in r) for r in rows)
    path.write_text(text + "\r\n\r\n", encoding="utf-8", newline="")
    assert said(path) == ["line 3, sigma_2: got ' \"1\"', expected a finite number"]
    saved(path, rows)
    assert said(path) == []


@pytest.mark.parametrize(
    ("line", "column", "text", "message"),
    [
        (2, "wl_7", "-1e-9", "line 2, wl_7: got '-1e-9', expected at least 0"),
        (3, "sigma_7", "0", "line 3, sigma_7: got '0', expected more than 0"),
        (3, "sigma_283", "-1", "line 3, sigma_283: got '-1', expected more than 0"),
        (4, "wl_283", "nan", "line 4, wl_283: got 'nan', expected a finite number"),
        (4, "wl_1", "1e999", "line 4, wl_1: got '1e999', expected a finite number"),
        (4, "sigma_1", "", "line 4, sigma_1: got nothing, expected a finite number"),
        (4, "wl_2", "0,002", "line 4, wl_2: got '0,002', expected a finite number"),
        (4, "wl_2", "1_0", "line 4, wl_2: got '1_0', expected a finite number"),
        (2, "planet_id", "1.5", "line 2, planet_id: got '1.5', expected a whole number"),
        (2, "planet_id", "", "line 2, planet_id: got nothing, expected a whole number"),
        (2, "planet_id", "inf", "line 2, planet_id: got 'inf', expected a whole number"),
        (4, "planet_id", "785834", "line 4, planet_id: planet 785834 is on line 2 already"),
    ],
)
def test_a_wrong_value_is_said_by_its_place(
    tmp_path: Path, rows: list[list[str]], line: int, column: str, text: str, message: str
) -> None:
    rows[line - 1][COLUMNS.index(column)] = text
    assert said(saved(tmp_path / "submission.csv", rows)) == [message]


def test_wrong_columns_are_said_by_name(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "submission.csv"
    swapped = [[row[0], row[2], row[1], *row[3:]] for row in rows]
    assert said(saved(path, swapped)) == [
        "line 1, wl_2: stands where wl_1 belongs; expected planet_id, wl_1 … wl_283,"
        " sigma_1 … sigma_283, in this order"
    ]
    renamed = [[*rows[0][:-2], "sigma_282", "mine"], *rows[1:]]
    assert said(saved(path, renamed)) == [
        "line 1, sigma_283: missing",
        "line 1, 'mine': no column of a submission",
    ]
    twice = [[*row, row[-1]] for row in rows]
    assert said(saved(path, twice)) == ["line 1, sigma_283: there twice"]
    short = [*rows[:2], rows[2][:-1], rows[3]]
    assert said(saved(path, short)) == ["line 3: got 566 values, expected 567"]
    (headless,) = said(saved(path, rows[1:]))
    assert headless.startswith("line 1: got 567 columns, '785834' first; expected planet_id")
    nameless = [row[1:] for row in rows]
    assert said(saved(path, nameless)) == ["line 1, planet_id: missing"]


def test_every_fault_is_counted_and_some_are_listed(tmp_path: Path, rows: list[list[str]]) -> None:
    for row in rows[1:]:
        row[284:] = ["0"] * 283
    found = said(saved(tmp_path / "submission.csv", rows))
    assert len(found) == MOST_FAULTS + 1
    assert found[0] == "line 2, sigma_1: got '0', expected more than 0"
    assert found[-1] == f"and {3 * 283 - MOST_FAULTS} more"


def test_the_planets_are_those_of_the_sample(tmp_path: Path, rows: list[list[str]]) -> None:
    sample = saved(tmp_path / "sample.csv", [rows[0], *([*r[:1], *["0"] * 566] for r in rows[1:])])
    path = saved(tmp_path / "submission.csv", [rows[0], *rows[:0:-1]])
    assert said(path, sample) == []  # in any order
    saved(path, [rows[0], rows[1], ["7", *rows[2][1:]]])
    assert said(path) == []
    assert said(path, sample) == [
        "line 3, planet_id: planet 7 is not in the sample",
        "planet 14485303, line 3 of the sample, is missing",
        "planet 17002355, line 4 of the sample, is missing",
    ]


def test_what_is_no_submission_at_all(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "submission.csv"
    path.write_bytes(b"")
    assert said(path)[0].startswith("line 1: got an empty file; expected planet_id")
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    assert said(path)[0].startswith("line 1: not CSV in UTF-8")
    assert said(saved(path, rows[:1])) == ["got no planet, expected one a line"]
    for missing in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match=f"cannot read {missing}: "):
            submission_faults(missing)
    saved(path, rows)
    bad = saved(tmp_path / "sample.csv", [row[:100] for row in rows])
    with pytest.raises(InputError, match=r"sample\.csv: line 1, wl_100: missing"):
        submission_faults(path, bad)

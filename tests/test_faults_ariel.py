"""Every file and table of a data set that can be wrong: named, and the rest unharmed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ariel_files import ADC, EXPOSURES, SPECTRUM, SYSTEM, Set, write_frame, write_set
from trainer.errors import InputError
from trainer.tasks.ariel.dataset import open_dataset, read_visits
from trainer.tasks.ariel.inspection import check
from trainer.tasks.ariel.visit import Fault, Visits

PLANETS = {11: 1, 5: 2}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return write_set(tmp_path_factory.mktemp("set") / "ariel", PLANETS)


@pytest.fixture
def written(pristine: Set, tmp_path: Path) -> Set:
    """A copy that a test may spoil."""
    shutil.copytree(pristine.root, tmp_path / "ariel")
    return Set(tmp_path / "ariel", pristine.frames, pristine.labels)


@pytest.fixture(autouse=True, scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> object:
    """The light curves of the pristine set are calibrated once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARBITER_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def unlink(file: Path) -> None:
    file.unlink()


def spoil(values: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Return what changes a frame's values."""

    def change(file: Path) -> None:
        table = pq.read_table(file)
        write_frame(file, values(np.stack([c.to_numpy() for c in table.columns], axis=1)))

    return change


def at(row: int, column: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        values[row, column] = value
        return values

    return change


def no_parquet(file: Path) -> None:
    file.write_text("not parquet")


def words(file: Path) -> None:
    pq.write_table(pa.table({f"c{index}": ["a"] * 4 for index in range(356)}), file)


def nulls(file: Path) -> None:
    table = pq.read_table(file)
    column = pa.array([None, *table.column(60).to_pylist()[1:]], pa.uint16())
    pq.write_table(table.set_column(60, table.column_names[60], column), file)


AIRS_SIGNAL, FGS1_SIGNAL = "AIRS-CH0_signal_0.parquet", "FGS1_signal_0.parquet"
IN_AIRS, IN_FGS1 = "AIRS-CH0_calibration_0", "FGS1_calibration_0"

BAD_FILES = [
    (unlink, AIRS_SIGNAL, "missing"),
    (unlink, FGS1_SIGNAL, "missing"),
    (unlink, f"{IN_FGS1}/dark.parquet", "missing"),
    (no_parquet, AIRS_SIGNAL, "not a parquet file"),
    (no_parquet, f"{IN_AIRS}/flat.parquet", "not a parquet file"),
    (spoil(lambda v: v[:, :-1]), AIRS_SIGNAL, "shape (40, 711), expected one column"),
    (spoil(lambda v: v[:-1]), FGS1_SIGNAL, "479 reads, expected an even number"),
    (spoil(lambda v: v[:240]), FGS1_SIGNAL, "120 exposures, expected at least 240"),
    (spoil(lambda v: v[:, :-1]), f"{IN_AIRS}/dark.parquet", "shape (2, 355), expected"),
    (spoil(lambda v: v[:-1]), f"{IN_AIRS}/dead.parquet", "shape (1, 356), expected (2, 356)"),
    (spoil(lambda v: v[:-1]), f"{IN_AIRS}/linear_corr.parquet", "expected 6 x ROWS"),
    (spoil(lambda v: v[:, :3]), f"{IN_FGS1}/flat.parquet", "as many columns of FGS1"),
    (words, f"{IN_AIRS}/dark.parquet", "is string, expected numbers"),
    (spoil(at(-1, 60, np.nan)), AIRS_SIGNAL, "NaN or infinite among a pixel's reads"),
    (nulls, AIRS_SIGNAL, "1 values are missing in a pixel's reads"),
    (spoil(at(3, 3, np.nan)), f"{IN_FGS1}/flat.parquet", "NaN or infinite in 1 values of good"),
    (spoil(at(0, 50, np.nan)), f"{IN_AIRS}/dark.parquet", "NaN or infinite in 1 values of good"),
    (spoil(at(9, 50, np.inf)), f"{IN_AIRS}/linear_corr.parquet", "NaN or infinite in 1 values"),
    (spoil(at(0, 50, np.nan)), f"{IN_AIRS}/dead.parquet", "NaN, expected 0 or 1"),
    (spoil(at(0, 50, 0)), f"{IN_AIRS}/flat.parquet", "0 or less in 1 good pixels"),
    (spoil(np.ones_like), f"{IN_FGS1}/dead.parquet", "all pixels of FGS1 are dead or hot"),
    (
        spoil(lambda v: v | (np.arange(356) == 39)),
        f"{IN_AIRS}/dead.parquet",
        "all pixels of detector column 39 (wl_283) are dead or hot",
    ),
    (spoil(np.zeros_like), AIRS_SIGNAL, "the star's flux is 0 or less in 282 of 282 wavelengths"),
    (spoil(lambda v: v[::-1]), FGS1_SIGNAL, "the star's flux is 0 or less"),
]


@dataclass
class Spoilt:
    """A data set in which each of many planets has one bad file, and what is said of it."""

    at_run: list[Fault]
    at_check: list[Fault]
    visits: Visits


@pytest.fixture(scope="module")
def spoilt(pristine: Set, tmp_path_factory: pytest.TempPathFactory) -> Spoilt:
    root = tmp_path_factory.mktemp("spoilt") / "ariel"
    shutil.copytree(pristine.root, root)
    for number, (change, name, _) in enumerate(BAD_FILES, start=100):
        shutil.copytree(root / "train" / "11", root / "train" / str(number))
        change(root / "train" / str(number) / name)
    for file in ("train.csv", "train_star_info.csv"):
        lines = (root / file).read_text().splitlines()
        (row,) = (line.partition(",")[2] for line in lines if line.startswith("11,"))
        lines += [f"{number},{row}" for number in range(100, 100 + len(BAD_FILES))]
        (root / file).write_text("\n".join(lines))
    dataset = open_dataset(root)
    visits = read_visits(dataset, dataset.planets, EXPOSURES)
    found = [*check(root).faults]
    return Spoilt([*dataset.faults, *visits.faults], found, visits)


class TestBadFiles:
    """Each names the file and the planet; the other planets are read as if nothing was."""

    @pytest.mark.parametrize("number", range(len(BAD_FILES)))
    def test_a_file(self, number: int, spoilt: Spoilt) -> None:
        _, name, complaint = BAD_FILES[number]
        planet = 100 + number
        for said in (spoilt.at_run, spoilt.at_check):
            (fault,) = (fault for fault in said if fault.planet_id == planet)
            assert fault.file == f"train/{planet}/{name}"
            assert complaint in fault.message

    def test_the_other_planets_are_unharmed(self, spoilt: Spoilt, pristine: Set) -> None:
        assert spoilt.visits.planet_ids.tolist() == [5, 5, 11]
        good = read_visits(open_dataset(pristine.root), [5, 11], EXPOSURES)
        np.testing.assert_array_equal(spoilt.visits.flux, good.flux)

    def test_all_files_that_are_bad_are_found_at_once(self, written: Set) -> None:
        planet = written.root / "train" / "11"
        for name in (f"{IN_AIRS}/dark.parquet", f"{IN_AIRS}/flat.parquet", FGS1_SIGNAL):
            no_parquet(planet / name)
        spoil(np.zeros_like)(written.root / "train" / "5" / AIRS_SIGNAL)
        (written.root / "train" / "5" / "FGS1_calibration_1" / "flat.parquet").unlink()
        expected = [
            "train/5/FGS1_calibration_1/flat.parquet",
            "train/5/AIRS-CH0_signal_0.parquet",
            "train/11/FGS1_signal_0.parquet",
            "train/11/AIRS-CH0_calibration_0/dark.parquet",
            "train/11/AIRS-CH0_calibration_0/flat.parquet",
        ]
        assert [fault.file for fault in check(written.root).faults] == expected
        quick = check(written.root, quick=True).faults
        expected.pop(1)  # that it is dark is seen by reading
        assert [fault.file for fault in quick] == expected

    def test_of_two_visits_the_good_one_stays(self, written: Set) -> None:
        (written.root / "train" / "5" / "FGS1_signal_1.parquet").write_text("x")
        visits = read_visits(open_dataset(written.root), [5], 10)
        assert visits.visit.tolist() == [0] and len(visits.faults) == 1
        (written.root / "train" / "5" / "FGS1_signal_1.parquet").unlink()
        dataset = open_dataset(written.root)
        assert dataset.visit_numbers[5] == (0,) and len(dataset.faults) == 1

    def test_where_no_visit_is_left(self, written: Set) -> None:
        no_parquet(written.root / "train" / "11" / FGS1_SIGNAL)
        with pytest.raises(
            InputError, match="none of 1 visits can be read; the first: train/11/FGS1"
        ):
            read_visits(open_dataset(written.root), [11], 10)

    def test_more_frames_than_exposures(self, pristine: Set) -> None:
        with pytest.raises(InputError, match="20 exposures, expected at least 187: one a frame"):
            read_visits(open_dataset(pristine.root), [11], 187)


def without_row(root: Path, file: str) -> None:
    lines = (root / file).read_text().splitlines()
    (root / file).write_text("\n".join(line for line in lines if not line.startswith("11,")))


def cell(name: str, value: str) -> Callable[[Path, str], None]:
    def change(root: Path, file: str) -> None:
        lines = [line.split(",") for line in (root / file).read_text().splitlines()]
        for line in lines[1:]:
            if line[0] == "11":
                line[lines[0].index(name)] = value
        (root / file).write_text("\n".join(map(",".join, lines)))

    return change


class TestBadTables:
    @pytest.mark.parametrize(
        ("change", "file", "complaint"),
        [
            (without_row, "train.csv", "no row of planet 11"),
            (without_row, "train_star_info.csv", "no row of planet 11"),
            (cell("wl_3", ""), "train.csv", "wl_3 is no number, expected a depth between 0 and 1"),
            (cell("wl_1", "-0.1"), "train.csv", "wl_1 is -0.1, expected a depth"),
            (cell("Rs", "nan"), "train_star_info.csv", "Rs is no number, expected a number"),
            (cell("Ts", "0"), "train_star_info.csv", "Ts is 0, expected more than 0"),
            (
                cell("P", "1e300"),
                "train_star_info.csv",
                "P is 1e+300, expected 0.001 to 1e+07 days",
            ),
            (cell("sma", "1e-9"), "train_star_info.csv", "sma is 1e-09, expected 1 to 1e+06"),
            (cell("e", "1"), "train_star_info.csv", "e is 1, expected 0 <= e < 1"),
        ],
    )
    def test_a_row(
        self, change: Callable[[Path, str], None], file: str, complaint: str, written: Set
    ) -> None:
        change(written.root, file)
        dataset = open_dataset(written.root)
        assert dataset.planets == (5,)
        (fault,) = dataset.faults
        assert (fault.file, fault.planet_id) == (file, 11) and complaint in fault.message

    @pytest.mark.parametrize(
        ("file", "content", "complaint"),
        [
            ("train.csv", None, "train.csv: missing"),
            ("train.csv", "", "train.csv: empty, expected a line of column names"),
            (
                "train.csv",
                "planet_id,wl_1\n11,0.1",
                "no column wl_2, wl_3, wl_4, wl_5, wl_6 and 277",
            ),
            ("train_star_info.csv", None, "train_star_info.csv: missing"),
            ("train_star_info.csv", f"planet_id,{','.join(SYSTEM)}\nx,1", "row 2: planet_id 'x'"),
            ("adc_info.csv", None, "adc_info.csv: missing"),
            ("adc_info.csv", "star\n1", "no column FGS1_adc_gain"),
            ("adc_info.csv", f"{','.join(ADC)}\n0,0,0,1", "FGS1_adc_gain is 0, expected"),
            ("adc_info.csv", ",".join(ADC), "0 rows, expected one for all planets"),
            ("axis_info.parquet", "x", "axis_info.parquet: not a parquet file"),
            ("wavelengths.csv", ",".join(SPECTRUM), "wavelengths.csv: 0 rows, expected one"),
        ],
    )
    def test_a_table(self, file: str, content: str | None, complaint: str, written: Set) -> None:
        (written.root / file).unlink()
        if content is not None:
            (written.root / file).write_text(content)
        with pytest.raises(InputError) as refused:
            open_dataset(written.root)
        assert complaint in str(refused.value)
        no_parquet(written.root / "train" / "11" / FGS1_SIGNAL)
        faults = check(written.root, quick=True).faults
        assert [fault.file for fault in faults] == [file, f"train/11/{FGS1_SIGNAL}"]

    def test_planets_that_are_there_twice_are_named(self, written: Set) -> None:
        for file in ("train.csv", "train_star_info.csv"):
            lines = (written.root / file).read_text().splitlines()
            (written.root / file).write_text("\n".join([*lines, lines[1], lines[2]]))
        with pytest.raises(InputError) as refused:
            open_dataset(written.root)
        for file in ("train.csv", "train_star_info.csv"):
            assert f"{file}: planet_ids 11, 5 in more than one row" in str(refused.value)

    def test_a_planet_with_two_folders_is_named(self, written: Set) -> None:
        shutil.copytree(written.root / "train" / "11", written.root / "train" / "011")
        with pytest.raises(InputError, match="planet 11 has two folders, 011 and 11"):
            open_dataset(written.root)
        (fault,) = check(written.root, quick=True).faults
        assert fault.file == "train" and "two folders" in fault.message

    @pytest.mark.parametrize("spoilt_by", ["a folder", "a link to itself", "an open quote"])
    def test_a_table_that_is_no_file(self, spoilt_by: str, written: Set) -> None:
        table = written.root / "train.csv"
        text = table.read_text()
        table.unlink()
        if spoilt_by == "a folder":
            table.mkdir()
            (table / "x").touch()
        elif spoilt_by == "a link to itself":
            table.symlink_to(table.name)
        else:
            table.write_text(text + '"')
        faults = check(written.root, quick=True).faults
        assert [fault.file for fault in faults] == ["train.csv"]

    def test_times_that_are_words(self, written: Set) -> None:
        file = written.root / "axis_info.parquet"
        pq.write_table(pa.table({"AIRS-CH0-axis0-h": ["x"] * 40}), file)
        with pytest.raises(InputError, match="no numbers in a column AIRS-CH0-axis0-h"):
            open_dataset(written.root)

    def test_no_data_set(self, tmp_path: Path, written: Set) -> None:
        with pytest.raises(InputError, match="no such folder"):
            open_dataset(tmp_path / "nothing")
        with pytest.raises(InputError, match="holds no data set of the challenge"):
            open_dataset(tmp_path)
        with pytest.raises(InputError) as refused:
            open_dataset(written.root / "train")
        assert refused.value.hint == f"the folder above it: {written.root}"
        shutil.rmtree(written.root / "train")
        with pytest.raises(InputError, match="train: no such folder: expected one folder a planet"):
            open_dataset(written.root)

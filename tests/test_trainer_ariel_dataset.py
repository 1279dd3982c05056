"""Data sets as they are published, as people keep them, and with everything that can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from orchestrator.cli import spectra_data
from orchestrator.errors import UsageError
from tests.ariel_files import (
    ADC,
    EXPOSURES,
    GAIN,
    OFFSET,
    SHAPES,
    SPECTRUM,
    SYSTEM,
    Set,
    write_csv,
    write_frame,
    write_labels,
    write_set,
)
from trainer.errors import InputError
from trainer.tasks.ariel import calibration_reference
from trainer.tasks.ariel.check import check
from trainer.tasks.ariel.dataset import open_dataset, read_visits
from trainer.tasks.ariel.detector import read_detector
from trainer.tasks.ariel.layout import AIRS, FGS1

PLANETS = {11: 1, 5: 2, 203: 1}


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


def expected_flux(made: Set, planet: int, visit: int, frames: int, suffix: str) -> np.ndarray:
    """Return (frames, 283) of a visit by the slow calibration, in the order that is promised."""
    from trainer.tasks.ariel.layout import VisitFiles

    files = VisitFiles(planet, visit, made.root / "train" / str(planet), suffix)
    curves = []
    for instrument, each in ((FGS1, 12), (AIRS, 1)):
        counts = made.frames[planet, visit][instrument.name].counts
        curves.append(
            calibration_reference.calibrate(
                counts,
                read_detector(files, instrument),
                GAIN,
                OFFSET,
                frames,
                EXPOSURES // frames * each,
            )
        )
    return np.concatenate([curves[0], curves[1][::-1]]).T


class TestRead:
    def test_2025(self, pristine: Set) -> None:
        dataset = open_dataset(pristine.root)
        assert (dataset.edition, dataset.part, dataset.faults) == ("2025", "train", ())
        assert dataset.planets == (5, 11, 203)
        assert dataset.visit_numbers == {5: (0, 1), 11: (0,), 203: (0,)}
        assert dataset.systems[11].sma == 8.5 and dataset.systems[11].planet_id == 11
        np.testing.assert_allclose(dataset.labels[203], pristine.labels[203])
        assert dataset.wavelengths_um[[0, 1, 282]] == pytest.approx([0.7, 1.95, 3.9])

    def test_light_curves_are_those_of_the_slow_calibration(self, pristine: Set) -> None:
        visits = read_visits(open_dataset(pristine.root), [5, 203], 10)
        assert visits.faults == ()
        for row, (planet, visit) in enumerate([(5, 0), (5, 1), (203, 0)]):
            np.testing.assert_allclose(
                visits.flux[row], expected_flux(pristine, planet, visit, 10, f"_{visit}"), rtol=1e-6
            )

    def test_times_are_those_of_the_axis(self, pristine: Set) -> None:
        visits = read_visits(open_dataset(pristine.root), [11], 10)
        np.testing.assert_allclose(visits.times_h[0], (np.arange(10) * 480 + 120) / 3600)

    def test_without_an_axis_times_are_the_published_ones(self, written: Set) -> None:
        (written.root / "axis_info.parquet").unlink()
        visits = read_visits(open_dataset(written.root), [11], EXPOSURES)
        np.testing.assert_allclose(visits.times_h[0], np.arange(EXPOSURES) * 4.8 / 3600)

    def test_what_is_left_over_at_the_end_is_dropped(self, pristine: Set) -> None:
        dataset = open_dataset(pristine.root)
        np.testing.assert_allclose(
            read_visits(dataset, [11], 6).flux[0],
            expected_flux(pristine, 11, 0, 6, "_0"),
            rtol=1e-6,
        )

    def test_2024(self, tmp_path: Path) -> None:
        made = write_set(tmp_path / "old", {7: 1, 8: 1}, edition="2024")
        dataset = open_dataset(made.root)
        assert (dataset.edition, dataset.planets) == ("2024", (7, 8))
        np.testing.assert_allclose(
            read_visits(dataset, [7], 20).flux[0], expected_flux(made, 7, 0, 20, ""), rtol=1e-6
        )
        (made.root / "train_star_info.csv").unlink()  # the published one has none
        assert open_dataset(made.root).systems == {}
        rows = [[7, OFFSET, GAIN, OFFSET, GAIN, 0]]
        write_csv(made.root / "train_adc_info.csv", ["planet_id", *ADC, "star"], rows)
        dataset = open_dataset(made.root)
        assert dataset.planets == (7,)
        assert [(f.file, f.planet_id) for f in dataset.faults] == [("train_adc_info.csv", 8)]

    def test_the_test_part_has_no_labels(self, tmp_path: Path) -> None:
        made = write_set(tmp_path / "t", {3: 1}, part="test")
        dataset = open_dataset(made.root, "test")
        assert dataset.planets == (3,) and dataset.labels == {} and 3 in dataset.systems
        assert len(read_visits(dataset, [3], 5).flux) == 1


class TestHarmless:
    """What tools and people do to such files without changing what is in them."""

    @pytest.fixture
    def before(self, pristine: Set) -> np.ndarray:
        return read_visits(open_dataset(pristine.root), [11], 10).flux

    def same(self, written: Set, before: np.ndarray) -> None:
        dataset = open_dataset(written.root)
        assert dataset.planets == (5, 11, 203) and dataset.faults == ()
        np.testing.assert_array_equal(read_visits(dataset, [11], 10).flux, before)

    @pytest.mark.parametrize("kind", [np.int32, np.int64, np.float32, np.float64])
    def test_types(self, kind: type, written: Set, before: np.ndarray) -> None:
        folder = written.root / "train" / "11"
        for name in SHAPES:
            counts = written.frames[11, 0][name].counts.astype(kind)
            write_frame(folder / f"{name}_signal_0.parquet", counts.reshape(len(counts), -1))
            dead = written.frames[11, 0][name].dead.astype(kind)
            write_frame(folder / f"{name}_calibration_0" / "dead.parquet", dead)
        self.same(written, before)

    @pytest.mark.parametrize("index", ["__index_level_0__", "Unnamed: 0", "frame"])
    def test_an_index_column(self, index: str, written: Set, before: np.ndarray) -> None:
        folder = written.root / "train" / "11"
        for file in (
            folder / "FGS1_signal_0.parquet",
            folder / "AIRS-CH0_signal_0.parquet",
            folder / "AIRS-CH0_calibration_0" / "linear_corr.parquet",
        ):
            table = pq.read_table(file)
            table = table.append_column(index, pa.array(np.arange(table.num_rows)))
            if index == "frame":  # named by the file itself, as pandas does
                about = json.dumps({"index_columns": [index]})
                table = table.replace_schema_metadata({"pandas": about})
            pq.write_table(table, file)
        self.same(written, before)

    def test_names_row_groups_and_encodings(self, written: Set, before: np.ndarray) -> None:
        for name in SHAPES:
            file = written.root / "train" / "11" / f"{name}_signal_0.parquet"
            table = pq.read_table(file)
            table = table.rename_columns([f"{index}.0" for index in range(table.num_columns)])
            pq.write_table(table, file, row_group_size=7, use_dictionary=False, compression="zstd")
        self.same(written, before)

    def test_flattened_copies(self, written: Set, before: np.ndarray) -> None:
        folder = written.root / "train" / "11"
        for name in SHAPES:
            frames = written.frames[11, 0][name]
            write_frame(folder / f"{name}_signal_0.parquet", frames.counts.reshape(-1, 1))
            below = folder / f"{name}_calibration_0"
            write_frame(below / "flat.parquet", frames.flat.reshape(-1, 1))
            write_frame(below / "linear_corr.parquet", frames.linear_corr.reshape(-1, 1))
        self.same(written, before)

    def test_tables(self, written: Set, before: np.ndarray) -> None:
        root = written.root
        columns = ["", "planet_id", *reversed(SPECTRUM)]
        rows = [[n, f"{p}.0", *row[::-1]] for n, (p, row) in enumerate(written.labels.items())]
        write_csv(root / "train.csv", columns, [*rows, []])
        write_csv(root / "adc_info.csv", ["star", *reversed(ADC)], [[0, *[GAIN, OFFSET] * 2]])
        text = (root / "train_star_info.csv").read_text()
        (root / "train_star_info.csv").write_bytes(
            b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
        )
        (root / "wavelengths.csv").unlink()
        self.same(written, before)
        assert (
            open_dataset(root).wavelengths_um[1] < 2 < 3.8 < open_dataset(root).wavelengths_um[-1]
        )

    def test_other_things_in_the_folders(self, written: Set, before: np.ndarray) -> None:
        (written.root / "train" / ".DS_Store").write_text("x")
        (written.root / "train" / "__MACOSX").mkdir()
        (written.root / "train" / "11" / "notes.txt").write_text("x")
        (written.root / "train" / "11" / "FGS1_calibration_0" / "read.parquet").unlink()
        self.same(written, before)

    def test_planets_that_were_not_downloaded(self, written: Set, before: np.ndarray) -> None:
        write_labels(written.root / "train.csv", written.labels | {99: written.labels[11]})
        self.same(written, before)
        (fault,) = check(written.root, quick=True).faults
        assert "1 of its planets have no folder in train: 99" in fault.message


def unlink(root: Path, name: str) -> None:
    (root / "train" / "11" / name).unlink()


def spoil(values: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path, str], None]:
    """Return what changes a frame's values."""

    def change(root: Path, name: str) -> None:
        file = root / "train" / "11" / name
        table = pq.read_table(file)
        write_frame(file, values(np.stack([c.to_numpy() for c in table.columns], axis=1)))

    return change


def at(row: int, column: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        values[row, column] = value
        return values

    return change


def no_parquet(root: Path, name: str) -> None:
    (root / "train" / "11" / name).write_text("not parquet")


def words(root: Path, name: str) -> None:
    columns = {f"c{index}": ["a"] * 4 for index in range(356)}
    pq.write_table(pa.table(columns), root / "train" / "11" / name)


def nulls(root: Path, name: str) -> None:
    file = root / "train" / "11" / name
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
    (spoil(lambda v: v[:, :-1]), AIRS_SIGNAL, "shape (40, 1423), expected one column"),
    (spoil(lambda v: v[:-1]), FGS1_SIGNAL, "479 reads, expected an even number"),
    (spoil(lambda v: v[:240]), FGS1_SIGNAL, "120 exposures, expected at least 240"),
    (spoil(lambda v: v[:, :-1]), f"{IN_AIRS}/dark.parquet", "shape (4, 355), expected"),
    (spoil(lambda v: v[:-1]), f"{IN_AIRS}/dead.parquet", "shape (3, 356), expected (4, 356)"),
    (spoil(lambda v: v[:-1]), f"{IN_AIRS}/linear_corr.parquet", "expected 6 x ROWS"),
    (spoil(lambda v: v[:, :3]), f"{IN_FGS1}/flat.parquet", "as many columns of FGS1"),
    (words, f"{IN_AIRS}/dark.parquet", "is string, expected numbers"),
    (spoil(at(-1, 60, np.nan)), AIRS_SIGNAL, "NaN or infinite among a pixel's reads"),
    (nulls, AIRS_SIGNAL, "1 values are missing in a pixel's reads"),
    (spoil(at(3, 3, np.nan)), f"{IN_FGS1}/flat.parquet", "NaN or infinite in 1 values of good"),
    (spoil(at(0, 50, np.nan)), f"{IN_AIRS}/dark.parquet", "NaN or infinite in 1 values of good"),
    (spoil(at(20, 50, np.inf)), f"{IN_AIRS}/linear_corr.parquet", "NaN or infinite in 1 values"),
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


class TestBadFiles:
    """Each names the file and the planet; the other planets are read as if nothing was."""

    @pytest.mark.parametrize(("change", "name", "complaint"), BAD_FILES)
    def test_a_file(
        self,
        change: Callable[[Path, str], None],
        name: str,
        complaint: str,
        written: Set,
        pristine: Set,
    ) -> None:
        change(written.root, name)
        dataset = open_dataset(written.root)
        visits = read_visits(dataset, dataset.planets, EXPOSURES)
        faults = [*dataset.faults, *visits.faults]
        assert [(fault.file, fault.planet_id) for fault in faults] == [(f"train/11/{name}", 11)]
        assert complaint in faults[0].message
        assert visits.planet_ids.tolist() == [5, 5, 203]
        good = read_visits(open_dataset(pristine.root), [5, 203], EXPOSURES)
        np.testing.assert_array_equal(visits.flux, good.flux)
        found = check(written.root).faults
        assert [(fault.file, fault.planet_id) for fault in found] == [(f"train/11/{name}", 11)]
        assert complaint.partition(",")[0] in found[0].message

    def test_all_files_that_are_bad_are_found_at_once(self, written: Set) -> None:
        for name in (f"{IN_AIRS}/dark.parquet", f"{IN_AIRS}/flat.parquet", FGS1_SIGNAL):
            no_parquet(written.root, name)
        spoil(np.zeros_like)(written.root.parent / "ariel", f"../5/{AIRS_SIGNAL}")
        unlink(written.root, "../203/FGS1_calibration_0/flat.parquet")
        found = check(written.root).faults
        assert [fault.file for fault in found] == [
            "train/203/FGS1_calibration_0/flat.parquet",
            "train/5/AIRS-CH0_signal_0.parquet",
            "train/11/FGS1_signal_0.parquet",
            "train/11/AIRS-CH0_calibration_0/dark.parquet",
            "train/11/AIRS-CH0_calibration_0/flat.parquet",
        ]
        assert len(check(written.root, quick=True).faults) == 4  # zeros are seen by reading

    def test_of_two_visits_the_good_one_stays(self, written: Set) -> None:
        (written.root / "train" / "5" / "FGS1_signal_1.parquet").write_text("x")
        visits = read_visits(open_dataset(written.root), [5], 10)
        assert visits.visit.tolist() == [0] and len(visits.faults) == 1
        (written.root / "train" / "5" / "FGS1_signal_1.parquet").unlink()
        dataset = open_dataset(written.root)
        assert dataset.visit_numbers[5] == (0,) and len(dataset.faults) == 1

    def test_where_no_visit_is_left(self, written: Set) -> None:
        no_parquet(written.root, FGS1_SIGNAL)
        with pytest.raises(
            InputError, match="none of 1 visits can be read; the first: train/11/FGS1"
        ):
            read_visits(open_dataset(written.root), [11], 10)

    def test_more_frames_than_exposures(self, pristine: Set) -> None:
        with pytest.raises(InputError, match="20 exposures, expected at least one for each of 187"):
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
            (cell("e", "1"), "train_star_info.csv", "e is 1, expected 0 <= e < 1"),
        ],
    )
    def test_a_row(
        self, change: Callable[[Path, str], None], file: str, complaint: str, written: Set
    ) -> None:
        change(written.root, file)
        dataset = open_dataset(written.root)
        assert dataset.planets == (5, 203)
        (fault,) = dataset.faults
        assert (fault.file, fault.planet_id) == (file, 11) and complaint in fault.message
        assert check(written.root, quick=True).faults == (fault,)

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
        no_parquet(written.root, FGS1_SIGNAL)
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


class TestCommands:
    @pytest.fixture
    def spectra(self) -> Callable[..., int]:
        program = typer.Typer()
        program.callback()(lambda: None)
        spectra_data.add_to(program)
        return lambda *words: program([*map(str, words)], standalone_mode=False)

    def test_check_of_a_good_set(
        self, spectra: Callable[..., int], pristine: Set, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert spectra("data", "check", pristine.root, "--workers", 1) == 0
        shown = capsys.readouterr()
        assert shown.out == ""
        assert (
            "nothing is missing or malformed: 3 planets, 4 whole visits, edition 2025" in shown.err
        )
        assert f"next: spectramind data calibrate {pristine.root}" in shown.err

    @pytest.mark.parametrize("output", ["table", "md", "csv", "json"])
    def test_check_lists_faults(
        self,
        output: str,
        spectra: Callable[..., int],
        written: Set,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        no_parquet(written.root, FGS1_SIGNAL)
        unlink(written.root, "../5/AIRS-CH0_signal_1.parquet")
        assert (
            spectra("data", "check", written.root, "--quick", "--workers", 1, "--format", output)
            == 2
        )
        shown = capsys.readouterr()
        assert "2 faults in 3 planets, 3 whole visits" in shown.err and "next: " in shown.err
        if output == "json":
            first = json.loads(shown.out)[0]
            assert first["file"] == "train/5/AIRS-CH0_signal_1.parquet"
            assert (first["planet_id"], first["message"]) == (5, "missing")
        else:
            assert "train/5/AIRS-CH0" in shown.out and "missing" in shown.out
            assert "train/11/FGS1" in shown.out and "not a parquet file" in shown.out

    def test_check_of_no_data_set(self, spectra: Callable[..., int], tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds no data set of the challenge"):
            spectra("data", "check", tmp_path)

    def test_calibrate(
        self, spectra: Callable[..., int], written: Set, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert spectra("data", "calibrate", written.root, "--frames", 5, "--workers", 1) == 0
        shown = capsys.readouterr()
        assert "train: calibrated 4 of 4 visits" in shown.err
        assert "4 visits of 5 frames in " in shown.err
        setting = f"task=ariel data.dataset_path={written.root} data.frames=5"
        assert f"next: spectramind train {setting}" in shown.err
        no_parquet(written.root, FGS1_SIGNAL)
        assert spectra("data", "calibrate", written.root, "--frames", 5, "--workers", 1) == 3
        shown = capsys.readouterr()
        assert "train/11/FGS1_signal_0.parquet" in shown.out and "3 visits of 5" in shown.err

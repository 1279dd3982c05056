"""Data sets as they are published, as people keep them, and with everything that can be wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ariel_files import (
    ADC,
    EXPOSURES,
    GAIN,
    OFFSET,
    SHAPES,
    SPECTRUM,
    Set,
    write_csv,
    write_frame,
    write_labels,
    write_set,
)
from trainer.tasks.ariel import calibration_reference, tables
from trainer.tasks.ariel.dataset import open_dataset, read_visits
from trainer.tasks.ariel.detector import read_detector
from trainer.tasks.ariel.inspection import check
from trainer.tasks.ariel.layout import AIRS, FGS1, VisitFiles

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


def expected_flux(made: Set, planet: int, visit: int, frames: int, suffix: str) -> np.ndarray:
    """Return (frames, 283) of a visit by the slow calibration, in the order that is promised."""
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
        assert dataset.planets == (5, 11)
        assert dataset.visit_numbers == {5: (0, 1), 11: (0,)}
        assert dataset.systems[11].sma == 8.5 and dataset.systems[11].planet_id == 11
        np.testing.assert_allclose(dataset.labels[5], pristine.labels[5])
        assert dataset.wavelengths_um[[0, 1, 282]] == pytest.approx([0.7, 1.95, 3.9])

    def test_light_curves_are_those_of_the_slow_calibration(self, pristine: Set) -> None:
        visits = read_visits(open_dataset(pristine.root), [5, 11], 10)
        assert visits.faults == ()
        for row, (planet, visit) in enumerate([(5, 0), (5, 1), (11, 0)]):
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
        assert dataset.planets == (5, 11) and dataset.faults == ()
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


def test_the_tables_as_they_are_published(tmp_path: Path) -> None:
    places = [folder / "shared/data/ariel" for folder in Path(__file__).resolve().parents]
    published = next((place for place in places if place.is_dir()), None)
    if published is None:
        pytest.skip("shared/data/ariel is not on this machine")
    for name, here in (
        ("train_labels_2024.csv", "train_labels.csv"),
        ("star_info_2025.csv", "train_star_info.csv"),
        ("wavelengths.csv", "wavelengths.csv"),
        ("adc_info.csv", "adc_info.csv"),
    ):
        (tmp_path / here).symlink_to(published / name)
    labels, wrong_labels = tables.labels(tmp_path, "2024")
    systems, wrong_systems = tables.systems(tmp_path, "train")
    assert (len(labels), len(systems), wrong_labels, wrong_systems) == (673, 1100, {}, {})
    assert tables.adc(tmp_path, "2025", "train", [1])[1].gain == {"FGS1": GAIN, "AIRS-CH0": GAIN}
    um = tables.wavelengths(tmp_path, tables.Axis())
    assert um[[0, 1, 282]] == pytest.approx([0.705, 1.951761, 3.895036])

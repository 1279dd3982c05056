"""Simulated data sets: their layout, and that the reader finds what was put in."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests import trainer_help as help
from trainer.errors import InputError
from trainer.tasks.ariel.dataset import Dataset, open_dataset, read_visits
from trainer.tasks.ariel.layout import AIRS, FGS1
from trainer.tasks.ariel.simulation import Recipe, built_in, built_in_hash, simulate
from trainer.tasks.ariel.simulation.instrument import (
    ADC_GAIN,
    wavelengths_um,
)
from trainer.tasks.ariel.simulation.planet import Part, draw_planet
from trainer.tasks.ariel.simulation.sources import read_sources

SMALL = Recipe(planets=2, seed=7, exposures=48, rows=4, fgs1_side=4)


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set without noise, some planets seen twice, one without labels."""
    root = tmp_path_factory.mktemp("silent") / "data"
    simulate(root, replace(SMALL, planets=3, visits=1.5, test_planets=1, noise=False))
    return root


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def table(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def truth(
    root: Path, planet: int, visit: int, frames: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return what is known of a visit, and the electrons (frames, 283) that a reader should find."""
    known = dict(np.load(root / "truth" / f"{planet}_{visit}.npz"))
    fgs1 = known["fgs1_electrons"].reshape(frames, -1).mean(1)
    airs = known["airs_electrons"].reshape(frames, -1, 282).mean(1)
    return known, np.concatenate([fgs1[:, None], airs], axis=1)


def test_the_reader_recovers_the_light_curves(silent: Path) -> None:
    """Without noise what is left is rounding: 0.7 electrons a read in some 100,000."""
    dataset = open_dataset(silent)
    assert (dataset.edition, dataset.faults, len(dataset.planets)) == ("2025", (), 3)
    visits = read_visits(dataset, dataset.planets, 24)
    assert visits.faults == ()
    assert sorted(set(visits.visit.tolist())) == [0, 1]
    for planet, number, hours, flux in zip(
        visits.planet_ids, visits.visit, visits.times_h, visits.flux, strict=True
    ):
        known, expected = truth(silent, int(planet), int(number), 24)
        ratio = flux / expected  # the reader fills up for the pixels that are not good
        residual = ratio / ratio.mean(0) - 1
        assert np.abs(residual).max() < 1e-4 and residual.std() < 3e-5
        assert (np.abs(ratio.mean(0) - 1) < 0.6).all()
        np.testing.assert_allclose(hours, known["airs_h"].reshape(24, -1).mean(1), atol=1e-9)
        assert 1 < known["mid_h"] < 6.5
        np.testing.assert_array_equal(dataset.labels[int(planet)], known["depth"])


def test_the_depth_that_the_star_loses_is_the_label(silent: Path) -> None:
    """In the middle of a transit a limb-darkened star loses a little more than the depth."""
    dataset = open_dataset(silent)
    for planet in dataset.planets:
        known, _ = truth(silent, planet, 0, 24)
        at = int(np.abs(known["airs_h"] - known["mid_h"]).argmin())
        lost = (1 - known["airs_transit"][at]) / known["depth"][1:]
        assert (lost > 0.9).all() and (lost < 1.25).all()
        assert known["airs_transit"][0] == pytest.approx(1) == known["fgs1_transit"][-1]


def test_the_noise_is_that_of_photons_and_reads(tmp_path: Path) -> None:
    recipe = replace(SMALL, planets=1, exposures=128)
    simulate(tmp_path / "data", recipe)
    dataset = open_dataset(tmp_path / "data")
    (flux,) = read_visits(dataset, dataset.planets, 128).flux
    _, expected = truth(tmp_path / "data", dataset.planets[0], 0, 128)
    residual = flux / expected
    residual = residual / residual.mean(0) - 1
    # Photons of both ramps, the noise of two reads in four pixels, and the rounding of a count.
    reads = 2 * 4 * (6.0**2 / recipe.coadded + (1 / ADC_GAIN) ** 2 / 12)
    predicted = np.sqrt(expected.mean(0) / recipe.coadded + reads) / expected.mean(0)
    airs = residual[:, 1:].std(0) / predicted[1:]
    assert np.median(airs) == pytest.approx(1, abs=0.05)
    fgs1 = math.sqrt(1 / recipe.coadded / 12 / expected[:, 0].mean())
    assert residual[:, 0].std() == pytest.approx(fgs1, rel=0.35)


def test_the_layout_of_2025(silent: Path) -> None:
    planets = sorted(path.name for path in (silent / "train").iterdir())
    assert planets == ["100001", "100002", "100003"]
    names = {path.name for path in silent.iterdir()}
    assert names == {
        "train", "test", "truth", "simulation.json", "train.csv", "train_star_info.csv",
        "test_star_info.csv", "adc_info.csv", "axis_info.parquet", "wavelengths.csv",
        "sample_submission.csv",
    }  # fmt: skip
    folder = silent / "train" / planets[0]
    calibration = [f"{name}.parquet" for name in ("dark", "dead", "flat", "linear_corr", "read")]
    for instrument, frames, rows, columns in ((AIRS, 96, 4, 356), (FGS1, 1152, 4, 4)):
        signal = pq.read_schema(folder / f"{instrument.name}_signal_0.parquet")
        assert {str(kind) for kind in signal.types} == {"uint16"}
        assert len(signal) == rows * columns
        assert pq.read_metadata(folder / f"{instrument.name}_signal_0.parquet").num_rows == frames
        inside = folder / f"{instrument.name}_calibration_0"
        assert sorted(path.name for path in inside.iterdir()) == calibration
        for name in calibration:
            shape = (6 * rows if name == "linear_corr.parquet" else rows, columns)
            found = pq.read_metadata(inside / name)
            assert (found.num_rows, found.num_columns) == shape
        assert str(pq.read_schema(inside / "dead.parquet").types[0]) == "bool"
    header, rows_of_adc = table(silent / "adc_info.csv")
    assert header == [
        f"{i}_adc_{what}" for i in ("FGS1", "AIRS-CH0") for what in ("offset", "gain")
    ]
    assert rows_of_adc == [["-1000.0", "0.4369"] * 2]
    header, rows_of_sample = table(silent / "sample_submission.csv")
    assert len(header) == 567 and [row[0] for row in rows_of_sample] == ["900001"]
    assert len(table(silent / "train.csv")[0]) == 284


def test_the_time_axis_holds_two_reads_an_exposure(silent: Path) -> None:
    axes = pq.read_table(silent / "axis_info.parquet")
    columns = {name: axes[name].to_numpy() for name in axes.column_names}
    counted = {name: int(np.isfinite(values).sum()) for name, values in columns.items()}
    assert counted == {
        "AIRS-CH0-axis0-h": 96,
        "AIRS-CH0-axis2-um": 356,
        "AIRS-CH0-integration_time": 96,
        "FGS1-axis0-h": 1152,
    }
    assert np.diff(columns["AIRS-CH0-axis0-h"][:2]) * 3600 == pytest.approx(0.1)
    assert columns["AIRS-CH0-integration_time"][:4].tolist() == [0.1, 4.5, 0.1, 4.5]


def test_the_layout_of_2024(tmp_path: Path) -> None:
    root = tmp_path / "data"
    simulate(root, replace(SMALL, planets=1, test_planets=1, edition="2024", truth=False))
    names = {path.name for path in root.iterdir()}
    assert {"train_labels.csv", "train_adc_info.csv", "test_adc_info.csv"} <= names
    assert not names & {"train.csv", "adc_info.csv", "truth"}
    folder = root / "train" / "100001"
    assert (folder / "AIRS-CH0_signal.parquet").is_file()
    assert (folder / "FGS1_calibration" / "dark.parquet").is_file()
    dataset = open_dataset(root)
    assert (dataset.edition, dataset.faults) == ("2024", ())
    assert read_visits(dataset, dataset.planets, 16).flux.shape == (1, 16, 283)


def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the processes; and more planets leave the first ones as they are."""
    recipe = replace(SMALL, exposures=16, rows=1, fgs1_side=2)
    simulate(tmp_path / "one", recipe)
    told: list[tuple[int, int]] = []
    simulate(tmp_path / "two", recipe, workers=2, progress=lambda *told_of: told.append(told_of))
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert told == [(1, 2), (2, 2)]
    simulate(tmp_path / "more", replace(recipe, planets=3))
    one, more = files(tmp_path / "one"), files(tmp_path / "more")
    of_planets = {name for name in one if name.startswith(("train/", "truth/"))}
    assert {name: more[name] for name in of_planets} == {name: one[name] for name in of_planets}
    assert more["train.csv"].startswith(one["train.csv"])


def test_another_seed_gives_other_planets() -> None:
    def depth(seed: int, index: int, part: Part = Part.TRAIN) -> list[float]:
        recipe = replace(SMALL, seed=seed)
        return draw_planet(recipe, read_sources(recipe), part, index).depth.tolist()

    assert depth(7, 0) == depth(7, 0)
    others = [depth(7, 1), depth(8, 0), depth(7, 0, Part.TEST)]
    assert depth(7, 0) not in others


def _labels_file(path: Path, n: int, change: Callable[[list[str]], None] | None = None) -> Path:
    header = ["planet_id", *(f"wl_{k}" for k in range(1, 284))]
    rng = np.random.default_rng(3)
    rows = [[str(k), *map(str, 2e-3 + 1e-4 * rng.random(283))] for k in range(n)]
    if change is not None:
        change(rows[-1])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def _systems_file(path: Path, **changed: float) -> Path:
    columns = ["planet_id", "Rs", "Ms", "Ts", "Mp", "e", "P", "sma", "i"]
    crossing = [5, 1.1, 1.0, 5800.0, 0.3, 0.0, 3.0, 9.0, 88.0]
    passing = [6, 1.1, 1.0, 5800.0, 0.3, 0.0, 3.0, 9.0, 82.0]
    first = [changed.get(name, value) for name, value in zip(columns, crossing, strict=True)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, first, passing])
    return path


def test_spectra_and_systems_of_files_are_used(tmp_path: Path) -> None:
    """Each planet another spectrum; a planet that does not cross its star is passed over."""
    spectra = _labels_file(tmp_path / "labels.csv", 3)
    recipe = replace(SMALL, planets=2, test_planets=1, spectra=spectra)
    sources = read_sources(recipe)
    drawn = [draw_planet(recipe, sources, Part.TRAIN, index) for index in (0, 1)]
    drawn.append(draw_planet(recipe, sources, Part.TEST, 0))
    given = {tuple(map(float, row[1:])) for row in table(spectra)[1]}
    assert {tuple(planet.depth.tolist()) for planet in drawn} == given
    systems = _systems_file(tmp_path / "systems.csv")
    recipe = replace(SMALL, planets=1, systems=systems)
    system = draw_planet(recipe, read_sources(recipe), Part.TRAIN, 0).system
    assert (system.planet_id, system.i, system.Ts) == (100_001, 88.0, 5800.0)


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    def refusal(**settings: Path | int) -> str:
        with pytest.raises(InputError) as refused:
            simulate(tmp_path / "data", replace(SMALL, **settings))  # type: ignore[arg-type]
        assert not any(path.name.startswith(("data", ".data")) for path in tmp_path.iterdir())
        return str(refused.value)

    few = _labels_file(tmp_path / "few.csv", 1)
    assert refusal(spectra=few) == f"{few}: got 1 spectra, expected at least one a planet: 2"
    bad = _labels_file(tmp_path / "bad.csv", 3, lambda row: row.__setitem__(5, "-1e-3"))
    assert "planet 2: got depths from -0.001" in refusal(spectra=bad)
    blank = _labels_file(tmp_path / "blank.csv", 3, lambda row: row.__setitem__(5, ""))
    assert "planet 2: wl_5 is no finite number" in refusal(spectra=blank)
    assert "no such file" in refusal(systems=tmp_path / "none.csv")
    star = _systems_file(tmp_path / "star.csv", Rs=-1.0)
    assert "planet 5" in refusal(systems=star)
    far = _systems_file(tmp_path / "far.csv", i=80.0)
    assert "no planet in it crosses" in refusal(systems=far)


def test_a_recipe_says_all_that_is_wrong_with_it() -> None:
    with pytest.raises(InputError) as refused:
        Recipe(planets=0, rows=40, exposures=3, visits=3)
    assert str(refused.value).splitlines() == [
        "planets: got 0, expected at least 1",
        "exposures: got 3, expected 16 to 5,625",
        "rows: got 40, expected 1 to 32",
        "visits: got 3, expected 1 to 2",
    ]
    with pytest.raises(InputError, match="visits: got"):
        replace(SMALL, visits=1.5, edition="2024")


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        simulate(tmp_path / "full", SMALL)
    assert files(tmp_path) == {"full/mine": b"x"}


def test_an_interrupted_data_set_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "empty").mkdir()
    recipe = replace(SMALL, exposures=16, rows=1, fgs1_side=2)
    for root in (tmp_path / "new", tmp_path / "empty"):
        with pytest.raises(KeyboardInterrupt):
            simulate(root, recipe, progress=stop)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]
    simulate(tmp_path / "empty", recipe)  # the same folder, not another in its place
    assert open_dataset(tmp_path / "empty").planets == (100_001, 100_002)


@pytest.mark.parametrize("there", [False, True])
def test_what_a_killed_process_left_is_no_obstacle_and_goes(there: bool, tmp_path: Path) -> None:
    root, recipe = tmp_path / "data", replace(SMALL, exposures=16, rows=1, fgs1_side=2)
    if there:
        root.mkdir()
    assert help.in_process(_simulate_and_die, root, recipe) == help.KILLED
    assert len([*tmp_path.rglob(".data.*")]) == 1
    simulate(root, recipe)
    assert not [*tmp_path.rglob(".data.*")]
    assert open_dataset(root).planets == (100_001, 100_002)


def _simulate_and_die(root: Path, recipe: Recipe) -> None:
    simulate(root, recipe, progress=lambda done, total: os._exit(help.KILLED))


def test_a_place_where_no_folder_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file" / "data", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="no folder can be made there"):
            simulate(root, SMALL)


def test_the_built_in_data_set_grows_and_keeps_its_planets(tmp_path: Path) -> None:
    two = built_in(2)
    made = {name: (two / name).stat().st_mtime_ns for name in files(two)}
    killed = two.parent / "planets" / ".100003.1"  # a process that came as far as this
    killed.mkdir()
    three = built_in(3)
    assert not killed.exists()
    assert three != two and built_in(2) == two
    assert {name: (two / name).stat().st_mtime_ns for name in files(two)} == made
    old, new = files(two), files(three)
    of_planets = [name for name in old if name.startswith("train/")]
    assert [new[name] for name in of_planets] == [old[name] for name in of_planets]
    linked = (two / of_planets[0]).stat().st_ino, (three / of_planets[0]).stat().st_ino
    assert linked[0] == linked[1]
    dataset: Dataset = open_dataset(three)
    assert (dataset.planets, dataset.faults) == ((100_001, 100_002, 100_003), ())
    assert two.is_relative_to(tmp_path / "home")
    assert built_in_hash(2) == built_in_hash(2) != built_in_hash(3)
    per_planet = sum(len(content) for content in new.values()) / 3
    assert per_planet < 1.4e6


def test_the_built_in_planets_are_still_the_same() -> None:
    """If this fails, raise `simulation.recipe.VERSION`: trials must then get other ids."""
    from trainer.tasks.ariel.simulation.built_in import RECIPE
    from trainer.tasks.ariel.simulation.recipe import VERSION

    planet = draw_planet(RECIPE, read_sources(RECIPE), Part.TRAIN, 0)
    assert VERSION == 1
    assert planet.depth[[0, 100, 282]] == pytest.approx(
        [0.010326300191239493, 0.010584021451372385, 0.010118840254900384], rel=1e-9
    )
    signal = pq.read_table(built_in(1) / "train/100001/AIRS-CH0_signal_0.parquet")
    # A column of light, loosely: the last digits of a random number may depend on the machine.
    counts = signal["column_534"].to_numpy()
    assert [counts[1::2].mean(), counts[::2].mean()] == pytest.approx([19441.9, 863.6], rel=1e-3)


def test_a_number_of_planets_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="planets: got 0"):
        built_in(0)
    assert not (tmp_path / "home").exists()


def test_published_spectra_and_systems(tmp_path: Path) -> None:
    """Of the challenge, where they are on this machine."""
    places = [folder / "shared/data/ariel" for folder in Path(__file__).resolve().parents]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        pytest.skip("shared/data/ariel is not on this machine")
    _, (um,) = table(found / "wavelengths.csv")
    assert wavelengths_um()[1:] == pytest.approx(np.array(um[1:], float), abs=1e-6)
    recipe = replace(
        SMALL,
        exposures=16,
        planets=1,
        spectra=found / "train_labels_2024.csv",
        systems=found / "star_info_2025.csv",
    )
    simulate(tmp_path / "data", recipe)
    dataset = open_dataset(tmp_path / "data")
    _, labels = table(recipe.spectra or Path())
    given = {tuple(map(float, row[1:])) for row in labels}
    assert {tuple(depth.tolist()) for depth in dataset.labels.values()} <= given
    assert read_visits(dataset, dataset.planets, 16).faults == ()

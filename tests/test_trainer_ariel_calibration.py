"""The calibration against a slow one that does the same step by step, and against a known star."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ariel_files import GAIN, OFFSET, SHAPES, Frames, write_frame
from trainer.tasks.ariel import calibration_reference
from trainer.tasks.ariel.calibration import calibrate, double_sampled
from trainer.tasks.ariel.detector import Detector, hot, read_detector
from trainer.tasks.ariel.layout import AIRS, FGS1, INSTRUMENTS, Instrument, VisitFiles
from trainer.tasks.ariel.parquet import Signal
from trainer.tasks.ariel.visit import FileError


def written(folder: Path, instrument: Instrument, frames: Frames) -> tuple[Signal, Detector]:
    """Write an instrument's files and open them."""
    frames.write(folder, instrument.name, "_0")
    files = VisitFiles(1, 0, folder, "_0")
    detector = read_detector(files, instrument)
    return Signal(files.signal(instrument), detector.shape), detector


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
@pytest.mark.parametrize(("frames", "each"), [(20, 1), (6, 3), (1, 20)])
def test_the_fast_one_equals_the_slow_one(
    instrument: Instrument, frames: int, each: int, tmp_path: Path
) -> None:
    made = Frames.of(instrument.name, np.random.default_rng(3))
    signal, detector = written(tmp_path, instrument, made)
    exposures = each * instrument.exposures
    fast = calibrate(signal, detector, GAIN, OFFSET, frames, exposures)
    slow = calibration_reference.calibrate(made.counts, detector, GAIN, OFFSET, frames, exposures)
    assert fast.shape == slow.shape == (1 if instrument is FGS1 else 282, frames)
    np.testing.assert_allclose(fast, slow, rtol=1e-10)


def test_blocks_are_an_affair_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 65536, (7, 2 * 30 * 11), dtype=np.uint16)
    polynomial = rng.normal(size=(5, 7)) * 10.0 ** -np.arange(0, 25, 5)[:, None]
    whole = double_sampled(counts, polynomial, 11, 30)
    for size in (1, 150, 700):
        monkeypatch.setattr("trainer.tasks.ariel.calibration.BLOCK", size)
        np.testing.assert_array_equal(double_sampled(counts, polynomial, 11, 30), whole)


def test_reading_few_pixels_at_once_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Frames.of(AIRS.name, np.random.default_rng(4))
    signal, detector = written(tmp_path, AIRS, made)
    whole = calibrate(signal, detector, GAIN, OFFSET, 5, 4)
    monkeypatch.setattr("trainer.tasks.ariel.calibration.READ_BYTES", 100 * 40 * 2)
    np.testing.assert_array_equal(calibrate(signal, detector, GAIN, OFFSET, 5, 4), whole)


def test_a_column_of_known_light(tmp_path: Path) -> None:
    """Worked by hand: dark, converter, an even detector with one dead pixel of two in a column."""
    shape = SHAPES[AIRS.name]
    counts = np.zeros((4, *shape), np.uint16)
    counts[0::2], counts[1::2] = 1000, 3000
    linear = np.zeros((6, *shape))
    linear[1], linear[2] = 1, 1e-5
    dead = np.zeros(shape, bool)
    dead[0, 39] = True
    flat = np.ones(shape)
    flat[:, 40] = 0.5
    made = Frames(counts, np.full(shape, 2.0), dead, flat, linear)
    signal, detector = written(tmp_path, AIRS, made)
    curves = calibrate(signal, detector, 0.5, -100.0, 1, 2)
    first, second = 1000 / 0.5 - 100, 3000 / 0.5 - 100
    linearised = (second + 1e-5 * second**2) - (first + 1e-5 * first**2)
    pixel = linearised - 2.0 * (4.5 - 0.1)
    np.testing.assert_allclose(curves[0, 0], 2 * pixel, rtol=1e-12)  # one pixel stands for two
    np.testing.assert_allclose(curves[1, 0], 2 * pixel / 0.5, rtol=1e-12)
    np.testing.assert_allclose(curves[2:, 0], 2 * pixel, rtol=1e-12)


def test_dead_and_hot_pixels_have_no_say(tmp_path: Path) -> None:
    made = Frames.of(AIRS.name, np.random.default_rng(5))
    before = calibrate(*written(tmp_path / "a", AIRS, made), GAIN, OFFSET, 4, 5)
    made.counts[:, made.dead] = 60_000
    made.flat[made.dead] = np.nan
    made.counts[:, made.dark > 20] = 0
    after = calibrate(*written(tmp_path / "b", AIRS, made), GAIN, OFFSET, 4, 5)
    np.testing.assert_array_equal(before, after)


def test_hot_pixels_are_clipped_again_and_again() -> None:
    dark = np.random.default_rng(0).normal(1, 0.1, (32, 32))
    dark[3, 4], dark[5, 6] = 500, 3  # the first hides the second until it is gone
    assert set(zip(*np.nonzero(hot(dark)), strict=True)) == {(3, 4), (5, 6)}
    assert not hot(np.full((4, 4), 2.0)).any()


def test_a_flattened_signal_is_read_as_well(tmp_path: Path) -> None:
    made = Frames.of(AIRS.name, np.random.default_rng(6))
    signal, detector = written(tmp_path, AIRS, made)
    by_pixel = calibrate(signal, detector, GAIN, OFFSET, 5, 4)
    write_frame(tmp_path / "flat.parquet", made.counts.reshape(-1, 1), ["0"])
    flattened = Signal(tmp_path / "flat.parquet", detector.shape)
    assert flattened.reads == 40
    np.testing.assert_array_equal(calibrate(flattened, detector, GAIN, OFFSET, 5, 4), by_pixel)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (
            np.zeros((40, 711), np.uint16),
            "shape (40, 711), expected one column for each of the 2 x",
        ),
        (np.zeros((41, 712), np.uint16), "41 reads, expected an even number"),
        (np.zeros((713, 1), np.uint16), "shape (713, 1), expected"),
        (np.zeros((0, 712), np.uint16), "0 reads, expected an even number"),
    ],
)
def test_a_signal_that_does_not_fit_is_refused(
    values: np.ndarray, complaint: str, tmp_path: Path
) -> None:
    write_frame(tmp_path / "AIRS-CH0_signal_0.parquet", values)
    with pytest.raises(FileError) as refused:
        Signal(tmp_path / "AIRS-CH0_signal_0.parquet", (2, 356))
    assert complaint in str(refused.value) and "AIRS-CH0_signal_0.parquet" in str(refused.value)

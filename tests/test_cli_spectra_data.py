"""The commands about data sets: what they print, say and return."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from orchestrator.cli import spectra_data
from orchestrator.errors import UsageError
from tests.ariel_files import Set, write_set

PLANETS = {11: 1, 5: 2}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return write_set(tmp_path_factory.mktemp("set") / "ariel", PLANETS)


@pytest.fixture
def written(pristine: Set, tmp_path: Path) -> Set:
    """A copy that a test may spoil."""
    shutil.copytree(pristine.root, tmp_path / "ariel")
    return Set(tmp_path / "ariel", pristine.frames, pristine.labels)


FGS1 = "train/11/FGS1_signal_0.parquet"


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
            "nothing is missing or malformed: 2 planets, 3 whole visits, edition 2025" in shown.err
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
        (written.root / FGS1).write_text("not parquet")
        (written.root / "train/5/AIRS-CH0_signal_1.parquet").unlink()
        assert (
            spectra("data", "check", written.root, "--quick", "--workers", 1, "--format", output)
            == 2
        )
        shown = capsys.readouterr()
        assert "2 faults in 2 planets, 2 whole visits" in shown.err and "next: " in shown.err
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
        assert "train: calibrated 3 of 3 visits" in shown.err
        assert "3 visits of 5 frames in " in shown.err
        setting = f"task=ariel data.dataset_path={written.root} data.frames=5"
        assert f"next: spectramind train {setting}" in shown.err
        (written.root / FGS1).write_text("not parquet")
        assert spectra("data", "calibrate", written.root, "--frames", 5, "--workers", 1) == 3
        shown = capsys.readouterr()
        assert "train/11/FGS1_signal_0.parquet" in shown.out and "2 visits of 5" in shown.err

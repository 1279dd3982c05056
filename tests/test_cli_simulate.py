"""The command that makes data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from orchestrator.cli import console, spectra_simulate
from orchestrator.errors import UsageError
from trainer.tasks.ariel.dataset import open_dataset


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """`data simulate` by itself; returns what it said."""
    monkeypatch.setattr(console, "_quiet", False)  # and so again afterwards
    app = typer.Typer()
    spectra_simulate.add_to(app)

    def run(*arguments: str) -> str:
        app(list(arguments), standalone_mode=False)
        said = capsys.readouterr()
        assert said.out == ""
        return said.err

    return run


def test_the_command_writes_a_data_set(tmp_path: Path, command: Callable[..., str]) -> None:
    root = tmp_path / "my data"
    small = ["--planets", "1", "--exposures", "16", "--rows", "1", "--fgs1-side", "2"]
    said = command(str(root), *small, "--test-planets", "1", "--visits", "2", "--workers", "1")
    assert said.splitlines() == [
        f"wrote {root}: 1 planet and 1 without labels, 4 visits, 1 MB",
        f"next: spectramind train data.dataset_path='{root}'",
    ]
    assert open_dataset(root).visit_numbers == {100_001: (0, 1)}
    assert command(str(tmp_path / "quiet"), *small, "--workers", "1", "-q") == ""


def test_the_command_refuses_in_its_own_words(tmp_path: Path, command: Callable[..., str]) -> None:
    with pytest.raises(UsageError) as refused:
        command(str(tmp_path / "x"), "--rows", "0", "--fgs1-side", "99", "--visits", "0")
    assert [str(problem) for problem in refused.value.problems] == [
        "--rows: got 0, expected 1 to 32",
        "--fgs1-side: got 99, expected 2 to 32",
        "--visits: got 0.0, expected 1 to 2",
    ]
    with pytest.raises(UsageError, match="no edition '2023'"):
        command(str(tmp_path / "x"), "--edition", "2023")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="got a file, expected a new folder"):
        command(str(tmp_path / "file"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

"""The wheel alone, in an environment of its own, started from another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, folder: Path) -> str:
    """Run a program in a folder, away from the checkout; return what it printed."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ARBITER"))}
    environment = inherited | {"ARBITER_HOME": str(folder / "home")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it; return the environment's `bin`."""
    folder = tmp_path_factory.mktemp("wheel")
    python = sys.executable
    build = (python, "-m", "build", "--no-isolation", "--wheel", "-o", folder, ROOT)
    run(*build, folder=folder)
    (wheel,) = folder.glob("*.whl")
    run(python, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    bin = folder / "venv" / "bin"
    pip = (python, "-m", "pip", "--python", bin / "python", "install", "--no-deps", "--no-index")
    run(*pip, "--quiet", wheel, folder=folder)
    own = run(
        bin / "python", "-c", "import site; print(site.getsitepackages()[0])", folder=folder
    ).strip()
    # The libraries of this environment; what its own .pth files name, the checkout, is not read.
    (Path(own) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return bin


def test_the_packages_are_the_installed_ones(installed: Path, tmp_path: Path) -> None:
    code = "import orchestrator, trainer; print(orchestrator.__file__, trainer.__file__)"
    for file in run(installed / "python", "-c", code, folder=tmp_path).split():
        assert Path(file).is_relative_to(installed.parent)


def test_the_probes_are_installed(installed: Path, tmp_path: Path) -> None:
    code = "from trainer.evaluation.probe_file import read; print(len(read('kjv').probes))"
    assert int(run(installed / "python", "-c", code, folder=tmp_path)) > 0


def test_the_smoke_sweep_of_a_template_runs(installed: Path, tmp_path: Path) -> None:
    command = ("sweep", "--strategy", "grid", "--scale", "smoke", "--executor", "inline")
    small = ("--gpus", "0", "--max-trials", "2", "training.steps=2", "training.eval_tokens=512")
    run(installed / "arbiter", *command, *small, folder=tmp_path)
    (directory,) = (tmp_path / "runs").iterdir()
    board = json.loads((directory / "leaderboard.json").read_text())
    assert [entry["rank"] for entry in board["entries"]] == [1, 2]
    assert "<html" in (directory / "leaderboard.html").read_text()
    said = run(installed / "arbiter", "doctor", directory, folder=tmp_path)
    assert said.startswith(f"runs/{directory.name}: whole (2 trials")

"""`arbiter train` asks for a tier at a terminal, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator import hardware
from orchestrator.cli import console
from orchestrator.cli.app import run
from orchestrator.errors import Exit
from orchestrator.hardware import Hardware
from tests.sweeps import trials_of

CHOICES = "[1] High VRAM tier  [2] Low VRAM tier  [3] Datacenter tier  [4] CPU  [5] Auto"
BASE = """
[model]
kind = "quadratic_mlp"
dim = 4
[data]
task = "modular"
p = 5
[training]
batch_size = "full"
steps = 2
[logging]
enable_tensorboard = false
"""


@dataclass
class Terminal:
    """Both ends of a pseudo-terminal; the program has the other one as stdin and stderr."""

    master: int
    said: bytes = b""
    done: threading.Event = field(default_factory=threading.Event)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read_all(self) -> str:
        """Return what was said, once the program's end is closed."""
        assert self.done.wait(30)
        return self.said.decode().replace("\r\n", "\n")

    def follow(self) -> None:
        with contextlib.suppress(OSError):  # the other end was closed
            while part := os.read(self.master, 4096):
                self.said += part
        self.done.set()


@pytest.fixture
def arbiter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run the program at a terminal on which an answer was typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path / "runs"))
    (tmp_path / "base.toml").write_text(BASE)

    def at_terminal(*arguments: str, answer: str = "") -> tuple[int, str]:
        master, slave = os.openpty()
        terminal = Terminal(master)
        reader = threading.Thread(target=terminal.follow)
        reader.start()
        terminal.type(answer)
        with (
            monkeypatch.context() as patch,
            os.fdopen(slave, "r", closefd=False) as stdin,
            os.fdopen(slave, "w") as stderr,
        ):
            patch.setattr("sys.stdin", stdin)
            patch.setattr("sys.stderr", stderr)
            patch.setattr("sys.argv", ["arbiter", "train", *arguments])
            with pytest.raises(SystemExit) as ended:
                run()
        said = terminal.read_all()
        reader.join()
        os.close(master)
        return int(str(ended.value.code)), said

    monkeypatch.setattr(console, "_quiet", False)  # and so it is again afterwards
    return at_terminal


def tier_of_the_run(folder: Path) -> str:
    (directory,) = (folder / "runs").iterdir()
    return str(trials_of(directory)[0].config["tier"]["name"])


def test_an_empty_answer_takes_the_tier_that_fits(
    arbiter: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    code, said = arbiter("--base-config", "base.toml", "--gpus", "0", answer="\n")
    assert code == Exit.OK, said
    assert CHOICES in said.splitlines()
    assert "not available here: 1, 2, 3 (needs a GPU: none is in use here)" in said
    assert "tier [4, CPU: no GPU is in use]: " in said
    assert tier_of_the_run(tmp_path) == "cpu"


def test_what_does_not_fit_is_asked_again(
    arbiter: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    answers = "2\nhihg_vram\n9\nauto\n"
    code, said = arbiter("--base-config", "base.toml", "--gpus", "0", answer=answers)
    assert code == Exit.OK, said
    assert "tier low_vram needs a GPU: none is in use here; 4 fits" in said
    assert "got 'hihg_vram', expected 1 to 5 or a name - did you mean high_vram?" in said
    assert "got '9', expected 1 to 5 or a name" in said
    assert said.count("tier [4") == 4


def test_the_default_is_that_of_the_machine(
    arbiter: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "detect", lambda: Hardware(cpus=2, gpus=(23.5, 80.0)))
    code, said = arbiter("--base-config", "base.toml", answer="4\n")
    assert code == Exit.OK, said
    assert "not available" not in said
    assert "tier [1, High VRAM tier: 24 GiB a GPU]: " in said
    assert tier_of_the_run(tmp_path) == "cpu"


def test_the_end_of_the_input_stops(
    arbiter: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    code, said = arbiter("--base-config", "base.toml", "--gpus", "0", answer="\x04")
    assert (code, "Traceback" in said) == (Exit.SECOND_INTERRUPT, False)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments", [["--tier", "cpu"], ["--tier", "auto"], ["tier=cpu"], ["tier.cpus=1"], ["-q"]]
)
def test_nothing_is_asked_where_it_is_said(
    arbiter: Callable[..., tuple[int, str]], arguments: list[str]
) -> None:
    code, said = arbiter("--base-config", "base.toml", "--gpus", "0", *arguments)
    assert (code, CHOICES in said) == (Exit.OK, False), said


def test_nothing_is_asked_where_the_base_config_says_it(
    arbiter: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / "base.toml").write_text(BASE + '[tier]\nprecision = "fp32"\n')
    code, said = arbiter("--base-config", "base.toml", "--gpus", "0")
    assert (code, CHOICES in said) == (Exit.OK, False), said


def test_a_mistake_is_told_before_anything_is_asked(
    arbiter: Callable[..., tuple[int, str]],
) -> None:
    code, said = arbiter("--base-config", "base.toml", "training.stesp=3")
    assert (code, CHOICES in said) == (Exit.USAGE, False)
    assert "did you mean training.steps?" in said

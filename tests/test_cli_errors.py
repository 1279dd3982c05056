"""What a user gets wrong is told at once, before anything heavy is loaded or written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli.app import run
from orchestrator.errors import Exit

HEAVY_WAS_LOADED = 99

ARBITER = f"""
import sys
sys.argv[0] = "arbiter"
from orchestrator.cli import main
try:
    main()
finally:
    heavy = {{"ray", "torch", "pandas", "optuna"}} & {{*sys.modules}}
    if heavy:
        sys.stderr.write(f"loaded {{heavy}}")
        sys.exit({HEAVY_WAS_LOADED})
"""


@dataclass
class Shop:
    """A folder to run `arbiter` in, with everything it may write to below it."""

    root: Path
    runs: str = ""

    def arbiter(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "ARBITER_RUNS": self.runs or str(self.root / "runs"),
            "ARBITER_HOME": str(self.root / "home"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        environment.pop("ARBITER_FULL_ERROR", None)
        return subprocess.run(
            [sys.executable, "-c", ARBITER, *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def tree(self) -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
            for path in self.root.rglob("*")
        }

    def file(self, name: str, text: str) -> str:
        (self.root / name).write_text(text)
        return name


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def refused(shop: Shop, *arguments: str, code: int = Exit.USAGE) -> str:
    """Run a command that must be refused; return what it said."""
    before = shop.tree()
    done = shop.arbiter(*arguments)
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert shop.tree() == before
    return done.stderr


def test_a_wrong_key(shop: Shop) -> None:
    base = shop.file("base.toml", "[training]\nsteps = 3\nleraning_rate = 1e-3\n")
    assert refused(shop, "sweep", "--strategy", "grid", "--base-config", base, "--gpus", "0") == (
        "error: base.toml:3: unknown key training.leraning_rate - did you mean learning_rate?\n"
    )


def test_a_wrong_key_on_the_command_line(shop: Shop) -> None:
    assert refused(shop, "sweep", "--strategy", "grid", "model.dmi=64", "--gpus", "0") == (
        "error: command line: unknown setting model.dmi - did you mean model.dim?\n"
    )


def test_a_wrong_type_and_another_mistake(shop: Shop) -> None:
    base = shop.file("base.toml", '[training]\nlearning_rate = "1e-3"\nsteps = 0\n')
    assert refused(shop, "sweep", "--strategy", "grid", "--base-config", base) == (
        "error: base.toml:2: training.learning_rate: got '1e-3', expected a number\n"
        "error: base.toml:3: training.steps: got 0, expected at least 1\n"
    )


def test_a_syntax_error(shop: Shop) -> None:
    template = shop.file("mine.toml", "[space]\ndim = [1, 2\nsteps = 3\n")
    error, line, caret = refused(shop, "sweep", "--strategy", template).splitlines()
    assert error.startswith("error: mine.toml:3:")
    assert "not valid TOML: " in error
    assert line == "    steps = 3"
    assert caret.strip() == "^"


def test_a_missing_file(shop: Shop) -> None:
    shop.file("base_config.toml", "")
    assert refused(shop, "sweep", "--strategy", "grid", "--base-config", "base_confg.toml") == (
        "error: base_confg.toml: cannot read the file: No such file or directory\n"
        "  hint: did you mean base_config.toml?\n"
    )


def test_an_unknown_template(shop: Shop) -> None:
    said = refused(shop, "sweep", "--strategy", "deep_narow")
    assert "--strategy: no sweep template 'deep_narow' - did you mean deep_narrow?" in said
    assert "hint: one of " in said


def test_too_many_gpus(shop: Shop) -> None:
    said = refused(shop, "sweep", "--strategy", "grid", "--gpus", "64")
    assert said.startswith("error: --gpus: asked for 64, this machine has ")
    assert "--gpus 0 trains on the CPU" in said


def test_a_tier_that_does_not_fit(shop: Shop) -> None:
    said = refused(shop, "sweep", "--strategy", "grid", "--gpus", "0", "--tier", "high_vram")
    assert "tier high_vram needs a GPU: none is in use here" in said
    assert "hint: --tier cpu" in said


def test_a_runs_folder_that_cannot_be_written_to(shop: Shop) -> None:
    shop.runs = "/proc/x"
    said = refused(shop, "sweep", "--strategy", "grid", "--gpus", "0")
    assert said.startswith("error: runs folder /proc/x: cannot write: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "model.dim=64,128"], "model.dim: got 2 values, a single run takes one"),
        (["sweep"], "missing option '--strategy'\n  hint: --strategy NAME: one of base_config, "),
        (["sweep", "--strategy", "grid", "foo"], "got 'foo', expected key=value"),
        (["plan", "--strategy", "grid", "--seeds", "0"], "--seeds"),
        (["plan", "--strategy", "grid", "--scale", "tiny"], "--scale: no scale 'tiny'"),
        (["plan", "--strategy", "grid", "--search", "bayes"], "no search method 'bayes'"),
        (["plan", "--strategy", "grid", "--format", "xml"], "one of table, md, csv, json"),
        (["sweep", "--strategy", "grid", "--executor", "rya_tune"], "did you mean ray_tune?"),
        (["leaderboard", "--format", "htm"], "did you mean html?"),
        (["status", "nope"], "no sweep of the path or name 'nope'"),
        (["leaderboard"], "no sweep yet"),
        (["swep"], "error: command line: no such command 'swep'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_odd_commands(
    shop: Shop,
    arguments: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shop.root)
    monkeypatch.setenv("ARBITER_RUNS", str(shop.root / "runs"))
    monkeypatch.setattr("sys.argv", ["arbiter", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    said = capsys.readouterr()
    assert ended.value.code == Exit.USAGE
    assert expected in said.err
    assert (said.out, "Traceback" in said.err) == ("", False)
    assert shop.tree() == {}


def test_a_plan_writes_nothing_and_its_notes_are_no_data(shop: Shop) -> None:
    done = shop.arbiter("plan", "--strategy", "grid", "--gpus", "0", "--format", "csv")
    assert done.returncode == Exit.OK, done.stderr
    assert done.stdout.startswith("trial,model.n_layers,")
    assert len(done.stdout.splitlines()) == 9
    assert "note: tier cpu: no GPU is in use" in done.stderr
    assert "next: " in done.stderr
    assert list(shop.root.iterdir()) == []


def test_a_reader_that_leaves_early_is_no_error(shop: Shop) -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    script = '"$0" -c "$1" plan --strategy grid --gpus 0 | true; exit ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, ARBITER],
        cwd=shop.root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (Exit.OK, False), done.stderr


def test_the_whole_error_is_shown_on_demand(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ARBITER, "plan", "--strategy", "grd"],
        cwd=shop.root,
        env=os.environ | {"ARBITER_FULL_ERROR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == Exit.USAGE
    assert "Traceback" in done.stderr
    assert "no sweep template 'grd'" in done.stderr


def test_a_ray_that_anybody_may_use(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    said = refused(shop, "sweep", "--strategy", "grid", "--gpus", "0")
    assert said.startswith("error: environment: RAY_AUTH_MODE: got 'disabled', expected 'token'")
    assert said.endswith("  hint: unset RAY_AUTH_MODE\n")


def in_a_shell(shop: Shop, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with its streams as a shell redirects them."""
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", sys.executable, "-c", ARBITER, *arguments],
        cwd=shop.root,
        env=os.environ | {"ARBITER_RUNS": str(shop.root / "runs"), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("<&- >&-", Exit.OK, "next: "),
        ("<&- >&- 2>&-", Exit.OK, ""),
        (">/dev/full", Exit.STORAGE, "error: the disk refused: No space left on device\n"),
        (">/dev/full 2>/dev/full", Exit.STORAGE, ""),
        ("| cat", Exit.OK, "next: "),
    ],
)
def test_streams_that_are_closed_full_or_narrow(
    shop: Shop, redirection: str, code: int, said: str
) -> None:
    template = shop.file("ascii.toml", '[model]\nname = "\\u00fc"\n')
    done = in_a_shell(
        shop, redirection, "plan", "--strategy", template, "--gpus", "0", "--show-config"
    )
    piped = redirection == "| cat"
    assert (0 if piped else done.returncode) == code
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert said in done.stderr
    assert ("\\xfc" in done.stdout) is piped


def test_a_current_folder_that_is_gone(shop: Shop) -> None:
    gone = shop.root / "gone"
    gone.mkdir()
    script = 'cd gone && rmdir ../gone && "$@"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-c", ARBITER, "status"],
        cwd=shop.root,
        env=os.environ | {"ARBITER_RUNS": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == Exit.USAGE
    assert done.stderr == "error: the current folder is gone\n  hint: cd to one that exists\n"

"""The second door: the same commands, the task they are meant for, presets, stops and resumes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from orchestrator.cli.door import Door
from orchestrator.cli.spectramind import app
from orchestrator.compose import Composition, Layer
from orchestrator.errors import UsageError
from orchestrator.reading import read_request
from orchestrator.request import Request
from orchestrator.spectra_table import judged_at_the_end, render_judged
from tests.program import Program
from tests.sweeps import CPU_ONLY
from trainer.config import RunConfig


@pytest.fixture
def spectra(program: Program) -> Program:
    program.name = "spectramind"
    return program


def composed(*overrides: str, base_config: Path | None = None) -> RunConfig:
    """Return what `spectramind train` composes, in epochs as the presets have it."""
    request = Request(base_config=base_config, task="ariel", overrides=overrides)
    reading = read_request(request, CPU_ONLY)
    composition: Composition = reading.composition.over(Layer(reading.typed))
    return composition.config({})


@pytest.mark.parametrize("overrides", [("trainer=defaults",), ()])
def test_the_defaults_are_those_of_the_contract(overrides: tuple[str, ...]) -> None:
    config = composed(*overrides)
    assert (config.data.task, config.model.kind) == ("ariel", "spectral")
    training = config.training
    assert (training.epochs, training.batch_size, config.tier.micro_batch) == (50, 64, 32)
    assert config.checkpoint.epochs == 10
    assert config.limits.wall_clock_minutes is None


def test_kaggle_safe_is_that_of_the_contract() -> None:
    config = composed("trainer=kaggle_safe")
    assert (config.training.epochs, config.training.batch_size) == (30, 32)
    assert config.limits.wall_clock_minutes == 540
    assert config.limits.max_gpu_memory_gib == 16
    assert config.data.memory_map  # type: ignore[union-attr]


def test_ci_fast_is_that_of_the_contract() -> None:
    config = composed("trainer=ci_fast")
    assert (config.training.epochs, config.training.batch_size) == (2, 8)
    planets, folds = config.data.planets, config.data.folds  # type: ignore[union-attr]
    assert planets - 2 * planets // folds == 2  # one part validates, one tests


def test_the_ablation_has_every_term_and_rule() -> None:
    config = composed("trainer=ablation")
    terms = config.loss.composite
    weights = (terms.smoothness, terms.fft, terms.nonnegativity, terms.asymmetry)
    assert [term.weight for term in weights] == [0.10, 0.10, 0.05, 0.05]
    assert config.symbolic.molecular_fingerprint.enabled
    assert config.symbolic.gravitational_lensing.enabled


def test_every_key_can_be_set() -> None:
    config = composed("loss.composite.fft.weight=0.3", "training.epochs=7", "data.fold=1")
    assert (config.loss.composite.fft.weight, config.training.epochs) == (0.3, 7)


def test_another_task_may_be_named_anywhere(tmp_path: Path) -> None:
    assert composed("task=modular", "model=quadratic_mlp").data.task == "modular"
    assert composed("task=corpus").data.task == "corpus"
    base = tmp_path / "base.toml"
    base.write_text('[data]\ntask = "modular"\n[training]\nbatch_size = "full"\n')
    assert composed("model=quadratic_mlp", base_config=base).data.task == "modular"
    base.write_text('[data]\ntask = "ariel"\nfold = 2\n[training]\nepochs = 3\n')
    config = composed(base_config=base)
    assert (config.data.task, config.training.epochs, config.checkpoint.epochs) == ("ariel", 3, 10)


def test_a_setting_that_spectra_have_not_is_refused() -> None:
    with pytest.raises(UsageError, match="seq_len"):
        composed("training.seq_len=5")


def test_commands_are_named_as_they_are_typed_here() -> None:
    door = Door("spectramind", frozenset({"resume", "plan", "show"}))
    assert door.spoken("next: arbiter resume runs/a") == "next: spectramind resume runs/a"
    assert door.spoken("hint: arbiter show [RUN]") == "hint: spectramind show [RUN]"
    for kept in (
        "arbiter tokenizer train CORPUS",  # it is not behind this door
        "arbiter planned",
        "/opt/arbiter plan",
        "another version of arbiter wrote it",
    ):
        assert door.spoken(kept) == kept
        assert Door().spoken(kept) == kept


def test_usage_errors_and_hints_name_this_door(spectra: Program) -> None:
    assert "hint: spectramind -h" in spectra("sweep_").err
    assert "hint: spectramind train -h" in spectra("train", "--ephocs").err
    assert "hint: spectramind sweep --strategy grid" in spectra("status").err
    said = spectra("train", "trainer=kaggle_save").err
    assert "no trainer 'kaggle_save' - did you mean kaggle_safe?" in said


def test_alone_it_prints_its_help(spectra: Program) -> None:
    done = spectra()
    assert done.code == 0 and done.out.startswith("Usage: spectramind [OPTIONS] COMMAND")


def test_the_page_names_every_command_and_no_other() -> None:
    page = (Path(__file__).parent.parent / "docs" / "spectramind.md").read_text()
    table = page.partition("| command | what it does |")[2].partition("\n\n")[0]
    cells = " ".join(row.split("|")[1] for row in table.splitlines()[2:])
    named = {
        words.removeprefix("spectramind ").split()[0] for words in re.findall("`(.*?)`", cells)
    }
    named -= {"calibrate", "simulate"}  # of `data`, beside `data check`
    assert named == {*typer.main.get_command(app).commands}  # type: ignore[attr-defined]


def test_names_are_completed() -> None:
    def offered(line: str) -> list[str]:
        asked = {
            "_SPECTRAMIND_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        }
        shown = CliRunner().invoke(app, [], env=asked, prog_name="spectramind")
        assert shown.exit_code == 0, shown.output
        return shown.output.split()

    assert offered("spectramind pre") == ["predict"]
    assert offered("spectramind train trainer=kag") == ["trainer=kaggle_safe"]
    assert offered("spectramind predict --part t") == ["test", "train"]
    assert "loss.composite.fft.weight=" in offered("spectramind train loss.composite.fft")


def test_the_table_at_the_end_has_the_network_beside_the_baseline_and_the_naive_answer() -> None:
    final = {
        "val/score": 0.9,
        "test/score": 0.51234,
        "test/rmse_ppm": 81.26,
        "test/coverage": 0.68,
        "test/z_std": 1.013,
        "test/score_uncalibrated": 0.4,
        "test/coverage_uncalibrated": 0.9,
        "test/z_std_uncalibrated": 0.5,
        "baseline/score": 0.3,
        "baseline/rmse_ppm": 1200.0,
        "baseline/coverage": 0.6,
        "baseline/naive_score": 0.0,
    }
    judged = judged_at_the_end(final)
    table = render_judged(judged, "table")
    cells = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    assert cells[0] == ["score", "RMSE (ppm)", "coverage", "z std"]
    assert cells[2:] == [
        ["network", "0.5123", "81.3", "0.680", "1.01"],
        ["network, σ not calibrated", "0.4000", "81.3", "0.900", "0.50"],
        ["physical baseline", "0.3000", "1,200.0", "0.600"],
        ["naive", "0.0000"],
    ]
    assert render_judged(judged, "csv").splitlines()[1] == "network,0.51234,81.26,0.68,1.013"
    assert '"score": 0.51234' in render_judged(judged, "json")
    assert judged_at_the_end({"val/loss": 1.0}) == []

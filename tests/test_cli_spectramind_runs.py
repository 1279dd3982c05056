"""From training to a submission: the score at the end, limits, predictions, the judgement of a file."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.plan import make_plan
from orchestrator.request import Request
from tests.program import Program
from tests.spectra import FRAMES, PLANETS, planets
from tests.sweeps import CPU_ONLY, rows_of, run_plan, trials_of
from trainer.checkpoint_files import complete_checkpoints
from trainer.config import RunConfig
from trainer.tasks.ariel.dataset import open_dataset
from trainer.tasks.ariel.submission import COLUMNS, submission_faults

SUMMARY = "run_hash_summary_v50.json"
STEPS = 8
"""Of a run of 2 epochs: 2 planets train, each is shown 8 times an epoch, 4 at a time."""


def small(*words: str) -> tuple[str, ...]:
    """Return what trains in a moment on planets that are simulated once."""
    return (
        f"data.dataset_path={planets()}",
        "data.folds=3",
        f"data.frames={FRAMES}",
        "model.dim=8",
        "model.n_layers=1",
        "training.epochs=2",
        "checkpoint.epochs=1",
        "training.batch_size=4",
        "tier.micro_batch=null",
        "logging.enable_tensorboard=false",
        *words,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one trial."""
    plan = make_plan(Request(task="ariel", overrides=small()), CPU_ONLY)
    return run_plan(plan, tmp_path_factory.mktemp("spectra") / "made").directory.path


@pytest.fixture
def spectra(program: Program, made: Path) -> Program:
    """The program beside a copy of the run, in a folder where the data set has no test part."""
    program.name = "spectramind"
    shutil.copytree(made, program.folder / "runs" / "made")
    return program


@pytest.fixture(scope="module")
def without_test(made: Path) -> Path:
    """The same planets as those trained on, without the data set's test part."""
    other = made.parent / "labelled"
    shutil.copytree(planets(), other, ignore=shutil.ignore_patterns("test"))
    return other


def written(path: Path) -> tuple[list[str], np.ndarray]:
    header, *rows = csv.reader(path.read_text().splitlines())
    return header, np.array(rows, dtype=float)


def test_training_ends_with_the_score_beside_the_baseline_and_the_naive_answer(
    program: Program,
) -> None:
    program.name = "spectramind"
    done = program("train", *small(), "--gpus", "0")
    assert done.code == 0, done.err
    (run,) = (program.folder / "runs").iterdir()
    (trial,) = trials_of(run)
    for line, metric in (
        ("network ", "test/score"),
        ("network, σ not calibrated", "test/score_uncalibrated"),
        ("physical baseline", "baseline/score"),
        ("naive", "baseline/naive_score"),
    ):
        (row,) = [row for row in done.out.splitlines() if row.startswith(line)]
        assert f" {trial.final[metric]:.4f}" in row
    assert f"config and checkpoints: runs/{run.name}/trials/{trial.id}" in done.err
    assert f"next: spectramind predict runs/{run.name}" in done.err
    objective = json.loads((run / "plan.json").read_text())["objective"]
    assert (objective["metric"], objective["mode"]) == ("val/score", "max")


def test_training_says_what_it_leaves_out_and_that_a_run_failed(
    program: Program, without_test: Path
) -> None:
    program.name = "spectramind"
    broken = shutil.copytree(without_test, program.folder / "broken")
    planet, *others = sorted((broken / "train").iterdir())
    (planet / "FGS1_signal_0.parquet").write_bytes(b"cut")
    here = (f"data.dataset_path={broken}", "--gpus", "0")
    done = program("train", *small()[1:], *here)
    assert done.code == 0, done.err
    assert (
        f"left out: train/{planet.name}/FGS1_signal_0.parquet (planet {planet.name}):" in done.err
    )
    for other in others:
        (other / "FGS1_signal_0.parquet").write_bytes(b"cut")
    failed = program("train", *small()[1:], *here)
    assert failed.code in (2, 3) and "nothing to train" not in failed.err, failed.err


def test_steps_and_epochs_are_not_both_given(program: Program) -> None:
    program.name = "spectramind"
    refused = program("train", *small(), "training.steps=5")
    assert refused.code == 2
    assert "got training.epochs = 2 and training.steps = 5, expected one of them" in refused.err


def test_kaggle_safe_stops_at_each_limit_and_resume_ends_as_an_unbroken_run(
    program: Program,
) -> None:
    program.name = "spectramind"
    train = ("train", *small(), "trainer=kaggle_safe", "--gpus", "0")
    limits = {"stop_after_steps": "3", "wall_clock_minutes": "1e-9", "max_host_memory_gib": "1e-3"}
    reasons = ("budget", "wall clock", "budget")
    command, typed = [*train, "--name", "cut"], ""
    for (name, value), reason in zip(limits.items(), reasons, strict=True):
        stopped = program(*command, *typed.split(), f"limits.{name}={value}")
        assert stopped.code == 75, stopped.err
        (cut,) = (program.folder / "runs").glob("cut-*")
        assert f"next: spectramind resume runs/{cut.name}" in stopped.err
        (trial,) = trials_of(cut)
        assert (trial.label, trial.step < STEPS) == (reason, True)
        (checkpoint,) = complete_checkpoints(cut / "trials" / trial.id / "checkpoints")[-1:]
        assert checkpoint.name == f"step-{trial.step:09d}"
        command = ["resume", cut.name, "--executor", "inline"]
        typed = f"limits.{name}=null"
    assert program(*command, typed).code == 0
    assert program(*train, "--name", "whole", "--fresh").code == 0
    (whole,) = (program.folder / "runs").glob("whole-*")
    assert rows_of(cut) == rows_of(whole)
    (steps,) = rows_of(cut).values()
    assert steps[-1][0] == STEPS
    exits = [run["exit_code"] for run in json.loads((program.folder / SUMMARY).read_text())["runs"]]
    assert exits == [75, 75, 75, 0, 0]


def test_the_planets_held_out_are_judged_as_in_training(
    spectra: Program, without_test: Path
) -> None:
    run = spectra.folder / "runs" / "made"
    (trial,) = trials_of(run)
    moved = {**trial.config, "data": {**trial.config["data"], "dataset_path": str(without_test)}}
    rewrite(run, trial, moved)
    done = spectra("predict", "--format", "json")
    assert done.code == 0, done.err
    assert "the planets that the run held out for its test" in done.err
    assert "next: spectramind validate submission.csv" in done.err
    header, rows = written(spectra.folder / "submission.csv")
    assert header == list(COLUMNS) and (rows[:, 1:284] >= 0).all() and (rows[:, 284:] > 0).all()
    judged = {row["name"]: row for row in json.loads(done.out)}
    for name, group, suffix in (
        ("network", "test", ""),
        ("network, σ not calibrated", "test", "_uncalibrated"),
        ("physical baseline", "baseline", ""),
    ):
        for figure in ("score", "coverage"):
            expected = trial.final[f"{group}/{figure}{suffix}"]
            assert judged[name][figure] == pytest.approx(expected, abs=1e-6), (name, figure)
        assert judged[name]["rmse_ppm"] == pytest.approx(trial.final[f"{group}/rmse_ppm"])
    assert judged["naive"]["score"] == trial.final["baseline/naive_score"]
    entry = json.loads((spectra.folder / SUMMARY).read_text())["runs"][0]
    assert (entry["run_id"], entry["exit_code"]) == ("made", 0)


def rewrite(run: Path, trial: TrialRecord, config: dict[str, object]) -> None:
    """Give a trial a config that says the same of data that moved."""
    (run / "ledger.db").unlink()
    sweep = {"name": "made", "objective": {"metric": "val/score", "mode": "max"}}
    record = TrialRecord(trial.id, 0, trial.point_id, trial.seed, {}, config)
    Ledger.create(run / "ledger.db", sweep, [record])


def test_planets_without_truth_are_predicted_and_not_judged(spectra: Program) -> None:
    done = spectra("predict", "made", "--out", "s.csv")
    assert done.code == 0, done.err
    assert done.out == "" and "predicts the test planets of" in done.err
    _, rows = written(spectra.folder / "s.csv")
    assert rows[:, 0].tolist() == list(open_dataset(Path(planets()), "test").planets)
    (spectra.folder / "s.csv").write_text("mine")
    refused = spectra("predict", "--out", "s.csv", "--data", planets())
    assert refused.code == 2 and "--out: s.csv exists" in refused.err
    assert (spectra.folder / "s.csv").read_text() == "mine"
    assert spectra("predict", "--out", "s.csv", "--data", planets(), "--force").code == 0
    assert submission_faults(spectra.folder / "s.csv") == []


def test_labelled_planets_can_be_asked_for(spectra: Program) -> None:
    (trial,) = trials_of(spectra.folder / "runs" / "made")
    done = spectra("predict", "--part", "train", "--trial", trial.id[:4], "--format", "csv")
    assert done.code == 0, done.err
    assert "most of which it was trained on" in done.err
    assert done.out.startswith("name,score,rmse_ppm,coverage,z_std\nnetwork,")
    assert len(written(spectra.folder / "submission.csv")[1]) == PLANETS


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nope"], "no sweep of the path or name 'nope'"),
        (["--trial", "zzz"], "no trial 'zzz'"),
        (["--data", "nowhere"], "nowhere"),
        (["--part", "tset"], "no part 'tset' - did you mean test?"),
        (["--format", "xml"], "one of table, md, csv, json"),
        (["--out", "."], "got the folder ."),
        (["--out", "no/such/folder.csv"], "mkdir -p no/such"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_predicted_is_refused(
    spectra: Program, arguments: list[str], expected: str
) -> None:
    done = spectra("predict", *arguments)
    assert (done.code, done.out) == (2, "") and expected in done.err, done.err
    assert not list(spectra.folder.glob("*.csv"))


def test_a_run_of_another_task_has_no_spectra(spectra: Program) -> None:
    run = spectra.folder / "runs" / "made"
    (trial,) = trials_of(run)
    other = RunConfig.model_validate({"data": {"task": "modular"}})
    rewrite(run, trial, other.model_dump(mode="json"))
    done = spectra("predict")
    assert done.code == 2
    assert f"trial {trial.id} has learned task modular, which has no spectra" in done.err


def test_a_submission_is_judged_with_line_and_column(program: Program) -> None:
    program.name = "spectramind"
    rows = [[planet, *[0.01] * 283, *[1e-4] * 283] for planet in (7, 9)]
    lines = [",".join(map(str, row)) for row in (COLUMNS, *rows)]
    good, bad = program.folder / "good.csv", program.folder / "bad.csv"
    good.write_text("\n".join(lines) + "\n")
    done = program("validate", "good.csv", "--sample", "good.csv")
    assert done.code == 0
    assert done.out == "good.csv: valid: 2 planets, 567 columns, the planets of good.csv\n"
    cells = lines[1].split(",")
    cells[3], cells[284] = "-1", "0"
    bad.write_text("\n".join([lines[0], ",".join(cells), ""]))
    done = program("validate", "bad.csv", "--sample", "good.csv")
    assert (done.code, done.out) == (2, "")
    for part in ("bad.csv: line 2, wl_3: ", "bad.csv: line 2, sigma_1: ", "planet 9"):
        assert part in done.err
    missing = program("validate", "no.csv")
    assert missing.code == 2 and "no.csv" in missing.err


def test_a_plan_reads_the_data_set_once_for_all_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(
        "trainer.tasks.ariel.dataset.open_dataset",
        lambda *given: opened.append(given) or open_dataset(*given),
    )

    def reads(*words: str) -> tuple[int, int]:
        opened.clear()
        plan = make_plan(Request(task="ariel", overrides=small(*words), ablation=True), CPU_ONLY)
        return len(plan.trials), len(opened)

    axis = "training.learning_rate=1e-3,2e-3"
    (few, once), (many, again) = reads(axis), reads(f"{axis},3e-3,4e-3")
    assert many > few and once == again > 0

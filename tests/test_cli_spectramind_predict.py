"""Spectra of a trained network, as a submission, and the judgement of submissions."""

from __future__ import annotations

import csv
import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.ledger import Ledger, TrialRecord
from tests.ariel_files import write_labels, write_set
from tests.program import Program
from trainer.config import RunConfig
from trainer.tasks.ariel.dataset import Dataset
from trainer.tasks.ariel.score import Reference, score
from trainer.tasks.ariel.submission import COLUMNS, submission_faults

HELD_OUT = (30, 40)
ERROR = 1e-4


@dataclass(frozen=True, eq=False)
class Prediction:
    """What `trainer.tasks.ariel.prediction` says of planets."""

    planet_ids: np.ndarray
    mu: np.ndarray
    sigma: np.ndarray
    raw_sigma: np.ndarray
    baseline_mu: np.ndarray
    baseline_sigma: np.ndarray
    truth: np.ndarray | None


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with four labelled planets, whose depths are 10 to 40 times 1e-4."""
    root = tmp_path_factory.mktemp("ariel") / "set"
    planets = (10, 20, *HELD_OUT)
    write_set(root, dict.fromkeys(planets, 1))
    write_labels(root / "train.csv", {planet: np.full(283, planet * 1e-4) for planet in planets})
    return root


@pytest.fixture
def spectra(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Program, list[Any]]:
    """The program beside a run of one trial, with a network that is wrong by nearly `ERROR`."""
    asked: list[Any] = []

    def predict_trial(config: RunConfig, directory: Path, part: str | Dataset) -> Prediction:
        asked.append((config.data.task, directory.name, part))
        planets = np.array(HELD_OUT if isinstance(part, str) else part.planets)
        known = isinstance(part, str) or part.labels
        truth = np.repeat(planets[:, None] * 1e-4, 283, axis=1)
        sigma = np.full_like(truth, ERROR)
        mu = truth + ERROR * np.resize([0.9, -0.9], 283)
        mu[0, 5] = -ERROR  # no depth: it counts as 0
        return Prediction(
            planets, mu, sigma, 2 * sigma, truth + 5e-4, 5 * sigma, truth if known else None
        )

    module = types.ModuleType("trainer.tasks.ariel.prediction")
    module.predict_trial = predict_trial  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    program.name = "spectramind"
    make_run(program.folder / "runs" / "made", {"task": "ariel", "dataset_path": str(data)})
    return program, asked


def make_run(directory: Path, data: dict[str, Any]) -> None:
    """Write a run of one trial with a checkpoint; only its place is looked at."""
    kind = "spectral" if data["task"] == "ariel" else "quadratic_mlp"
    config = RunConfig.model_validate({"data": data, "model": {"kind": kind}})
    trial = TrialRecord("abc123", 0, "point", 0, {}, config.model_dump(mode="json"))
    directory.mkdir(parents=True)
    sweep = {"name": "made", "objective": {"metric": "val/score", "mode": "max"}}
    Ledger.create(directory / "ledger.db", sweep, [trial])
    (directory / "trials" / trial.id / "checkpoints" / "step-000001").mkdir(parents=True)


def written(path: Path) -> tuple[list[str], np.ndarray]:
    header, *rows = csv.reader(path.read_text().splitlines())
    return header, np.array(rows, dtype=float)


def test_the_held_out_planets_are_predicted_and_judged(
    spectra: tuple[Program, list[Any]], data: Path
) -> None:
    program, asked = spectra
    done = program("predict", "--format", "json")
    assert done.code == 0, done.err
    assert asked == [("ariel", "abc123", "test")]
    assert "next: spectramind validate submission.csv" in done.err
    header, rows = written(program.folder / "submission.csv")
    assert header == list(COLUMNS) and rows[:, 0].tolist() == list(HELD_OUT)
    assert rows[0, 6] == 0 and (rows[:, 1:284] >= 0).all() and (rows[:, 284:] == ERROR).all()
    truth = np.repeat(rows[:, :1] * 1e-4, 283, axis=1)
    labels = np.repeat([[1e-3], [2e-3], [3e-3], [4e-3]], 283, axis=1)
    mine = score(rows[:, 1:284], rows[:, 284:], truth, Reference.of(labels, "2025"))
    judged = {row["name"]: row for row in json.loads(done.out)}
    assert judged["network"]["score"] == mine.total
    assert judged["naive"]["score"] == 0
    assert judged["physical baseline"]["rmse_ppm"] == pytest.approx(500)
    network, raw = judged["network"], judged["network, σ not calibrated"]
    assert network["coverage"] == 565 / 566  # all but the depth that was below zero
    assert raw["z_std"] == pytest.approx(network["z_std"] / 2)
    assert program("validate", "submission.csv").code == 0
    entry = json.loads((program.folder / "run_hash_summary_v50.json").read_text())["runs"][0]
    assert (entry["run_id"], entry["exit_code"]) == ("made", 0)


def test_planets_without_truth_are_predicted_and_not_judged(
    spectra: tuple[Program, list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    program, asked = spectra
    other = tmp_path_factory.mktemp("other")
    write_set(other, {71: 1, 70: 1}, part="test")
    done = program("predict", "made", "--data", str(other), "--out", "s.csv")
    assert done.code == 0, done.err
    assert done.out == "" and "predicts the test planets of" in done.err
    assert asked[0][2].planets == (70, 71)
    assert written(program.folder / "s.csv")[1][:, 0].tolist() == [70, 71]


def test_labelled_planets_can_be_asked_for(spectra: tuple[Program, list[Any]]) -> None:
    program, asked = spectra
    done = program("predict", "--part", "train", "--trial", "abc", "--format", "csv")
    assert done.code == 0, done.err
    assert asked[0][2].planets == (10, 20, 30, 40)
    assert "most of which it was trained on" in done.err
    assert done.out.startswith("name,score,rmse_ppm,coverage,z_std\nnetwork,")


def test_a_file_that_exists_is_kept_without_force(spectra: tuple[Program, list[Any]]) -> None:
    program, asked = spectra
    (program.folder / "submission.csv").write_text("mine")
    done = program("predict")
    assert done.code == 2 and "--out: submission.csv exists" in done.err and not asked
    assert (program.folder / "submission.csv").read_text() == "mine"
    assert program("predict", "--force").code == 0
    assert submission_faults(program.folder / "submission.csv") == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nope"], "no sweep of the path or name 'nope'"),
        (["--trial", "fff"], "no trial 'fff'"),
        (["--data", "nowhere"], "nowhere"),
        (["--part", "tset"], "no part 'tset' - did you mean test?"),
        (["--part", "test"], "test"),
        (["--format", "xml"], "one of table, md, csv, json"),
        (["--out", "."], "got the folder ."),
        (["--out", "no/such/folder.csv"], "mkdir -p no/such"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_predicted_is_refused(
    spectra: tuple[Program, list[Any]], arguments: list[str], expected: str
) -> None:
    program, _ = spectra
    done = program("predict", *arguments)
    assert (done.code, done.out) == (2, "") and expected in done.err, done.err
    assert not list(program.folder.rglob("*.csv"))


def test_a_run_of_another_task_has_no_spectra(spectra: tuple[Program, list[Any]]) -> None:
    program, _ = spectra
    make_run(program.folder / "runs" / "text", {"task": "modular"})
    said = program("predict", "text").err
    assert "trial abc123 has learned task modular, which has no spectra" in said


def test_a_submission_is_judged_with_line_and_column(
    spectra: tuple[Program, list[Any]],
) -> None:
    program, _ = spectra
    assert program("predict").code == 0
    good = program("validate", "submission.csv", "--sample", "submission.csv")
    assert good.code == 0
    assert good.out == (
        "submission.csv: valid: 2 planets, 567 columns, the planets of submission.csv\n"
    )
    header, first = (program.folder / "submission.csv").read_text().splitlines()[:2]
    cells = first.split(",")
    cells[3], cells[284] = "-1", "0"
    (program.folder / "bad.csv").write_text("\n".join([header, ",".join(cells), ""]))
    bad = program("validate", "bad.csv", "--sample", "submission.csv")
    assert (bad.code, bad.out) == (2, "")
    for part in ("bad.csv: line 2, wl_3: ", "bad.csv: line 2, sigma_1: ", "planet 40"):
        assert part in bad.err
    missing = program("validate", "no.csv")
    assert missing.code == 2 and "no.csv" in missing.err

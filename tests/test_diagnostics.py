"""Diagnostics: the numbers behind each figure, and pages that stand alone."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from orchestrator.cli import diagnostics as command
from orchestrator.diagnostics import SUBFOLDER, write_diagnostics
from orchestrator.diagnostics.held_out import HeldOut
from orchestrator.errors import StorageError
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.objective import Objective
from trainer.config import RunConfig
from trainer.errors import InputError
from trainer.reporting import FitResult, Reason
from trainer.tasks.ariel.score import Reference

SCORE = Objective("val/score", "max")
UM = np.concatenate([[0.7], np.linspace(1.951761, 3.895036, 282)])
TRUTH = 0.005 + 0.001 * np.array([[-1.0], [1.0]]) + np.zeros((2, 283))
"""Two planets with flat spectra; their naive mean is 0.005, their naive σ 0.001."""
NAIVE = Reference.of(TRUTH)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> http://evil.example\n%{x}"
Row = tuple[int, dict[str, float]]


def trial(
    name: str, seed: int, position: int, changed: dict[str, Any], **sections: Any
) -> TrialRecord:
    """A trial of spectra; trials of one name are the seeds of a point."""
    config = RunConfig.model_validate(
        {
            "data": {"task": "ariel"},
            "model": {"kind": "spectral"},
            "training": {"steps": 20, "seed": seed},
            **sections,
        }
    )
    return TrialRecord(
        id=f"{name}{seed}",
        position=position,
        point_id=name,
        seed=seed,
        changed=changed,
        config=config.model_dump(mode="json"),
    )


def ended(
    path: Path,
    trials: list[TrialRecord],
    rows: dict[str, list[Row]],
    failed: dict[str, str] | None = None,
    baseline: str | None = None,
) -> tuple[RunDirectory, list[TrialRecord]]:
    """A run whose trials reported these rows and then ended."""
    path.mkdir(parents=True)
    directory = RunDirectory(path)
    objective = {"metric": SCORE.metric, "mode": SCORE.mode}
    sweep = {"name": "s", "hash": "h", "objective": objective}
    if baseline is not None:
        sweep["baseline"] = baseline
    Ledger.create(directory.ledger, sweep, trials)
    with contextlib.closing(Ledger.open(directory.ledger)) as ledger:
        for one in trials:
            reported = rows.get(one.id, [])
            ledger.started(one.id, 0, "")
            ledger.add_rows([(one.id, step, metrics) for step, metrics in reported])
            why = (failed or {}).get(one.id)
            reason = Reason.FINISHED if why is None else Reason.DIVERGED
            final = reported[-1][1] if reported else {}
            ledger.ended(FitResult(one.id, reason, why or "", 20, 1.0, final))
        return directory, ledger.trials()


def seen(mu: np.ndarray, sigma: np.ndarray, raw_sigma: np.ndarray | None = None) -> HeldOut:
    """What a trial predicts of the two planets; the physical baseline knows nothing."""
    return HeldOut(
        mu=mu,
        sigma=sigma,
        raw_sigma=sigma if raw_sigma is None else raw_sigma,
        baseline_mu=np.full_like(TRUTH, NAIVE.naive_mean),
        baseline_sigma=np.full_like(TRUTH, NAIVE.naive_sigma),
        baseline_raw_sigma=np.full_like(TRUTH, 2 * NAIVE.naive_sigma),
        truth=TRUTH,
        reference=NAIVE,
        wavelengths_um=UM,
    )


def perfect() -> HeldOut:
    return seen(TRUTH, np.tile(NAIVE.ideal_sigma, (2, 1)))


def naive() -> HeldOut:
    return seen(np.full_like(TRUTH, NAIVE.naive_mean), np.full_like(TRUTH, NAIVE.naive_sigma))


def rippled() -> HeldOut:
    """Off by 7 ppm, and by a wave of 6 ppm with 40 periods over AIRS."""
    wave = 6e-6 * np.cos(2 * np.pi * 40 * np.arange(282) / 282)
    return seen(TRUTH + 7e-6 + np.concatenate([[0.0], wave]), np.full_like(TRUTH, 1e-4))


def spread() -> HeldOut:
    """One planet is 0.6 σ off at all wavelengths, the other −2.6; twice that as σ was predicted."""
    sigma = np.full_like(TRUTH, 1e-5)
    return seen(TRUTH - np.array([[0.6], [-2.6]]) * sigma, sigma, sigma / 2)


def predicting(**by_trial: Callable[[], HeldOut]) -> Callable[[RunConfig, Path], HeldOut]:
    def predict(config: RunConfig, trial_directory: Path) -> HeldOut:
        found = by_trial.get(trial_directory.name)
        if found is None:
            raise InputError(f"no checkpoint of {trial_directory.name}")
        return found()

    return predict


def records(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / SUBFOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def html(folder: Path, name: str) -> str:
    return (folder / SUBFOLDER / f"{name}.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """Addresses that a page links to or loads, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self._in: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.addresses += [str(given[name]) for name in ("href", "src") if name in given]
        self._in = None
        if tag == "script" and "src" not in given:
            self._in = given.get("type") or "script"

    def handle_data(self, data: str) -> None:
        if self._in is not None:
            self.scripts.append((self._in, data))

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    @property
    def plots(self) -> list[dict[str, Any]]:
        return [json.loads(text) for kind, text in self.scripts if kind == "application/json"]


def values(array: Any) -> list[float]:
    """What Plotly draws: a list, or numbers in base 64."""
    if isinstance(array, list):
        return array
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"]).tolist()


def trace(plot: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in plot["data"] if one["name"] == name]
    return found


RULE_ON = {"symbolic": {"molecular_fingerprint": {"enabled": True, "weight": 0.1}}}
RULE_OFF = {"symbolic": {"molecular_fingerprint": {"enabled": False, "weight": 0.1}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of three variants: two seeds each, of which one failed and one has no checkpoint."""
    path = tmp_path_factory.mktemp("diagnostics")
    weight = "loss.composite.smoothness.weight"
    trials = [
        trial("a", 0, 0, {weight: 0.1}, **RULE_ON),
        trial("a", 1, 1, {weight: 0.1}, **RULE_ON),
        trial("b", 0, 2, {weight: 0.0}, **RULE_OFF),
        trial("b", 1, 3, {weight: 0.0}, **RULE_OFF),
        trial("c", 0, 4, {weight: 0.5}, **RULE_OFF),
        trial("c", 1, 5, {weight: 0.5}, **RULE_OFF),
    ]
    rows: dict[str, list[Row]] = {
        "a0": [
            (10, {"val/score": 0.2, "train/loss": 4.0, "val/molecular_fingerprint": 0.5}),
            (15, {"train/loss": 3.0}),
            (20, {"val/score": 0.5, "train/loss": 2.0, "val/molecular_fingerprint": 0.1}),
        ],
        "a1": [
            (10, {"val/score": 0.3, "train/loss": 6.0, "val/molecular_fingerprint": 0.6}),
            (20, {"val/score": 0.6, "train/loss": 1.0, "val/molecular_fingerprint": 0.3}),
        ],
        "b0": [(20, {"val/score": 0.4, "train/loss": 2.5})],
        "b1": [(20, {"val/score": 0.4, "train/loss": 2.5})],
        "c0": [(10, {"train/loss": 9.0}), (20, {"val/score": 0.1, "train/loss": 8.0})],
        "c1": [(10, {"train/loss": 7.0})],
    }
    directory, trials = ended(
        path / "run", trials, rows, {"c1": "train/loss is nan at step 11"}, baseline="b"
    )
    predict = predicting(a0=perfect, a1=naive, b0=rippled, b1=rippled, c0=spread)
    links = write_diagnostics(directory, trials, SCORE, path / "outputs", predict=predict)
    assert [to for _, to in links] == [
        f"diagnostics/ablation/{name}.html"
        for name in (
            *("index", "loss_curves", "residual_power", "wavelength_scores", "z_scores"),
            "rule_violations",
        )
    ]
    return path / "outputs"


A, B, C = "smoothness.weight 0.1", "smoothness.weight 0 (baseline)", "smoothness.weight 0.5"


def test_a_curve_is_the_mean_over_seeds_at_the_steps_that_all_have(folder: Path) -> None:
    page = Page(html(folder, "loss_curves"))
    train = page.plots[1]
    mean = trace(train, A)
    assert values(mean["x"]) == [10, 20]
    assert values(mean["y"]) == [5.0, 1.5]
    assert values(trace(train, f"{A}, seed 0")["y"]) == [4.0, 3.0, 2.0]
    # The seed that diverged is drawn, and no part of the mean.
    assert values(trace(train, C)["y"]) == [9.0, 8.0]
    assert trace(train, f"{C}, seed 1")["line"]["dash"] == "dot"


def test_the_numbers_of_the_curves_are_those_that_were_reported(folder: Path) -> None:
    found = records(folder, "loss_curves")
    assert {
        "variant": A,
        "trial_id": "a0",
        "seed": "0",
        "step": "15",
        "metric": "train/loss",
        "value": "3.0",
    } in found
    assert len([row for row in found if row["metric"] == "train/loss"]) == 3 + 2 + 1 + 1 + 2 + 1
    assert {row["metric"] for row in found} == {
        *("train/loss", "val/score", "val/molecular_fingerprint")
    }


def test_a_wave_has_its_power_at_its_frequency(folder: Path) -> None:
    """A² / 3 at the wave, A² / 12 on either side: together its variance, A² / 2."""
    found = [row for row in records(folder, "residual_power") if row["variant"] == B]
    power = np.array([float(row["power_ppm2"]) for row in found])
    assert float(found[39]["frequency_nyquist"]) == pytest.approx(40 / 141)
    assert power[38:41] == pytest.approx([3, 12, 3])
    assert np.delete(power, [38, 39, 40]) == pytest.approx(np.zeros(138), abs=1e-9)
    page = html(folder, "residual_power")
    row = page.partition(f">{B}</td>")[2].partition("</tr>")[0]
    # Root mean squares: of the offset, and of the wave, 6 / √2; all of it above 0.25 Nyquist.
    assert re.findall(r">([\d.%]+)</td>", row) == ["7.0", "4.2", "100.0%", "4"]


def test_the_score_of_a_wavelength_is_the_mean_over_planets_and_seeds(folder: Path) -> None:
    """Of a perfect seed and one that knows nothing it is half of what is to be had."""
    by_variant: dict[str, list[float]] = {}
    for row in records(folder, "wavelength_scores"):
        by_variant.setdefault(row["variant"], []).append(float(row["r"]))
    assert by_variant[A] == pytest.approx([0.5] * 283)
    assert by_variant["physical baseline"] == pytest.approx([0.0] * 283, abs=1e-12)
    # 7 + 6 ppm off at σ = 100 ppm: ln(σ_ref/σ) + ½ − z²/2 of ln(σ_ref/σ_ideal) + ½.
    z = 13e-6 / 1e-4
    best = math.log(1e-3 / 1e-5) + 0.5
    assert by_variant[B][1] == pytest.approx((math.log(10) + 0.5 - z**2 / 2) / best)
    first = records(folder, "wavelength_scores")[0]
    assert (first["column"], first["wavelength_um"]) == ("wl_1", "0.7")


def test_differences_are_to_the_baseline_of_the_ablation(folder: Path) -> None:
    scores, differences = Page(html(folder, "wavelength_scores")).plots
    names = scores["layout"]["yaxis"]["ticktext"]
    assert names == ["physical baseline", A, B, C]
    assert differences["layout"]["yaxis"]["ticktext"] == [A, C]
    fgs1 = [one for one in differences["data"] if one.get("x") == ["FGS1"]]
    rippled_fgs1 = float(
        next(r["r"] for r in records(folder, "wavelength_scores") if r["variant"] == B)
    )
    assert values(fgs1[0]["z"])[0] == pytest.approx(0.5 - rippled_fgs1, rel=1e-5)


def test_coverage_is_counted_before_and_after_calibration(folder: Path) -> None:
    found = {(row["variant"], row["sigma"]): row for row in records(folder, "coverage")}
    before, after = found[C, "as predicted"], found[C, "calibrated"]
    assert [float(after[f"coverage_{level}_sigma"]) for level in (1, 2, 3)] == [0.5, 0.5, 1.0]
    assert [float(before[f"coverage_{level}_sigma"]) for level in (1, 2, 3)] == [0.0, 0.5, 0.5]
    assert float(after["z_mean"]) == pytest.approx(-1.0)
    assert float(after["z_std"]) == pytest.approx(1.6)
    assert float(after["fgs1_z_rms"]) == pytest.approx(math.sqrt((0.36 + 6.76) / 2))
    assert int(after["n"]) == 2 * 283
    bins = {
        (float(row["z_from"]), float(row["z_to"])): int(row["count"])
        for row in records(folder, "z_scores")
        if (row["variant"], row["sigma"]) == (C, "calibrated") and row["count"] != "0"
    }
    assert bins == {(-2.75, -2.5): 283, (0.5, 0.75): 283}


def test_a_violation_says_whether_its_rule_was_on(folder: Path) -> None:
    found = records(folder, "rule_violations")
    assert [(row["trial_id"], row["step"], row["violation"], row["on"]) for row in found] == [
        ("a0", "10", "0.5", "true"),
        ("a0", "20", "0.1", "true"),
        ("a1", "10", "0.6", "true"),
        ("a1", "20", "0.3", "true"),
    ]
    training, end = Page(html(folder, "rule_violations")).plots
    assert values(trace(training, A)["y"]) == pytest.approx([0.55, 0.2])
    assert trace(training, A)["line"]["dash"] == "solid"
    seeds, mean = end["data"]
    assert values(seeds["x"]) == [0.1, 0.3]
    assert values(mean["x"]) == pytest.approx([0.2])
    assert mean["marker"]["symbol"] == "circle"


def test_what_has_no_prediction_is_named_on_every_page(folder: Path) -> None:
    for path in (folder / SUBFOLDER).glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "trial c1 (seed 1): diverged: train/loss is nan at step 11" in text


def test_pages_stand_alone(folder: Path) -> None:
    pages = sorted((folder / SUBFOLDER).glob("*.html"))
    assert len(pages) == 6
    for path in pages:
        text = path.read_text(encoding="utf-8")
        page = Page(text)
        for address in page.addresses:
            assert (path.parent / address).is_file(), f"{path.name} names {address}"
        assert not re.search(r"https?:", text), path.name
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
        assert policy is not None and "default-src 'none'" in policy[1]
        for kind, script in page.scripts:
            if kind == "script":
                digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
                assert f"'sha256-{digest}'" in policy[1].replace("&#39;", "'").replace("&#43;", "+")


def test_each_number_file_is_linked(folder: Path) -> None:
    linked = {
        address
        for path in (folder / SUBFOLDER).glob("*.html")
        for address in Page(path.read_text(encoding="utf-8")).addresses
    }
    assert {path.name for path in (folder / SUBFOLDER).glob("*.csv")} <= linked


def test_what_a_user_wrote_stays_text(tmp_path: Path) -> None:
    trials = [
        trial(name, 0, n, {"data.dataset_path": name * n + HOSTILE})
        for n, name in ((0, "a"), (1, "b"))
    ]
    rows = {t.id: [(20, {"val/score": 0.5, "val/molecular_fingerprint": 0.1})] for t in trials}
    directory, trials = ended(tmp_path / "run", trials, rows)
    predict = predicting(a0=perfect, b0=naive)
    write_diagnostics(directory, trials, SCORE, tmp_path, predict=predict)
    for path in (tmp_path / SUBFOLDER).glob("*.html"):
        page = Page(path.read_text(encoding="utf-8"))
        assert "img" not in page.tags
        assert not any("alert" in text for kind, text in page.scripts if kind == "script")
        for plot in page.plots:  # Plotly takes <…> for markup, so it must not see any
            shown = [one.get("name") or "" for one in plot["data"]]
            shown += plot["layout"].get("yaxis", {}).get("ticktext", [])
            assert all("<" not in text for text in shown)
    assert records(tmp_path, "loss_curves")[0]["variant"].startswith("dataset_path </script>")


def test_one_trial_alone_is_drawn(tmp_path: Path) -> None:
    rows = {"a0": [(20, {"val/score": 0.5, "train/loss": 1.0})]}
    directory, trials = ended(tmp_path / "run", [trial("a", 0, 0, {})], rows)
    links = write_diagnostics(directory, trials, SCORE, tmp_path, predict=predicting(a0=perfect))
    assert [title for title, _ in links] == [
        "Overview",
        "Loss curves",
        "Residual power spectrum",
        "Score by wavelength",
        "z-scores and coverage",
    ]
    assert values(trace(Page(html(tmp_path, "loss_curves")).plots[1], "the run")["y"]) == [1.0]


def test_of_many_variants_the_best_and_the_baseline_have_a_colour(tmp_path: Path) -> None:
    trials = [trial(f"v{n}", 0, n, {"training.learning_rate": 0.001 * n}) for n in range(1, 13)]
    rows = {f"v{n}0": [(20, {"val/score": 1 / n, "train/loss": 1.0})] for n in range(1, 13)}
    directory, trials = ended(tmp_path / "run", trials, rows, baseline="v12")
    write_diagnostics(directory, trials, SCORE, tmp_path, predict=predicting())
    text = html(tmp_path, "loss_curves")
    assert "The best and the baseline have a colour (7 of 12)" in text
    legend = re.findall(r'<button[^>]* data-key="(\w+)"', text)
    assert legend == ["v0", "v1", "v2", "v3", "v4", "v5", "v11", "others"]
    # No trial has a checkpoint: the figures of predictions are left out, and the trials are named.
    assert sorted(p.name for p in (tmp_path / SUBFOLDER).glob("*.html")) == [
        "index.html",
        "loss_curves.html",
    ]
    assert text.count("no checkpoint of v") == 12


def test_other_tasks_have_their_loss_curves(tmp_path: Path) -> None:
    config = {"data": {"task": "modular"}, "training": {"steps": 20}}
    one = TrialRecord("m", 0, "m", 0, {"model.dim": 8}, config)
    directory, trials = ended(tmp_path / "run", [one], {"m": [(20, {"val/loss": 1.0})]})
    objective = Objective()
    links = write_diagnostics(directory, trials, objective, tmp_path, predict=predicting())
    assert [title for title, _ in links] == ["Overview", "Loss curves"]
    assert "Left out" not in html(tmp_path, "index")


def test_pages_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    directory, trials = ended(tmp_path / "run", [trial("a", 0, 0, {})], {})
    own = tmp_path / SUBFOLDER
    own.mkdir(parents=True)
    for name in ("z_scores.html", "coverage.csv", "notes.html"):
        (own / name).write_text("of somebody")
    write_diagnostics(directory, trials, SCORE, tmp_path, predict=predicting())
    assert sorted(path.name for path in own.iterdir()) == [
        "index.html",
        "notes.html",
        "plotly.min.js",
    ]


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    directory, trials = ended(tmp_path / "run", [trial("a", 0, 0, {})], {})
    (tmp_path / "diagnostics").write_text("a file")
    with pytest.raises(StorageError, match="cannot write the diagnostics"):
        write_diagnostics(directory, trials, SCORE, tmp_path, predict=predicting())
    assert (tmp_path / "diagnostics").read_text() == "a file"


def test_the_command_prints_where_the_overview_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"data": {"task": "modular"}, "training": {"steps": 20}}
    one = TrialRecord("m", 0, "m", 0, {"model.dim": 8}, config)
    ended(tmp_path / "runs" / "mine", [one], {"m": [(20, {"val/loss": 1.0})]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path / "runs"))
    app = typer.Typer()
    command.add_to(app)
    done = CliRunner().invoke(app, ["mine", "--out", "here"])
    assert done.exit_code == 0, done.output
    assert done.stdout == "here/diagnostics/ablation/index.html\n"
    assert "next: arbiter leaderboard runs/mine" in done.stderr
    assert (tmp_path / done.stdout.strip()).is_file()

"""The task of spectra: its splits, its views, what it starts from, how it judges and predicts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import trainer_help as help
from tests.spectra import FRAMES, PLANETS, FixedReader, planets, spectra
from trainer import Reason, RunConfig
from trainer.config import IN_EPOCHS
from trainer.engines import make_engine
from trainer.epochs import in_steps
from trainer.errors import InputError
from trainer.models import build_model
from trainer.tasks import build_task, check_data, data_hash, steps_per_epoch
from trainer.tasks.ariel import sigma_calibration
from trainer.tasks.ariel.baseline import fit_visit
from trainer.tasks.ariel.dataset import open_dataset
from trainer.tasks.ariel.observations import Observations
from trainer.tasks.ariel.prediction import predict_trial
from trainer.tasks.ariel.sample import WAVELENGTHS, Layout, inputs_of
from trainer.tasks.ariel.score import score
from trainer.tasks.ariel.standards import Standards
from trainer.tasks.ariel.task import ArielTask
from trainer.tasks.ariel.views import Viewer, Views


def task_of(**sections: dict[str, Any]) -> ArielTask:
    task = build_task(spectra(**sections))
    assert isinstance(task, ArielTask)
    return task


def own(config: RunConfig, seed: int = 0) -> torch.nn.Module:
    """A model of the config that answers something."""
    model = build_model(config, WAVELENGTHS)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
    return model.eval()


class Silent(torch.nn.Module):
    """Answers what a model does before it has learned: nothing."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*inputs.shape[:-1], 4, WAVELENGTHS)


# Splits and standards


def test_a_planet_is_in_one_split_with_all_its_visits() -> None:
    task = task_of()
    of = {name: {*task.seen.planet_ids[rows].tolist()} for name, rows in task.splits.items()}
    assert sum(map(len, of.values())) == len(set.union(*of.values())) == PLANETS
    rows = np.concatenate([*task.splits.values()])
    assert sorted(rows) == list(range(len(task.seen.planet_ids)))
    assert len(rows) > PLANETS  # some are visited twice
    assert task_of(data={"fold": 1}).splits["val"].tolist() != task.splits["val"].tolist()


def test_standards_know_the_training_planets_alone() -> None:
    task = task_of()
    seen, train = task.seen, task.splits["train"]
    assert seen.truth is not None
    poisoned = replace(
        seen,
        truth=_only(seen.truth, train),
        features=_only(seen.features, train),
        depth=_only(seen.depth, train),
    )
    again = Standards.of(poisoned, train)
    assert again.scale == task.standards.scale > 0
    np.testing.assert_array_equal(again.feature_mean, task.standards.feature_mean)
    np.testing.assert_array_equal(again.mean, task.standards.mean)


def _only(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    kept = np.full_like(values, np.nan)
    kept[rows] = values[rows]
    return kept


def test_what_is_not_known_of_a_system_is_its_mean() -> None:
    task = task_of()
    features = task.seen.features.copy()
    features[:, 3] = np.nan
    assert not task.standards.system(features)[:, 3].any()
    assert np.isfinite(task.standards.system(features)).all()


def test_flat_spectra_leave_nothing_to_learn() -> None:
    seen = task_of().seen
    flat = replace(seen, truth=np.full_like(seen.depth, 2e-3))
    with pytest.raises(InputError, match="training visits are flat"):
        Standards.of(flat, np.arange(3))


def test_fewer_planets_than_folds_are_refused_before_anything_is_read() -> None:
    with pytest.raises(InputError, match="folds"):
        check_data(spectra(data={"folds": PLANETS + 1}))
    check_data(spectra())


# Views


def test_an_epoch_shows_each_planet_as_often_as_it_has_views() -> None:
    task = task_of(data={"views": 4}, training={"batch_size": 3})
    n = len(task.viewer.visits)
    steps = steps_per_epoch(spectra(data={"views": 4}, training={"batch_size": 3}))
    assert steps == 4 * n // 3
    rows = np.concatenate([task.viewer.draw(step).rows for step in range(4 * n // 3)])
    of, times = np.unique(task.seen.planet_ids[rows], return_counts=True)
    assert set(of) <= {*task.seen.planet_ids[task.splits["train"]]}
    assert 4 * n - times.sum() < 3 and times.max() <= 4


def test_a_batch_with_more_rows_than_there_are_is_full() -> None:
    config = spectra(data={"views": 1}, training={"batch_size": 16})
    assert steps_per_epoch(config) == 1
    inputs, targets = build_task(config).batch(0)
    assert inputs.shape == (16, Layout(FRAMES).size) and targets.shape == (16, WAVELENGTHS)


def test_epochs_are_steps_of_these_planets() -> None:
    config = spectra(training={"epochs": 3, "eval_epochs": 1}, checkpoint={"epochs": 2})
    length, planned = steps_per_epoch(config), in_steps(config)
    assert planned.training.steps == 3 * length
    assert planned.training.eval_interval == length and planned.checkpoint.interval == 2 * length
    assert set(IN_EPOCHS) == {"training.epochs", "training.eval_epochs", "checkpoint.epochs"}


def test_a_view_is_what_the_baseline_would_have_seen() -> None:
    """The baseline, fitted anew to a light curve that was changed, finds the depth that was put in."""
    task = task_of()
    row = np.array([0])
    planet = int(task.seen.planet_ids[0])
    draw = np.random.default_rng(5)
    change = 3e-4 * draw.standard_normal((1, WAVELENGTHS))
    nothing = np.zeros_like(change)
    found = {}
    for name, error in (("before", nothing), ("after", change)):
        views = Views(row, np.array([False]), nothing, error)
        light = Layout(FRAMES).unpack(inputs_of(task.seen, row, task.standards, views))
        flux = 1 + task.standards.scale * light["light_curves"][0].double().numpy()
        dataset = open_dataset(Path(planets()))
        times = np.linspace(0, 7.46, FRAMES)
        found[name] = fit_visit(times, flux * task.seen.level[0], dataset.systems[planet]).depth
    moved = found["after"] - found["before"]
    assert np.corrcoef(moved[1:], change[0, 1:])[0, 1] > 0.98
    assert np.polyfit(change[0, 1:], moved[1:], 1)[0] == pytest.approx(1, abs=0.1)


def test_another_atmosphere_changes_the_truth_as_much_as_what_is_observed() -> None:
    task = task_of()
    views = task.viewer.draw(0)
    inputs, targets = task.batch(0)
    seen, s = task.seen, task.standards.scale
    assert seen.truth is not None and views.atmosphere.any()
    np.testing.assert_allclose(
        targets.numpy(), seen.truth[views.rows] + views.atmosphere, rtol=1e-6
    )
    depth = Layout(FRAMES).unpack(inputs)["depth"].numpy() * s
    expected = seen.depth[views.rows] + views.atmosphere + views.error
    np.testing.assert_allclose(depth, expected, rtol=1e-5)


def test_new_noise_is_as_large_as_the_old() -> None:
    """Over many steps the error that is shown has the variance of the baseline's own errors."""
    n = 40
    draw = np.random.default_rng(1)
    truth = 2e-3 + 1e-4 * draw.standard_normal((n, WAVELENGTHS))
    sigma = np.full((n, WAVELENGTHS), 1e-4) * (1 + draw.random((n, 1)))
    depth = truth + sigma * draw.standard_normal(truth.shape)
    blank = np.zeros((n, 1))
    seen = Observations(np.arange(n), blank, blank, blank, blank, depth, sigma, blank, truth)
    viewer = Viewer(seen, np.arange(n), 8, 32, 0)
    shown = []
    for step in range(60):
        views = viewer.draw(step)
        error = (depth - truth)[views.rows] + views.error
        shown.append(error / sigma[views.rows])
    assert np.concatenate(shown).std() == pytest.approx(1, abs=0.03)
    assert abs(np.concatenate(shown).mean()) < 0.05


def test_a_memory_map_changes_no_number() -> None:
    mapped, held = task_of(data={"memory_map": True}), task_of()
    assert not isinstance(held.seen.flux, np.memmap) or held.seen is not mapped.seen
    for step in (0, 3):
        for one, other in zip(mapped.batch(step), held.batch(step), strict=True):
            assert torch.equal(one, other)


def test_members_of_a_process_share_what_was_read() -> None:
    one, other = task_of(), task_of(training={"seed": 1}, data={"fold": 2, "views": 3})
    assert one.seen is other.seen


def test_a_plan_makes_no_planets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = spectra(data={"dataset_path": "simulated", "planets": 10})
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path))
    assert len(data_hash(config)) == 64 and steps_per_epoch(config) == 4 * 3 // 4
    check_data(config)
    assert not [*tmp_path.iterdir()]


# What is read from an answer


def test_a_correction_starts_from_the_shrunk_baseline() -> None:
    task = task_of()
    rows = task.splits["test"]
    found = task.predict(Silent(), task.seen, rows, "cpu")
    first = task.seen.first_of_each(rows)
    depth, sigma, relief = task.seen.depth[first], task.seen.sigma[first], task.standards.relief
    weight = sigma[:, 1:] ** -2.0
    white = (weight * depth[:, 1:]).sum(1, keepdims=True) / weight.sum(1, keepdims=True)
    kept = relief**2 / (relief**2 + sigma**2)
    np.testing.assert_allclose(found.mu, white + kept * (depth - white), rtol=1e-4)
    expected = np.sqrt(kept * sigma**2 + (task.standards.white_error * white) ** 2)
    np.testing.assert_allclose(found.sigma, expected, rtol=1e-3)
    terms = {name: float(value) for name, value in task.terms.each(found.spectrum).items()}
    assert all(abs(value) < 10 for value in terms.values())


def test_a_spectrum_starts_from_the_mean_of_the_training_planets() -> None:
    task = task_of(model={"predicts": "spectrum"})
    found = task.predict(Silent(), task.seen, task.splits["val"], "cpu")
    np.testing.assert_allclose(found.mu, np.broadcast_to(task.standards.mean, found.mu.shape), 1e-4)
    np.testing.assert_allclose(found.sigma[0], task.standards.spread, rtol=1e-4)


def test_what_the_star_brightens_by_makes_the_planet_smaller() -> None:
    task = task_of()
    inputs, targets = task.batch(0)

    class Bright(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            answer = torch.zeros(len(inputs), 4, WAVELENGTHS)
            answer[:, 3] = 5.0
            return answer

    dim, bright = (
        task.reading.spectrum(model, inputs, targets, mirrored=False)
        for model in (Silent(), Bright())
    )
    assert (dim.star >= 0).all() and dim.mirrored is None
    torch.testing.assert_close(dim.mu - bright.mu, bright.star - dim.star, atol=1e-8, rtol=1e-3)
    assert (bright.mu < dim.mu).all()


def test_a_spectrum_does_not_depend_on_which_way_a_symmetric_light_curve_runs() -> None:
    config = spectra()
    task, model = task_of(), own(config)
    inputs, targets = task.batch(0)
    symmetric = (inputs + task.reading.layout.mirrored(inputs)) / 2
    # The queries see the place in time, so that only even ones read both ways alike.
    with torch.no_grad():
        model.get_parameter("query.weight")[:, [1, 4]] = 0
    read = task.reading.spectrum(model, symmetric, targets, mirrored=True)
    assert read.mirrored is not None
    torch.testing.assert_close(read.mirrored, read.mu, rtol=1e-4, atol=1e-8)


# Judging


def test_the_score_is_that_of_the_predictions_and_sigma_is_calibrated_for_the_test() -> None:
    config = spectra()
    task, model = task_of(), own(config)
    val, test = (task.predict(model, task.seen, task.splits[s], "cpu") for s in ("val", "test"))
    reported = task.evaluate(model, "test", "cpu")
    raw = score(test.mu, test.sigma, test.truth, task.reference).total
    scale = sigma_calibration.fit(val.mu, val.sigma, val.truth)
    calibrated = score(test.mu, scale.apply(test.sigma), test.truth, task.reference).total
    assert reported["test/score_uncalibrated"] == raw and reported["test/score"] == calibrated
    assert reported["calibration/sigma_airs"] == scale.airs
    assert task.evaluate(model, "val", "cpu")["val/score"] == pytest.approx(
        score(val.mu, val.sigma, val.truth, task.reference).total
    )


def test_a_planet_is_the_mean_of_its_visits() -> None:
    config = spectra()
    task, model = task_of(), own(config)
    ids, counts = np.unique(task.seen.planet_ids, return_counts=True)
    rows = task.seen.rows_of([int(ids[counts == 2][0])])
    both = task.predict(model, task.seen, rows, "cpu")
    each = [task.predict(model, task.seen, rows[i : i + 1], "cpu").mu for i in (0, 1)]
    assert len(both.planets) == 1 and not np.allclose(each[0], each[1], rtol=1e-6)
    np.testing.assert_allclose(both.mu, (each[0] + each[1]) / 2, rtol=1e-5)


def test_the_baseline_is_judged_as_the_model_is_and_the_naive_one_gains_nothing() -> None:
    task = task_of()
    told, test = task.baselines(), task.seen.first_of_each(task.splits["test"])
    assert task.seen.truth is not None
    error = task.seen.depth[test] - task.seen.truth[test]
    assert told["baseline/rmse_ppm"] == pytest.approx(1e6 * np.sqrt(np.mean(error**2)))
    assert told["baseline/naive_score"] == pytest.approx(0, abs=1e-9)
    assert 0 < told["baseline/score"] < 1 and 0 < told["baseline/coverage"] < 1


def test_answers_that_are_no_numbers_end_the_run_as_diverged(tmp_path: Path) -> None:
    class Lost(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.full((len(inputs), 4, WAVELENGTHS), math.nan)

    assert math.isnan(task_of().evaluate(Lost(), "val", "cpu")["val/loss"])
    result, _ = help.run(spectra(training={"learning_rate": 1e9, "grad_clip": None}), tmp_path)
    assert result.reason is Reason.DIVERGED


def test_a_micro_batch_bounds_an_evaluation_and_changes_nothing_in_it() -> None:
    whole, parts = task_of(), task_of(tier={"micro_batch": 1})
    parts.rows_at_once = 1
    one, other = (task.evaluate(FixedReader(), "val", "cpu") for task in (whole, parts))
    assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


# Training

TOGGLES: dict[str, dict[str, dict[str, Any]]] = {
    "smoothness": {"loss": {"composite": {"smoothness": {"weight": 0.0}}}},
    "fft": {"loss": {"composite": {"fft": {"weight": 0.0}}}},
    "cutoff": {"loss": {"composite": {"fft": {"cutoff_frac": 0.5}}}},
    "asymmetry": {"loss": {"composite": {"asymmetry": {"weight": 0.5}}}},
    "gll": {"loss": {"composite": {"gll": {"weight": 0.5}}}},
    "molecular_fingerprint": {"symbolic": {"molecular_fingerprint": {"enabled": True}}},
    "gravitational_lensing": {"symbolic": {"gravitational_lensing": {"enabled": True}}},
}


def learned(**sections: dict[str, Any]) -> dict[str, torch.Tensor]:
    engine, config = make_engine("solo"), spectra(**sections)
    engine.add("a", config, build_task(config))
    (done,) = engine.advance(["a"], [0], 4, lambda key, step: True)
    assert done.error is None
    return engine.export("a").model


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    return learned()


@pytest.mark.parametrize("toggle", TOGGLES)
def test_a_toggle_changes_what_is_learned(toggle: str, plain: dict[str, torch.Tensor]) -> None:
    changed = learned(**TOGGLES[toggle])
    assert max(float((changed[name] - plain[name]).abs().max()) for name in plain) > 1e-5


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path) -> None:
    config = spectra(model={"dropout": 0.1}, tier={"micro_batch": 3})
    whole, told = help.run(config, tmp_path / "whole")
    parts = tmp_path / "parts"
    first, before = help.run(config, parts, interrupted=help.after(5))
    second, after = help.run(config, parts)
    assert (first.reason, second.reason) == (Reason.INTERRUPTED, Reason.FINISHED)
    assert before.rows() | after.rows() == told.rows() and second.final == whole.final
    assert help.same_tensors(help.newest(parts).model, help.newest(tmp_path / "whole").model)
    assert {"test/score", "baseline/score", "calibration/sigma_fgs1"} <= whole.final.keys()
    assert not [name for name in whole.final if name.startswith("grok/")]


def test_a_trial_predicts_what_it_was_judged_by(tmp_path: Path) -> None:
    config = spectra()
    result, _ = help.run(config, tmp_path)
    test = predict_trial(config, tmp_path, "test")
    task = task_of()
    assert test.truth is not None
    assert score(test.mu, test.sigma, test.truth, task.reference).total == pytest.approx(
        result.final["test/score"], abs=1e-6
    )
    unknown = open_dataset(Path(planets()), "test")
    found = predict_trial(config, tmp_path, unknown)
    assert found.truth is None and tuple(found.planet_ids) == unknown.planets
    assert (found.mu >= 0).all() and (found.sigma > 0).all()
    factor = test.sigma[0] / test.raw_sigma[0]
    np.testing.assert_allclose(found.sigma, found.raw_sigma * factor, rtol=1e-6)
    with pytest.raises(InputError, match="no checkpoint in it"):
        predict_trial(config, tmp_path / "nowhere", "val")

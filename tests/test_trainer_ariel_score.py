"""The challenge's score by its own checks, and what makes σ right."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import InputError
from trainer.tasks.ariel import sigma_calibration
from trainer.tasks.ariel.score import (
    PUBLISHED_2024,
    Edition,
    Reference,
    coverage,
    rmse_ppm,
    score,
    z_scores,
)
from trainer.tasks.ariel.sigma_calibration import SigmaScale, Spread

REFERENCE = Reference("2025", 0.0025, 0.0017)
EDITIONS: list[Edition] = ["2024", "2025"]


def spectra(planets: int = 6, seed: int = 0) -> np.ndarray:
    """Depths (planets, 283) that differ as real ones do."""
    random = np.random.default_rng(seed)
    depth = random.uniform(5e-4, 7e-3, (planets, 1))
    return depth + 1e-4 * random.standard_normal((planets, 283))


def published_labels() -> np.ndarray:
    """The challenge's labels (673, 283), where the machine has them beside the checkout."""
    places = [folder / "shared/data/ariel" for folder in Path(__file__).resolve().parents]
    path = next((p for f in places if (p := f / "train_labels_2024.csv").is_file()), None)
    if path is None:
        pytest.skip("shared/data/ariel/train_labels_2024.csv is not on this machine")
    with path.open(newline="") as file:
        return np.array([row[1:] for row in csv.reader(file)][1:], dtype=float)


def density(y: float, mean: float, sigma: float) -> float:
    """Log of the Gaussian density, as in any book."""
    return math.log(math.exp(-(((y - mean) / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi)))


def slow_score(mu: np.ndarray, sigma: np.ndarray, truth: np.ndarray, ref: Reference) -> float:
    """The total, one value at a time."""
    weight_fgs1, ideal_fgs1 = (57.846, 1e-6) if ref.edition == "2025" else (1.0, 1e-5)
    summed = weights = gained = to_gain = 0.0
    for p in range(len(truth)):
        for k in range(283):
            y = truth[p, k]
            weight, ideal = (weight_fgs1, ideal_fgs1) if k == 0 else (1.0, 1e-5)
            naive = density(y, ref.naive_mean, ref.naive_sigma)
            better, best = density(y, mu[p, k], sigma[p, k]) - naive, density(y, y, ideal) - naive
            summed += weight * better / best
            weights += weight
            gained, to_gain = gained + better, to_gain + best
    total = summed / weights if ref.edition == "2025" else gained / to_gain
    return min(1.0, max(0.0, total))


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_perfect_prediction_is_1_and_the_naive_one_0(edition: Edition) -> None:
    truth = spectra()
    reference = Reference.of(truth, edition)
    perfect = score(truth, np.broadcast_to(reference.ideal_sigma, truth.shape), truth, reference)
    assert perfect.total == pytest.approx(1, abs=1e-12)
    assert perfect.per_wavelength == pytest.approx(np.ones(283), abs=1e-12)
    blind = np.full_like(truth, reference.naive_mean)
    naive = score(blind, np.full_like(truth, reference.naive_sigma), truth, reference)
    assert naive.total == pytest.approx(0, abs=1e-12)
    assert naive.per_planet == pytest.approx(np.zeros(6), abs=1e-12)


def test_r_of_one_value_by_hand() -> None:
    truth = np.full((1, 283), 0.003)
    mu, sigma = truth + 1e-4, np.full((1, 283), 2e-4)
    got = score(mu, sigma, truth, Reference("2025", 0.002, 0.001))
    # Without the constant: predicted −ln 2e-4 − 1/8, naive −ln 1e-3 − 1/2, ideal −ln 1e-5 or −ln 1e-6.
    assert got.per_wavelength[1] == pytest.approx((math.log(5) + 0.375) / (math.log(100) + 0.5))
    assert got.per_wavelength[0] == pytest.approx((math.log(5) + 0.375) / (math.log(1000) + 0.5))
    expected = (57.846 * got.per_wavelength[0] + 282 * got.per_wavelength[1]) / (57.846 + 282)
    assert got.total == pytest.approx(expected)


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_total_is_that_of_one_value_at_a_time(edition: Edition) -> None:
    random = np.random.default_rng(1)
    truth = spectra(3)
    reference = Reference.of(spectra(9, seed=2), edition)
    sigma = random.uniform(5e-5, 3e-4, truth.shape)
    mu = np.maximum(truth + sigma * random.standard_normal(truth.shape), 0)
    got = score(mu, sigma, truth, reference)
    assert 0.2 < got.total < 0.8
    assert got.total == pytest.approx(slow_score(mu, sigma, truth, reference), rel=1e-12)
    weighted = np.average(got.per_wavelength, weights=reference.weights)
    assert weighted == pytest.approx(got.per_planet.mean(), rel=1e-12)
    if edition == "2025":
        assert got.per_planet.mean() == pytest.approx(got.total, rel=1e-12)


@pytest.mark.parametrize(("ppm", "expected"), [(20, 0.79), (50, 0.63), (100, 0.50), (200, 0.38)])
def test_a_calibrated_error_scores_as_its_logarithm_says(ppm: int, expected: float) -> None:
    """Of spectra that are as the naive prediction says, and AIRS alone."""
    random = np.random.default_rng(ppm)
    error = ppm * 1e-6
    truth = 0.01 + 1.73e-3 * random.standard_normal((400, 283))
    mu = truth + error * random.standard_normal(truth.shape)
    got = score(mu, np.full_like(truth, error), truth, Reference("2024", 0.01, 1.73e-3))
    formula = math.log(1.73e-3 / error) / (math.log(1.73e-3 / 1e-5) + 0.5)
    assert round(formula, 2) == expected
    assert got.total == pytest.approx(formula, abs=0.001)


def test_the_published_constants_are_those_of_the_published_labels() -> None:
    labels = published_labels()
    assert labels.shape == (673, 283)
    found = Reference.of(labels, "2024")
    assert found.naive_mean == pytest.approx(PUBLISHED_2024.naive_mean, rel=1e-12)
    assert found.naive_sigma == pytest.approx(PUBLISHED_2024.naive_sigma, rel=1e-12)
    error = 50e-6 * np.random.default_rng(0).standard_normal(labels.shape)
    got = score(labels + error, np.full_like(labels, 50e-6), labels, PUBLISHED_2024)
    assert got.total == pytest.approx(0.63, abs=0.005)
    assert got.total == pytest.approx(got.gained.sum() / got.to_gain.sum(), rel=1e-12)
    assert got.total - got.per_planet.mean() > 0.002  # which is the total of 2025


def test_fgs1_counts_58_times_in_2025_and_once_in_2024() -> None:
    truth = np.full((2, 283), 0.003)
    sigma = np.full_like(truth, 1e-4)
    worse = truth.copy()
    worse[:, 0] += 2e-4
    for edition, share in (("2024", 1 / 283), ("2025", 57.846 / (57.846 + 282))):
        reference = Reference(edition, 0.0025, 0.0017)
        right, wrong = (score(mu, sigma, truth, reference) for mu in (truth, worse))
        fgs1_ideal = 1e-6 if edition == "2025" else 1e-5
        to_gain = math.log(0.0017 / fgs1_ideal) + ((0.003 - 0.0025) / 0.0017) ** 2 / 2
        assert right.total - wrong.total == pytest.approx(share * 2 / to_gain)


def test_the_total_is_clipped_only_at_the_end() -> None:
    truth = spectra(2)
    mu, sigma = truth.copy(), np.full_like(truth, 2e-5)
    mu[1] += 5e-4  # 25 σ: this planet costs more than the other gains
    got = score(mu, sigma, truth, REFERENCE)
    assert got.per_planet[0] > 0.5 and got.per_planet[1] < -1
    assert got.total == 0
    certain = score(truth, np.full_like(truth, 1e-9), truth, REFERENCE)
    assert certain.per_planet.min() > 1 and certain.total == 1


def test_a_sigma_of_zero_is_the_floor() -> None:
    truth = spectra(1)
    zero, floor = (
        score(truth, np.full_like(truth, s), truth, REFERENCE).per_planet for s in (0.0, 1e-15)
    )
    assert np.array_equal(zero, floor) and np.isfinite(zero).all()


@given(
    mu=st.sampled_from([0.0, 1e-300, 1.0, 1e200, 1.7e308]),
    sigma=st.sampled_from([0.0, 5e-324, 1e-15, 1.0, 1.7e308]),
    truth=st.sampled_from([-1.7e308, -1.0, 0.0, 1e-300, 1.0, 1.7e308]),
)
def test_extreme_values_never_give_nan(mu: float, sigma: float, truth: float) -> None:
    shape = (2, 283)
    got = score(np.full(shape, mu), np.full(shape, sigma), np.full(shape, truth), REFERENCE)
    assert 0 <= got.total <= 1
    assert np.isfinite(got.per_wavelength).all() and np.isfinite(got.per_planet).all()
    assert np.isfinite(
        z_scores(np.full(shape, mu), np.full(shape, sigma), np.full(shape, truth))
    ).all()


def test_what_is_no_prediction_is_refused() -> None:
    truth = spectra(2)
    sigma = np.full_like(truth, 1e-4)
    negative, missing, sharp = truth.copy(), truth.copy(), sigma.copy()
    negative[1, 4], missing[0, 282], sharp[1, 0] = -1e-9, np.nan, -1e-4
    for mu, s, message in (
        (negative, sigma, "mu of row 1, wl_5: got -1e-09, expected a depth of at least 0"),
        (missing, sigma, "mu of row 0, wl_283: got nan, expected a finite number"),
        (truth, sharp, "sigma of row 1, wl_1: got -0.0001, expected at least 0"),
        (truth, sigma * np.inf, "sigma of row 0, wl_1: got inf"),
        (truth[:, 1:], sigma[:, 1:], r"mu: got shape \(2, 282\), expected \(planets, 283\)"),
        (truth[:1], sigma, "number of planets: got mu 1, sigma 2, truth 2"),
        (truth[:0], sigma[:0], "at least one planet"),
    ):
        with pytest.raises(InputError, match=message):
            score(mu, s, truth, REFERENCE)


def test_a_reference_that_leaves_nothing_to_score_is_refused() -> None:
    with pytest.raises(InputError, match="naive sigma: got 0, expected more than the ideal 1e-05"):
        Reference.of(np.zeros((3, 283)))
    with pytest.raises(InputError, match="expected finite numbers"):
        Reference.of(np.full((3, 283), 1.7e308))
    with pytest.raises(InputError, match="expected finite numbers"):
        Reference("2025", math.nan, 0.001)
    with pytest.raises(InputError, match="got '2023', expected 2024 or 2025"):
        Reference("2023", 0.002, 0.001)  # type: ignore[arg-type]


def test_errors_and_coverage_by_hand() -> None:
    truth = np.full((2, 283), 0.002)
    mu, sigma = truth.copy(), np.full_like(truth, 1e-4)
    mu[0] += 3e-4
    mu[1] -= 0.5e-4
    assert rmse_ppm(mu, truth) == pytest.approx(math.sqrt((300**2 + 50**2) / 2))
    assert z_scores(mu, sigma, truth)[:, 0] == pytest.approx([-3, 0.5])
    assert coverage(mu, sigma, truth) == 0.5
    assert coverage(mu, sigma, truth, level=0.4) == 0
    assert coverage(mu, sigma, truth, level=3.1) == 1


def off_by(factors: tuple[float, float], planets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mu, sigma and truth whose errors are `factors` (FGS1, AIRS) times as large as said."""
    random = np.random.default_rng(3)
    truth = spectra(planets)
    sigma = random.uniform(1e-5, 1e-4, truth.shape)
    error = sigma * random.standard_normal(truth.shape)
    return truth + SigmaScale(*factors).apply(error), sigma, truth


def test_calibrated_sigma_is_right_on_the_planets_it_is_fitted_to() -> None:
    mu, sigma, truth = off_by((4.0, 0.5), planets=300)
    scale = sigma_calibration.fit(mu, sigma, truth)
    assert scale.fgs1 == pytest.approx(4, rel=0.1) and scale.airs == pytest.approx(0.5, rel=0.02)
    z = z_scores(mu, scale.apply(sigma), truth)
    assert np.mean(z[:, 0] ** 2) == pytest.approx(1) and np.mean(z[:, 1:] ** 2) == pytest.approx(1)
    before, after = (Spread.of(mu, s, truth) for s in (sigma, scale.apply(sigma)))
    assert before.coverage > 0.9 and after.coverage == pytest.approx(0.683, abs=0.01)
    assert after.z_std == pytest.approx(1, abs=0.01) and abs(after.z_mean) < 0.02


def test_no_other_factor_is_likelier() -> None:
    mu, sigma, truth = off_by((0.3, 7.0), planets=40)
    scale = sigma_calibration.fit(mu, sigma, truth)

    def nll(factors: SigmaScale) -> float:
        scaled = factors.apply(sigma)
        return float(np.mean(np.log(scaled) + z_scores(mu, scaled, truth) ** 2 / 2))

    best = nll(scale)
    for step in (0.9, 0.99, 1.01, 1.1):
        assert nll(SigmaScale(scale.fgs1 * step, scale.airs)) > best
        assert nll(SigmaScale(scale.fgs1, scale.airs * step)) > best


def test_the_factors_are_bounded_and_few_planets_do_not_narrow() -> None:
    truth = spectra(5)
    sigma = np.full_like(truth, 1e-4)
    assert sigma_calibration.fit(truth, sigma, truth) == SigmaScale(1 / 20, 1 / 20)
    assert sigma_calibration.fit(truth + 1, sigma, truth) == SigmaScale(20, 20)
    one = truth[:1]
    assert sigma_calibration.fit(one, sigma[:1], one) == SigmaScale(1, 1)
    assert sigma_calibration.fit(one + 3e-4, sigma[:1], one).airs == pytest.approx(3)
    assert sigma_calibration.fit(truth[:0], sigma[:0], truth[:0]) == SigmaScale(1, 1)


def test_applying_a_scale_leaves_what_it_was_given_alone() -> None:
    sigma = np.ones((2, 3, 283), dtype=np.float32)
    scaled = SigmaScale(2, 3).apply(sigma)
    assert (sigma == 1).all()
    assert (scaled[..., 0] == 2).all() and (scaled[..., 1:] == 3).all()

"""The physical baseline on light curves whose truth is known, drawn with batman."""

from __future__ import annotations

from dataclasses import dataclass, replace

import batman
import numpy as np
import pytest

from trainer.errors import InputError
from trainer.tasks.ariel.autocorrelation import hat_lag, lag_one
from trainer.tasks.ariel.baseline import Fit, baselines_of, combine, fit_visit, unfitted
from trainer.tasks.ariel.dataset import open_dataset, read_visits
from trainer.tasks.ariel.depths import solve_depths
from trainer.tasks.ariel.simulation import Recipe, simulate
from trainer.tasks.ariel.transit_shape import LIMB_EXPONENT, Path, Table, in_frames
from trainer.tasks.ariel.visit import WAVELENGTHS, System, Visits

FRAMES, HOURS = 187, 7.5
SYSTEM = System(7, 1.1, 1.0, 5600.0, 0.3, 0.0, 4.0, 10.0, 88.3)
LIMB = {"fgs1": (0.40, 0.22), "airs": (0.17, 0.12)}
LEVEL = np.concatenate([[3e6], np.linspace(1.3e5, 0.7e5, WAVELENGTHS - 1)])
SPECTRUM = 4e-3 + 8e-5 * np.sin(np.arange(WAVELENGTHS) / 25)


@dataclass(frozen=True)
class Sky:
    """A visit without noise: what there is to be found."""

    times_h: np.ndarray
    flux: np.ndarray
    depth: np.ndarray
    system: System
    mid_h: float

    def seen(self, seed: int, noise: float, rho: float = 0.0) -> np.ndarray:
        """Return the flux (frames, 283) with noise relative to it, AR(1) with `rho`."""
        white = np.random.default_rng(seed).normal(size=self.flux.shape)
        drawn = white.copy()
        for n in range(1, len(drawn)):
            drawn[n] = rho * drawn[n - 1] + np.sqrt(1 - rho**2) * white[n]
        return self.flux * (1 + noise * drawn)


def sky(
    *,
    depth: np.ndarray = SPECTRUM,
    system: System = SYSTEM,
    mid_h: float = 3.6,
    drift: tuple[float, ...] = (),
    frames: int = FRAMES,
    exposures: int = 5,
) -> Sky:
    """Return a visit of 7.5 hours; a frame is the mean of `exposures` moments."""
    moments = (np.arange(frames * exposures) + 0.5) * HOURS / (frames * exposures)
    fgs1 = _lost(moments, mid_h, system, float(depth[0]), "fgs1")
    airs = _lost(moments, mid_h, system, float(depth[1:].mean()), "airs")
    lost = np.column_stack([fgs1, np.tile(airs[:, None], WAVELENGTHS - 1)]) * depth
    gain = 1 + np.polynomial.legendre.legval(np.linspace(-1, 1, len(moments)), [0.0, *drift])
    colour = 1 + 0.3 * np.cos(np.arange(WAVELENGTHS) / 60)
    flux = (1 + (gain[:, None] - 1) * colour) * (1 - lost) * LEVEL
    flux = flux.reshape(frames, exposures, WAVELENGTHS).mean(1)
    return Sky(moments.reshape(frames, exposures).mean(1), flux, depth, system, mid_h)


def _lost(
    times_h: np.ndarray,
    mid_h: float,
    system: System,
    depth: float,
    instrument: str,
    limb: tuple[str, list[float]] | None = None,
) -> np.ndarray:
    """Return the light lost / depth."""
    planet = batman.TransitParams()
    planet.t0, planet.per, planet.a, planet.inc = mid_h / 24, system.P, system.sma, system.i
    planet.ecc, planet.w, planet.rp = 0.0, 90.0, float(np.sqrt(depth))
    planet.limb_dark, planet.u = limb or ("quadratic", list(LIMB[instrument]))
    return np.asarray((1 - batman.TransitModel(planet, times_h / 24).light_curve(planet)) / depth)


def errors(fit: Fit, truth: Sky) -> np.ndarray:
    """Return the errors in units of the σ that the fit states."""
    return np.asarray((fit.depth - truth.depth) / fit.sigma)


@pytest.fixture(scope="module")
def plain() -> Sky:
    return sky(drift=(4e-4, -3e-4, 2e-4))


def test_a_box_without_drift_is_the_mean_within_over_the_mean_without() -> None:
    box = np.array([0, 0, 1, 1, 1, 0, 0, 0], dtype=float)[:, None]
    flux = np.array([[10.1, 9.9, 9.5, 9.6, 9.7, 10.2, 9.8, 10.0]]).T
    found = solve_depths(flux / 10, box, np.ones((8, 1)))
    assert found.depth[0] == pytest.approx(1 - 9.6 / 10.0, abs=1e-9)
    assert found.drift[0, 0] == pytest.approx(1.0)
    assert found.unit_variance[0] == pytest.approx(1 / 5 + 1 / 3)


@pytest.mark.parametrize("impact", [0.0, 0.45, 0.85, 1.02])
def test_the_shape_is_that_of_batman(impact: float) -> None:
    system = replace(SYSTEM, i=float(np.degrees(np.arccos(impact / SYSTEM.sma))))
    times_h = np.linspace(0, HOURS, 301)
    c = 0.4
    lost = _lost(times_h, 3.7, system, 0.09**2, "", ("power2", [c, LIMB_EXPONENT]))
    w = c / (1 - c * LIMB_EXPONENT / (2 + LIMB_EXPONENT))
    covered, darkened = in_frames(Table.of(0.09), Path.of(system, 3.7), times_h, 1)
    assert np.abs(covered + w * darkened - lost).max() < 2e-3
    uniform = _lost(times_h, 3.7, system, 0.09**2, "", ("uniform", []))
    assert np.abs(covered - uniform).max() < 1e-3


def test_contact_times_follow_from_the_orbit(plain: Sky) -> None:
    path = Path.of(SYSTEM, 3.6)
    fine = np.linspace(0, HOURS, 100_001)
    covered, _ = Table.of(0.1).profiles(path.separation(fine))
    assert path.hours_within(1.1) == pytest.approx((covered > 0).mean() * HOURS, abs=1e-3)
    fit = fit_visit(plain.times_h, plain.seen(0, 2e-4), SYSTEM)
    ratio = np.sqrt(SPECTRUM.mean())
    assert fit.mid_h == pytest.approx(plain.mid_h, abs=0.01)
    assert fit.duration_h == pytest.approx(path.hours_within(1 + ratio), rel=0.02)
    assert fit.ingress_h == pytest.approx(
        (path.hours_within(1 + ratio) - path.hours_within(1 - ratio)) / 2, rel=0.15
    )
    assert 0 == fit.profile.min() < fit.profile.max() <= 1


def test_depths_come_back_within_their_sigma(plain: Sky) -> None:
    found = np.stack(
        [errors(fit_visit(plain.times_h, plain.seen(n, 6e-4), SYSTEM), plain) for n in range(40)]
    )
    inside = np.abs(found) < 1
    assert 0.65 < inside[:, 1:].mean() < 0.71  # 68.3 % of 40 × 282
    assert 22 <= inside[:, 0].sum() <= 36  # of 40
    assert 0.95 < found[:, 1:].std() < 1.05
    assert abs(found[:, 1:].mean()) < 0.15


def test_noise_that_lasts_widens_sigma(plain: Sky) -> None:
    fits = [fit_visit(plain.times_h, plain.seen(n, 6e-4, rho=0.5), SYSTEM) for n in range(12)]
    inside = np.mean([np.abs(errors(fit, plain)[1:]) < 1 for fit in fits])
    assert 0.62 < inside < 0.74
    white = fit_visit(plain.times_h, plain.seen(0, 6e-4), SYSTEM)
    assert np.median(fits[0].sigma[1:] / white.sigma[1:]) == pytest.approx(np.sqrt(3), rel=0.15)


def test_a_fit_to_white_noise_shows_no_autocorrelation() -> None:
    design = np.polynomial.legendre.legvander(np.linspace(-1, 1, 40), 4)
    noise = np.random.default_rng(3).normal(size=(40, 4000))
    q, _ = np.linalg.qr(design)
    residuals = noise - q @ (q.T @ noise)
    raw = lag_one(residuals, 0.0)
    assert raw < -0.08  # what a fit does to its residuals
    assert abs(lag_one(residuals, hat_lag(design))) < 0.01


@pytest.mark.parametrize(
    "drift", [(2e-2, -1e-2, 8e-3), (0.0, 5e-3, 0.0, -3e-3)], ids=["degree 3", "degree 4"]
)
def test_a_drift_larger_than_the_transit_is_told_from_it(drift: tuple[float, ...]) -> None:
    truth = sky(drift=drift)
    fit = fit_visit(truth.times_h, truth.seen(1, 3e-4), SYSTEM)
    found = errors(fit, truth)
    assert 0.6 < (np.abs(found) < 1).mean() < 0.76 and found.std() < 1.15
    assert fit.mid_h == pytest.approx(truth.mid_h, abs=0.02)
    assert fit.drift[:, len(drift)].all()
    outside = fit.normalised(truth.flux)[fit.profile == 0]
    assert np.std(outside) < 1.2e-4  # the drift's own noise


def test_a_grazing_transit_is_a_v() -> None:
    system = replace(SYSTEM, i=float(np.degrees(np.arccos(0.97 / SYSTEM.sma))))
    truth = sky(system=system)
    fit = fit_visit(truth.times_h, truth.seen(2, 3e-4), system)
    assert fit.profile.max() < 0.9
    assert fit.ingress_h == pytest.approx(fit.duration_h / 2)
    whole = fit_visit(truth.times_h, sky().seen(2, 3e-4), SYSTEM)
    assert fit.sigma[1:].mean() > 1.5 * whole.sigma[1:].mean()
    assert np.abs(errors(fit, truth)).max() < 5 and errors(fit, truth).std() < 1.3


@pytest.mark.parametrize("mid_h", [0.9, 6.8])
def test_a_transit_at_the_edge_of_the_window_is_found(mid_h: float) -> None:
    truth = sky(mid_h=mid_h, drift=(5e-4,))
    fit = fit_visit(truth.times_h, truth.seen(3, 3e-4), SYSTEM)
    assert fit.mid_h == pytest.approx(mid_h, abs=0.1)
    assert (np.abs(errors(fit, truth)) < 1).mean() > 0.5 and np.abs(errors(fit, truth)).max() < 5


@pytest.mark.parametrize("frames", [8, 16])
def test_frames_longer_than_the_ingress_are_averaged_over(frames: int) -> None:
    truth = sky(frames=frames, exposures=960 // frames)
    fit = fit_visit(truth.times_h, truth.seen(4, 2e-4), SYSTEM)
    assert errors(fit, truth).std() < 1.3 and abs(errors(fit, truth)[1:].mean()) < 1


def test_a_wrong_catalogue_is_overruled_by_the_data(plain: Sky) -> None:
    wrong = replace(SYSTEM, i=89.9, sma=SYSTEM.sma * 1.08)
    fit = fit_visit(plain.times_h, plain.seen(5, 2e-4), wrong)
    assert np.abs(errors(fit, plain)[1:].mean()) < 2
    right = fit_visit(plain.times_h, plain.seen(5, 2e-4), SYSTEM)
    assert fit.duration_h == pytest.approx(right.duration_h, rel=0.02)


def test_no_transit_gives_a_depth_that_may_be_none() -> None:
    nothing = sky(depth=np.full(WAVELENGTHS, 1e-9), drift=(3e-4,))
    fit = fit_visit(nothing.times_h, nothing.seen(6, 6e-4), SYSTEM)
    assert not fit.visible
    assert (fit.depth >= 0).all() and (fit.depth < 3 * fit.sigma).mean() > 0.95


def test_a_planet_that_grazes_unseen_may_be_large() -> None:
    system = replace(SYSTEM, i=float(np.degrees(np.arccos(1.08 / SYSTEM.sma))))
    truth = sky(system=system)
    fit = fit_visit(truth.times_h, truth.seen(6, 6e-4), system)
    assert not fit.visible
    assert np.abs(errors(fit, truth)).max() < 2


RNG = np.random.default_rng(13)


@pytest.mark.parametrize(
    ("flux", "system"),
    [
        (1e30 * np.abs(RNG.normal(size=(20, WAVELENGTHS))), SYSTEM),
        (RNG.poisson(1.0, (60, WAVELENGTHS)), SYSTEM),
        (RNG.normal(1e4, 10, (8, WAVELENGTHS)), replace(SYSTEM, sma=1e4, i=89.999, e=0.9)),
        (RNG.normal(1e4, 10, (30, WAVELENGTHS)), replace(SYSTEM, P=0.3, sma=1.01, i=10.0)),
        (np.exp(-np.arange(80) / 20)[:, None] * RNG.normal(1e4, 10, (80, WAVELENGTHS)), SYSTEM),
    ],
    ids=["huge", "a photon a frame", "transit within a frame", "inside the star", "fading"],
)
def test_whatever_the_light_the_answer_is_a_number(flux: np.ndarray, system: System) -> None:
    fit = fit_visit(np.linspace(0, HOURS, len(flux)), flux, system)
    for part in (fit.depth, fit.sigma, fit.drift, fit.response, fit.duration_h, fit.ingress_h):
        assert np.isfinite(part).all()
    assert (fit.depth >= 0).all() and (fit.sigma > 0).all() and 0 <= fit.mid_h <= HOURS
    assert fit.profile.min() >= 0 and fit.profile.max() <= 1


def test_light_curves_without_noise_have_a_sigma_still(plain: Sky) -> None:
    fit = fit_visit(plain.times_h, plain.flux, SYSTEM)
    assert (fit.sigma > 1e-6).all()
    assert np.abs(fit.depth / plain.depth - 1).max() < 0.01


def test_noise_added_to_a_light_curve_moves_the_depth_by_the_response(plain: Sky) -> None:
    first = plain.seen(7, 3e-4)
    fit = fit_visit(plain.times_h, first, SYSTEM)
    columns = np.arange(5, WAVELENGTHS, 40)  # too few to change the shape
    extra = np.zeros_like(first)
    extra[:, columns] = np.random.default_rng(8).normal(0, 3e-4, (FRAMES, len(columns)))
    moved = fit_visit(plain.times_h, first * (1 + extra), SYSTEM)
    change = (moved.depth - fit.depth)[columns]
    assert np.std(change) > 3e-5
    np.testing.assert_allclose(change, (fit.response[1] @ extra)[columns], atol=5e-6)


def test_gaps_and_dark_columns_cost_only_themselves(plain: Sky) -> None:
    flux = plain.seen(9, 3e-4)
    whole = fit_visit(plain.times_h, flux, SYSTEM)
    flux[50:60] = np.nan  # no light at all
    flux[100, 20] = np.inf
    flux[:120, 30] = np.nan
    flux[:, 40], flux[:, 50] = 0.0, 1234.0
    fit = fit_visit(plain.times_h, flux, SYSTEM)
    assert np.flatnonzero(~fit.measured).tolist() == [30, 40, 50]
    assert (fit.sigma[[30, 40, 50]] >= 0.9 * fit.depth[[30, 40, 50]]).all()
    kept = fit.measured
    assert np.isfinite(fit.depth).all() and np.isfinite(fit.sigma).all()
    assert np.abs(errors(fit, plain)[kept]).max() < 5
    assert np.median(fit.sigma[kept] / whole.sigma[kept]) == pytest.approx(1.05, abs=0.1)
    assert fit.profile.shape == (FRAMES,)


def test_either_instrument_alone_is_enough(plain: Sky) -> None:
    for dark in (slice(0, 1), slice(1, WAVELENGTHS)):
        flux = plain.seen(10, 3e-4)
        flux[:, dark] = np.nan
        fit = fit_visit(plain.times_h, flux, SYSTEM)
        assert not fit.measured[dark].any() and fit.visible
        assert np.abs(errors(fit, plain)).max() < 5
        assert fit.mid_h == pytest.approx(plain.mid_h, abs=0.02)


@pytest.mark.parametrize(
    ("flux", "said"),
    [
        (np.full((40, WAVELENGTHS), np.nan), "none of 283 columns has light that changes"),
        (np.zeros((40, WAVELENGTHS)), "none of 283 columns has light that changes"),
        (np.full((40, WAVELENGTHS), 5e4), "none of 283 columns has light that changes"),
        (np.ones((7, WAVELENGTHS)), "at least 8 frames"),
        (np.ones((40, 5)), r"expected \(frames, 283\)"),
    ],
    ids=["nan", "dark", "constant", "short", "narrow"],
)
def test_a_visit_without_a_light_curve_is_refused_by_planet(flux: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=f"^planet 7: .*{said}"):
        fit_visit(np.linspace(0, 7, len(flux)), flux, SYSTEM)


def test_a_system_that_is_no_orbit_is_refused_by_planet(plain: Sky) -> None:
    with pytest.raises(InputError, match=r"^planet 7: .*P is nan, expected above 0; sma is 0.5"):
        fit_visit(plain.times_h, plain.flux, replace(SYSTEM, P=float("nan"), sma=0.5))
    with pytest.raises(InputError, match=r"^planet 7: times that do not rise"):
        fit_visit(plain.times_h[::-1], plain.flux, SYSTEM)


def test_visits_of_a_planet_are_weighted_with_their_inverse_variance() -> None:
    depth = np.array([[1.0, 2.0], [4.0, 4.0], [7.0, 2.0]])
    sigma = np.array([[1.0, 1.0], [0.5, 3.0], [2.0, 1.0]])
    planets, mean, error = combine(np.array([9, 3, 9]), depth, sigma)
    assert planets.tolist() == [3, 9]
    np.testing.assert_allclose(mean, [[4.0, 4.0], [(1 + 7 / 4) / (1 + 1 / 4), 2.0]])
    np.testing.assert_allclose(error, [[0.5, 3.0], [1.25**-0.5, 2**-0.5]])


def test_two_visits_know_a_depth_better_than_one(plain: Sky) -> None:
    fits = [fit_visit(plain.times_h, plain.seen(n, 4e-4), SYSTEM) for n in (11, 12)]
    _, depth, sigma = combine(
        np.array([7, 7]), np.stack([f.depth for f in fits]), np.stack([f.sigma for f in fits])
    )
    np.testing.assert_allclose(sigma[0], fits[0].sigma / np.sqrt(2), rtol=0.25)
    found = (depth[0] - plain.depth) / sigma[0]
    assert 0.6 < (np.abs(found) < 1).mean() < 0.76


@pytest.fixture
def visits(plain: Sky) -> Visits:
    """Three visits of two planets; the second one of planet 7 saw nothing."""
    flux = np.stack([plain.seen(n, 4e-4) for n in range(3)]).astype(np.float32)
    flux[1] = np.nan
    return Visits(
        np.array([7, 7, 8]), np.array([0, 1, 0]), np.tile(plain.times_h, (3, 1)), flux, ()
    )


SYSTEMS = {7: SYSTEM, 8: replace(SYSTEM, planet_id=8)}


@pytest.fixture
def _own_cache(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path))


@pytest.mark.usefixtures("_own_cache")
def test_a_visit_without_light_leaves_the_others_unharmed(visits: Visits) -> None:
    found = baselines_of(visits, SYSTEMS, "a")
    assert found["fitted"].tolist() == [True, False, True]
    alone = fit_visit(visits.times_h[2], visits.flux[2], SYSTEMS[8])
    np.testing.assert_array_equal(found["depth"][2], alone.depth)
    np.testing.assert_array_equal(found["profile"][2], alone.profile)
    np.testing.assert_allclose(found["depth"][1], found["depth"][[0, 2]].mean(0))
    np.testing.assert_allclose(found["sigma"][1], found["depth"][[0, 2]].std(0))
    (said,) = unfitted(visits, SYSTEMS, found)
    assert said.startswith("visit 1 of planet 7: none of 283 columns has light")


@pytest.mark.usefixtures("_own_cache")
def test_fits_are_remembered_by_what_decides_them(visits: Visits) -> None:
    first = baselines_of(visits, SYSTEMS, "a")
    other = replace(visits, flux=visits.flux[[2, 1, 0]])
    again = baselines_of(other, SYSTEMS, "a")  # the key says that the light curves are the same
    assert first.keys() == again.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], again[name], err_msg=name)
    assert not np.array_equal(baselines_of(other, SYSTEMS, "b")["depth"], first["depth"])
    warmer = SYSTEMS | {8: replace(SYSTEMS[8], Ts=6500.0)}
    assert not np.array_equal(baselines_of(visits, warmer, "a")["depth"], first["depth"])


@pytest.mark.usefixtures("_own_cache")
def test_a_set_in_which_no_visit_can_be_fitted_is_refused(visits: Visits) -> None:
    with pytest.raises(InputError, match=r"visit 0 of planet 7: .*visit 0 of planet 8: "):
        baselines_of(replace(visits, flux=np.zeros_like(visits.flux)), SYSTEMS, "a")


def test_without_a_catalogue_depths_are_as_good_and_sigma_as_honest() -> None:
    z, ratios, sigmas, mids = [], [], [], []
    for n, impact in enumerate(np.linspace(0.0, 0.7, 8)):
        orbit = replace(SYSTEM, i=float(np.degrees(np.arccos(impact / SYSTEM.sma))), P=2.0 + n)
        truth = sky(system=orbit, mid_h=3.2 + 0.1 * n, drift=(4e-4, -3e-4, 2e-4))
        flux = truth.seen(n, 6e-4)
        known, alone = fit_visit(truth.times_h, flux, orbit), fit_visit(truth.times_h, flux, 7)
        error, least = ((fit.depth - truth.depth)[1:].std() for fit in (alone, known))
        ratios.append(error / least)
        sigmas.append(np.median(alone.sigma[1:] / known.sigma[1:]))
        mids.append(alone.mid_h - truth.mid_h)
        assert alone.visible
        assert alone.duration_h == pytest.approx(known.duration_h, rel=0.05)
        z.append(errors(alone, truth))
    inside = np.abs(np.array(z)[:, 1:]) < 1
    assert 0.65 < inside.mean() < 0.72
    assert np.abs(np.array(z)[:, 0]).max() < 3.5
    assert max(ratios) < 1.05 and 0.9 < min(sigmas) <= max(sigmas) < 1.2
    assert np.abs(mids).max() < 0.02


def test_without_a_catalogue_gaps_and_one_instrument_are_enough(plain: Sky) -> None:
    flux = plain.seen(9, 3e-4)
    flux[50:60] = np.nan  # no light at all
    fit = fit_visit(plain.times_h, flux, 7)
    assert np.abs(errors(fit, plain)).max() < 5 and fit.profile.shape == (FRAMES,)
    for dark in (slice(0, 1), slice(1, WAVELENGTHS)):
        alone = flux.copy()
        alone[:, dark] = np.nan
        fit, known = (fit_visit(plain.times_h, alone, one) for one in (7, SYSTEM))
        assert fit.visible and np.abs(errors(fit, plain)).max() < 5
        assert fit.mid_h == pytest.approx(known.mid_h, abs=0.02)  # the gap is where it begins


def test_without_a_catalogue_a_planet_that_is_not_seen_may_graze() -> None:
    nothing = sky(depth=np.full(WAVELENGTHS, 1e-9), drift=(3e-4,))
    fit = fit_visit(nothing.times_h, nothing.seen(6, 6e-4), 7)
    known = fit_visit(nothing.times_h, nothing.seen(6, 6e-4), SYSTEM)
    assert not fit.visible and fit.sigma.min() > 3 * known.sigma.max()
    orbit = replace(SYSTEM, i=float(np.degrees(np.arccos(1.05 / SYSTEM.sma))))
    grazing = sky(system=orbit)
    found = errors(fit_visit(grazing.times_h, grazing.seen(6, 6e-4), 7), grazing)
    assert np.abs(found).max() < 3


def test_without_a_catalogue_a_visit_is_refused_by_planet() -> None:
    with pytest.raises(InputError, match=r"^planet 12: none of 283 columns"):
        fit_visit(np.linspace(0, 7, 40), np.zeros((40, WAVELENGTHS)), 12)


@pytest.mark.usefixtures("_own_cache")
def test_a_planet_that_the_catalogue_lacks_is_fitted_without(visits: Visits) -> None:
    known = baselines_of(visits, SYSTEMS, "a")
    found = baselines_of(visits, {7: SYSTEM}, "a")
    assert found["fitted"].tolist() == [True, False, True]
    np.testing.assert_array_equal(found["depth"][0], known["depth"][0])
    alone = fit_visit(visits.times_h[2], visits.flux[2], 8)
    np.testing.assert_array_equal(found["depth"][2], alone.depth)
    assert not np.array_equal(found["depth"][2], known["depth"][2])
    assert unfitted(visits, {}, baselines_of(visits, {}, "a"))[0].startswith(
        "visit 1 of planet 7: "
    )


@pytest.mark.usefixtures("_own_cache")
def test_the_2024_edition_without_its_star_table_is_read_and_fitted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("sets") / "2024"
    recipe = Recipe(planets=3, exposures=187, rows=2, fgs1_side=2, edition="2024", seed=3)
    simulate(root, recipe)
    with_catalogue = open_dataset(root)
    (root / "train_star_info.csv").unlink()
    dataset = open_dataset(root)
    assert (
        dataset.systems == {} and dataset.planets == with_catalogue.planets and not dataset.faults
    )
    seen = read_visits(dataset, dataset.planets, 187)
    found = baselines_of(seen, dataset.systems, "none")
    known = baselines_of(seen, with_catalogue.systems, "all")
    assert found["fitted"].all() and found["visible"].all()
    truth = np.stack([dataset.labels[planet] for planet in seen.planet_ids.tolist()])
    worse, best = (np.sqrt(np.mean((one["depth"] - truth) ** 2)) for one in (found, known))
    assert worse < 1.1 * best
    assert 0.6 < np.mean(np.abs(found["depth"] - truth) < found["sigma"]) < 0.8
    for n, planet in enumerate(seen.planet_ids.tolist()):
        with np.load(root / "truth" / f"{planet}_0.npz") as drawn:
            assert found["mid_h"][n] == pytest.approx(float(drawn["mid_h"]), abs=0.05)

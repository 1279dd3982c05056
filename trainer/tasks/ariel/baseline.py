"""The physical baseline: what a transit fit says of a spectrum, without having learned anything.

The white-light fit (`white_light.py`) gives the shape of the transit; then each of the 283 columns is

    flux = drift × (1 − depth × (covered + w × darkened))

with its own depth and drift, all columns solved at once (`depths.py`). Limb darkening w is FGS1's own,
and over AIRS a straight line (`limb_darkening.py`). σ is that of least squares from the column's
residuals, widened for their autocorrelation and for what the white light leaves open of the shape.
Nothing is smoothed over wavelengths: what spectra look like is for a network to learn.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from trainer.errors import InputError
from trainer.identity import fingerprint
from trainer.tasks.ariel import cache
from trainer.tasks.ariel.autocorrelation import hat_lag, inflation, lag_one
from trainer.tasks.ariel.depths import Depths, solve_depths
from trainer.tasks.ariel.expected import Expected
from trainer.tasks.ariel.limb_darkening import AIRS, Curves, Limb
from trainer.tasks.ariel.transit_shape import LAW_ERROR
from trainer.tasks.ariel.visit import WAVELENGTHS, System, Visits
from trainer.tasks.ariel.white_light import DEGREES, fit_shape

VERSION = 1
"""Raised by hand whenever the same light curves would give another baseline."""
FEWEST_FRAMES = 8
"""Frames with light that a fit needs, of a column as of the white light."""
SIGMA_FLOOR = 1e-7
"""Least σ of a depth, 0.1 ppm: light curves without noise do not make a depth certain."""

LEAST_DEPTH = 1e-6
"""Depth for which limb darkening is looked for, at least."""


@dataclass(frozen=True, eq=False)
class Fit:
    """What a visit says of its planet.

    Args:
        depth: (283,) (Rp/Rs)², not negative.
        sigma: (283,) its standard deviation, above 0.
        profile: (frames,) share of the planet's disc that is before the star, in [0, 1].
        mid_h: Hours at which the transit is half over, from the visit's first exposure.
        duration_h: Hours from first to last contact.
        ingress_h: Hours from first to second contact; half of the duration where it only grazes.
        drift: (283, 5) coefficients of the Legendre polynomials of time (−1 at the first frame, 1
            at the last), electrons; 0 above the degree that was chosen.
        limb: (283,) limb darkening w (`transit_shape.py`).
        response: (2, frames) change of the depth by a change of the normalised flux in one frame,
            of FGS1 and of AIRS: noise added to a light curve moves its depth by response @ noise.
        visible: Whether the white light has a transit. If not, σ is widened by the largest depth that
            could have gone unseen.
        measured: (283,) whether the column has light. One without has the mean depth of those that
            have, and that as its σ.
    """

    depth: np.ndarray
    sigma: np.ndarray
    profile: np.ndarray
    mid_h: float
    duration_h: float
    ingress_h: float
    drift: np.ndarray
    limb: np.ndarray
    response: np.ndarray
    visible: bool
    measured: np.ndarray

    def normalised(self, flux: np.ndarray) -> np.ndarray:
        """Return flux (frames, 283) without drift: 1 out of transit, 1 − depth within."""
        return normalise(flux, self.drift)


def normalise(flux: np.ndarray, drift: np.ndarray) -> np.ndarray:
    """Divide light curves by their drift; a column that was not measured is 1.

    Args:
        flux: (…, frames, 283) electrons.
        drift: (…, 283, 5) as in `Fit`.
    """
    x = np.linspace(-1, 1, flux.shape[-2])
    basis = np.polynomial.legendre.legvander(x, drift.shape[-1] - 1)
    light = np.asarray(basis @ np.swapaxes(drift, -1, -2))
    normal: np.ndarray = np.divide(flux, light, out=np.ones_like(light), where=light > 0)
    return normal


def fit_visit(times_h: np.ndarray, flux: np.ndarray, system: System | int) -> Fit:
    """Fit one visit.

    Args:
        times_h: (frames,) hours, ascending and evenly spaced.
        flux: (frames, 283) electrons. A value that is not finite is left out; a column without
            light, or with the same in every frame, is not measured.
        system: The planet's, where the fit starts; the planet's number where no catalogue has it,
            then its orbit and its star are expected to be any of the usual ones (`expected.py`).

    Raises:
        InputError: Fewer than 8 frames or no column have light that changes, the times do not
            rise, or the system is no orbit around a star; names the planet.
    """
    known = system if isinstance(system, System) else None
    whose = f"planet {system if known is None else known.planet_id}"
    if known is not None:
        _check_system(known)
    times_h, flux = np.asarray(times_h, dtype=np.float64), np.asarray(flux, dtype=np.float64)
    _check_curves(times_h, flux, whose)
    good = np.isfinite(flux)
    level = np.where(good, flux, 0.0).sum(0) / np.maximum(good.sum(0), 1)  # (283,)
    spread = np.where(good, np.abs(flux - level), 0.0).max(0)
    measured = (level > 0) & (spread > 0) & (good.sum(0) >= max(FEWEST_FRAMES, len(flux) // 2))
    if not measured.any():
        raise InputError(
            f"{whose}: none of {WAVELENGTHS} columns has light that changes in at least"
            f" {max(FEWEST_FRAMES, len(flux) // 2)} of {len(flux)} frames"
        )
    normal = np.divide(flux, level, out=np.full_like(flux, np.nan), where=good & measured)
    return _Measurement(times_h, normal, level, measured, Expected.of(known)).fit()


class _Measurement:
    """One visit on its way to a `Fit`.

    The white light does without frames in which no column has light, a column without those in
    which it has none itself.
    """

    def __init__(
        self,
        times_h: np.ndarray,
        normal: np.ndarray,
        level: np.ndarray,
        measured: np.ndarray,
        expected: Expected,
    ) -> None:
        self.normal, self.level, self.measured = normal, level, measured
        self.good = np.isfinite(normal)
        self.airs = np.flatnonzero(measured[1:]) + 1
        self.fgs1 = expected.fgs1
        half = len(self.airs) // 2
        parts = [self.airs, self.airs[:half], self.airs[half:], np.flatnonzero(measured[:1])]
        bands = np.stack([self._band(part) for part in parts if len(part)], axis=1)
        limb = AIRS if len(self.airs) else self.fgs1
        self.shape = fit_shape(times_h, bands, expected, limb)

    def _band(self, columns: np.ndarray) -> np.ndarray:
        """Return the light of several columns together, near 1; nan where none has any."""
        good, weight = self.good[:, columns], self.level[columns]
        if good.all():
            return np.asarray(self.normal[:, columns] @ weight / weight.sum())
        light = np.where(good, self.normal[:, columns], 0.0) @ weight
        total = good @ weight
        return np.where(total > 0, light / np.where(total > 0, total, 1.0), np.nan)

    def fit(self) -> Fit:
        """Solve for every column."""
        shape = self.shape
        terms = shape.basis.shape[1]
        depth, sigma, w = np.zeros((3, WAVELENGTHS))
        drift = np.zeros((WAVELENGTHS, DEGREES[-1] + 1))
        response = np.zeros((2, len(self.normal)))
        for seen, columns in self._alike():
            found, limb = self._solve(seen, columns, shape.covered, shape.darkened)
            design = np.column_stack([shape.basis[seen], shape.covered[seen]])
            rho = lag_one(found.residuals, hat_lag(design))
            free = max(int(seen.sum()) - terms - 1, 1)
            noise = np.einsum("fc,fc->c", found.residuals, found.residuals) / free
            own = noise * inflation(rho) ** 2 * found.unit_variance
            depth[columns], w[columns] = found.depth, limb.w
            common = (shape.shared_variance + LAW_ERROR**2) * found.depth**2
            common = common + self._spread(seen, columns, found)
            sigma[columns] = np.sqrt(own + limb.variance + common)
            drift[columns, :terms] = found.drift * self.level[columns, None]
            instrument = min(int(columns[0]), 1)
            response[instrument, seen] = found.response[:, len(columns) // 2]
        return self._finish(depth, sigma, drift, w, response)

    def _alike(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield measured columns that have light in the same frames: (frames,) mask, indices."""
        for columns in (np.flatnonzero(self.measured[:1]), self.airs):
            if not len(columns):
                continue
            have = self.good[:, columns]
            if have.all():
                yield have[:, 0], columns
                continue
            patterns, which = np.unique(have, axis=1, return_inverse=True)
            which = which.reshape(-1)
            for n in np.argsort(np.bincount(which), kind="stable"):  # the most common one last
                yield patterns[:, n], columns[which == n]

    def _solve(
        self, seen: np.ndarray, columns: np.ndarray, covered: np.ndarray, darkened: np.ndarray
    ) -> tuple[Depths, Limb]:
        """Return depths and limb darkening of columns, the planet's shape being known."""
        flux, basis, drift = (
            self.normal[:, columns][seen],
            self.shape.basis[seen],
            self.shape.drift[seen],
        )
        covered, darkened = covered[seen], darkened[seen]
        limb = self._limb(columns, Curves(flux, covered, darkened, basis, drift))
        profile = covered[:, None] + limb.w * darkened[:, None]
        return solve_depths(flux, profile, basis, drift), limb

    def _spread(self, seen: np.ndarray, columns: np.ndarray, found: Depths) -> np.ndarray:
        """Return the variance (columns,) of depths over the transits that are likely as well.

        FGS1 is darker at the limb than the white light and depends more on the impact parameter.
        """
        variance = np.zeros(len(columns))
        for one in self.shape.likely:
            if columns[0] > 0 or not len(self.airs):
                change: np.ndarray | float = one.depth - self.shape.depth
            else:
                other, _ = self._solve(seen, columns, one.covered, one.darkened)
                change = other.depth - found.depth
            variance += one.weight * change**2
        return variance

    def _limb(self, columns: np.ndarray, curves: Curves) -> Limb:
        shape = self.shape
        depth = max(shape.depth, LEAST_DEPTH)
        if columns[0] > 0:
            x = 2 * (columns - 1) / (WAVELENGTHS - 2) - 1
            weight = self.level[self.airs]
            centre = float((2 * (self.airs - 1) / (WAVELENGTHS - 2) - 1) @ weight / weight.sum())
            return curves.line(x - centre, shape.limb, depth)
        if len(self.airs):
            return curves.single(self.fgs1, depth)
        return Limb(np.array([shape.limb]), np.zeros(1))  # FGS1 is the white light

    def _finish(
        self,
        depth: np.ndarray,
        sigma: np.ndarray,
        drift: np.ndarray,
        w: np.ndarray,
        response: np.ndarray,
    ) -> Fit:
        shape, measured = self.shape, self.measured & np.isfinite(sigma)
        sigma = np.hypot(sigma, shape.hidden)
        depth = np.maximum(depth, 0.0)
        if not measured.all():
            weight = np.maximum(sigma[measured], SIGMA_FLOOR) ** -2
            mean = float(depth[measured] @ weight / weight.sum()) if measured.any() else 0.0
            depth = np.where(measured, depth, mean)
            sigma = np.where(measured, sigma, max(mean, shape.hidden))
        whole, inside = (shape.path.hours_within(1 + side * shape.ratio) for side in (1, -1))
        return Fit(
            depth=depth,
            sigma=np.maximum(sigma, SIGMA_FLOOR),
            profile=shape.covered,
            mid_h=shape.path.mid_h,
            duration_h=whole,
            ingress_h=(whole - inside) / 2,
            drift=drift,
            limb=w,
            response=response,
            visible=shape.hidden == 0,
            measured=measured,
        )


def _check_system(system: System) -> None:
    fine = {
        "P": (system.P > 0, "above 0"),
        "sma": (system.sma > 1, "above 1"),
        "i": (0 <= system.i <= 180, "0 to 180"),
        "e": (0 <= system.e < 1, "0 to below 1"),
        "Ts": (system.Ts > 0, "above 0"),
    }
    wrong = [
        f"{name} is {getattr(system, name)}, expected {expected}"
        for name, (good, expected) in fine.items()
        if not (good and math.isfinite(getattr(system, name)))
    ]
    if wrong:
        raise InputError(f"planet {system.planet_id}: no orbit around a star: {'; '.join(wrong)}")


def _check_curves(times_h: np.ndarray, flux: np.ndarray, whose: str) -> None:
    if flux.shape != (len(times_h), WAVELENGTHS) or len(times_h) < FEWEST_FRAMES:
        raise InputError(
            f"{whose}: flux of shape {flux.shape} at {len(times_h)} times, expected"
            f" (frames, {WAVELENGTHS}) of at least {FEWEST_FRAMES} frames"
        )
    if not (np.isfinite(times_h).all() and (np.diff(times_h) > 0).all()):
        raise InputError(f"{whose}: times that do not rise, expected hours in ascending order")


def combine(
    planet_ids: np.ndarray, depth: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Combine the visits of each planet, weighted with their inverse variance.

    Args:
        planet_ids: (visits,).
        depth: (visits, 283).
        sigma: (visits, 283), above 0.

    Returns:
        The planets (planets,), ascending; their depth and σ, (planets, 283).
    """
    planets, which = np.unique(planet_ids, return_inverse=True)
    weight, weighted = np.zeros((2, len(planets), depth.shape[1]))
    np.add.at(weight, which, sigma**-2.0)
    np.add.at(weighted, which, depth * sigma**-2.0)
    return planets, weighted / weight, weight**-0.5


def baselines_of(visits: Visits, systems: Mapping[int, System], key: str) -> dict[str, np.ndarray]:
    """Return the fits of several visits, remembered in the cache.

    Args:
        visits: What is fitted.
        systems: By planet; one that is missing is fitted without (`fit_visit`).
        key: What decides the light curves: the data set's content hash.

    Returns:
        The fields of `Fit`, stacked over visits, and `fitted` (visits,): a visit that cannot be
        fitted has the mean spectrum of the others and their spread as its σ; `unfitted` says why.

    Raises:
        InputError: None can be fitted.
    """
    whole = fingerprint(
        {
            "version": VERSION,
            "data": key,
            "visits": [visits.planet_ids.tolist(), visits.visit.tolist()],
            "times_h": hashlib.sha256(np.ascontiguousarray(visits.times_h).data).hexdigest(),
            "systems": [
                asdict(systems[planet]) if planet in systems else None
                for planet in np.unique(visits.planet_ids).tolist()
            ],
        }
    )
    return cache.remembered("baseline", whole, lambda: _fit_all(visits, systems))


def unfitted(
    visits: Visits, systems: Mapping[int, System], baselines: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
    """Return why visits could not be fitted, one line each, by planet and visit."""
    reasons = []
    for n in np.flatnonzero(~baselines["fitted"].astype(bool)).tolist():
        found = _try(visits, systems, n)
        assert isinstance(found, str)
        reasons.append(found)
    return tuple(reasons)


def _fit_all(visits: Visits, systems: Mapping[int, System]) -> dict[str, np.ndarray]:
    tried = [_try(visits, systems, n) for n in range(len(visits.planet_ids))]
    fits = [fit for fit in tried if isinstance(fit, Fit)]
    if not fits:
        raise InputError("no visit can be fitted: " + "; ".join(map(str, tried)))
    others = _mean_of(fits)
    return {
        name: np.stack(
            [np.asarray(getattr(f if isinstance(f, Fit) else others, name)) for f in tried]
        )
        for name in (field.name for field in fields(Fit))
    } | {"fitted": np.array([isinstance(fit, Fit) for fit in tried])}


def _try(visits: Visits, systems: Mapping[int, System], n: int) -> Fit | str:
    """Return a visit's fit, or why there is none."""
    planet = int(visits.planet_ids[n])
    try:
        return fit_visit(visits.times_h[n], visits.flux[n], systems.get(planet, planet))
    except InputError as error:
        return f"visit {int(visits.visit[n])} of {error}"


def _mean_of(fits: list[Fit]) -> Fit:
    """Return what is said of a planet that could not be fitted: what the others look like."""
    depths = np.stack([fit.depth for fit in fits])
    mean = depths.mean(0)
    spread = depths.std(0) if len(fits) > 1 else mean
    return replace(
        fits[0],
        depth=mean,
        sigma=np.maximum(spread, SIGMA_FLOOR),
        drift=np.zeros_like(fits[0].drift),
        response=np.zeros_like(fits[0].response),
        profile=np.zeros_like(fits[0].profile),
        visible=False,
        measured=np.zeros_like(fits[0].measured),
    )

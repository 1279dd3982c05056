"""The white-light fit: when and how long a planet transits, how the instrument drifts meanwhile.

Model of the flux of all AIRS columns together, in units of its median:

    flux = drift × (1 − depth × (covered + w × darkened))

`drift` is a polynomial in time; the rest is `transit_shape.py`. Mid-time, speed and impact parameter
are fitted by least squares; for each trial of them the linear parameters are solved for exactly
(variable projection: Golub & Pereyra 2003, Inverse Problems 19 R1). The fit starts from the best of a
grid over mid-times and drift degrees, so that it does not end in another dip than the deepest one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trainer.tasks.ariel.autocorrelation import hat_lag, inflation, lag_one
from trainer.tasks.ariel.transit_shape import Path, Table, in_frames
from trainer.tasks.ariel.visit import System

DEGREES = (2, 3, 4)
"""Of the drift; the Bayesian information criterion chooses. A straight line is not among them: bent
drift that is too weak to be seen would go into the depth, and its σ would not say so."""
FREE_FRAMES = 6
"""Frames beyond its degree that a drift needs."""
MID_TIMES = 96
"""Mid-times of the grid, evenly over the visit."""
IMPACT_SIGMA = 0.05
SPEED_SIGMA = 0.03
"""How far the catalogue may be wrong of the impact parameter, and of the transit's duration as a
share of it; the eccentricity adds to the latter. Data that know better overrule it."""
START_RATIO = 0.06
"""Rp/Rs with which the grid is searched."""
GRAZING = 1 + START_RATIO / 2
"""Largest impact parameter of the grid."""
RATIOS = np.geomspace(0.01, 0.3, 24)
"""Rp/Rs of planets that may hide in a light curve without a transit."""
PRECISION = np.array([0.1, 1.0, 1.0])
"""Of what is expected of the path's three numbers: of the mid-time next to nothing."""
VISIBLE = 5.0
"""Signal to noise of the white-light depth below which no transit counts as seen."""
SAMPLES_PER_CONTACT = 4
"""Times at which the shape is taken while the planet's disc crosses the limb, at least."""


@dataclass(frozen=True, eq=False)
class Shape:
    """What a visit's columns have in common.

    Args:
        covered: (frames,) share of the planet's disc before the star, in [0, 1].
        darkened: (frames,) the same weighted with the star's brightness (`transit_shape.py`).
        drift: (frames,) the white-light drift, near 1.
        basis: (frames, degree + 1) Legendre polynomials of time over the visit.
        path: Of the planet.
        ratio: Rp/Rs that `covered` is made with.
        depth: White-light depth.
        limb: White-light limb darkening w.
        shared_variance: Variance of ln depth due to path and limb darkening: common to all columns.
        hidden: Where no transit is seen, the largest depth that could be there; else 0.
    """

    covered: np.ndarray
    darkened: np.ndarray
    drift: np.ndarray
    basis: np.ndarray
    path: Path
    ratio: float
    depth: float
    limb: float
    shared_variance: float
    hidden: float


def legendre(times_h: np.ndarray, degree: int) -> np.ndarray:
    """Return the Legendre polynomials of degree 0 … `degree`, (frames, degree + 1).

    Time runs from −1 at the first frame to 1 at the last.
    """
    x = 2 * (times_h - times_h[0]) / (times_h[-1] - times_h[0]) - 1
    return np.polynomial.legendre.legvander(x, degree)


def fit_shape(
    times_h: np.ndarray, bands: np.ndarray, system: System, limb: tuple[float, float]
) -> Shape:
    """Fit the white light of a visit.

    Args:
        times_h: (frames,) hours, ascending and evenly spaced.
        bands: (frames, bands) broad-band fluxes, each near 1; what is not finite is left out. The
            first is fitted; all of them choose the degree of the drift.
        system: Where the fit starts.
        limb: Mean and standard deviation of the limb darkening expected of the first.
    """
    start, degree = _search(times_h, bands, system, limb[0])
    fit = _Fit(times_h, bands[:, 0], system, degree, limb, start)
    for _ in range(2):  # the second time with the size and the drift that the first one found
        fit.optimise()
    return fit.shape()


def _search(
    times_h: np.ndarray, bands: np.ndarray, system: System, limb: float
) -> tuple[Path, int]:
    """Return the path at the best mid-time, and the degree of the drift."""
    table = Table.of(START_RATIO)
    centre = Path.of(system, 0.0)
    if abs(centre.impact) > GRAZING:
        centre = replace(centre, impact=GRAZING)  # beyond, a small planet would leave no trace
    mids = np.linspace(times_h[0], times_h[-1], MID_TIMES)
    phases = centre.separation(times_h - mids[:, None])
    covered, darkened = table.profiles(phases)
    profiles = covered + limb * darkened  # (mids, frames)
    scores = _criterion(times_h, bands[:, 0], profiles)
    degree, best = np.unravel_index(scores.argmin(), scores.shape)
    degrees = [int(degree)]
    for band in bands.T[1:]:
        degrees.append(int(_criterion(times_h, band, profiles[best : best + 1]).argmin()))
    return replace(centre, mid_h=float(mids[best])), DEGREES[max(degrees)]


def _criterion(times_h: np.ndarray, band: np.ndarray, profiles: np.ndarray) -> np.ndarray:
    """Return the Bayesian information criterion of each degree and profile: (degrees, profiles)."""
    lit = np.isfinite(band)
    band, profiles = band[lit], profiles[:, lit]
    basis, _ = np.linalg.qr(legendre(times_h, DEGREES[-1])[lit])
    strongest = np.einsum("mf,mf->m", profiles, profiles).max()
    scores = np.full((len(DEGREES), len(profiles)), np.inf)
    for row, degree in enumerate(DEGREES):
        if degree + FREE_FRAMES > len(band):
            continue
        q = basis[:, : degree + 1]
        y = band - q @ (q.T @ band)
        p = profiles - (profiles @ q) @ q.T
        power = np.einsum("mf,mf->m", p, p)
        seen = power > 1e-3 * strongest
        depth = np.where(seen, -(p @ y) / np.where(seen, power, 1), 0)
        rss = np.maximum(y @ y - np.where(depth > 0, depth**2 * power, 0), 1e-24)
        scores[row] = len(y) * np.log(rss) + degree * np.log(len(y))
    return scores


class _Fit:
    """The state of one white-light fit: what is solved for, and around what."""

    def __init__(
        self,
        times_h: np.ndarray,
        white: np.ndarray,
        system: System,
        degree: int,
        limb: tuple[float, float],
        start: Path,
    ) -> None:
        self.all_h, self.all_basis = times_h, legendre(times_h, degree)
        lit = np.isfinite(white)
        self.times_h, self.white, self.basis = times_h[lit], white[lit], self.all_basis[lit]
        self.start, self.limb = start, limb
        self.speed_sigma = SPEED_SIGMA + system.e
        self.table = Table.of(START_RATIO)
        frame_h = float(np.median(np.diff(times_h)))
        contact_h = max(start.hours_within(1.0), frame_h) * START_RATIO
        self.samples = int(np.clip(np.ceil(SAMPLES_PER_CONTACT * frame_h / contact_h), 1, 12))
        self.step_h = max(start.hours_within(1.0) / 4, frame_h)
        self.theta = np.zeros(3)
        self.drift = np.ones_like(self.white)
        self.sigma = 1.0
        self.depth = START_RATIO**2
        expected = np.array([1.0, limb[0]])  # of depth and depth × w, for depth 1
        single = np.column_stack([self.basis, self.slopes(self.theta) @ expected])
        found = np.linalg.lstsq(single, self.white, rcond=None)[0]
        self._take(np.append(found[:-1], found[-1] * expected))

    def path(self, theta: np.ndarray) -> Path:
        """Return the path that three numbers of order 1 mean: mid-time, speed, impact."""
        return Path(
            self.start.mid_h + self.step_h * float(theta[0]),
            self.start.impact + IMPACT_SIGMA * float(theta[2]),
            self.start.sma,
            self.start.period_h,
            float(np.exp(np.clip(self.speed_sigma * theta[1], -3, 3))),
        )

    def slopes(self, theta: np.ndarray) -> np.ndarray:
        """Return the derivatives of the flux by depth and depth × w, (frames, 2)."""
        shape = in_frames(self.table, self.path(theta), self.times_h, self.samples)
        return np.asarray(-self.drift[:, None] * np.stack(shape, axis=1))

    @property
    def prior(self) -> np.ndarray:
        """Row of a design: what is expected of w, in depth and depth × w."""
        mean, spread = self.limb
        return np.array([-mean, 1.0]) / (spread * self.depth)

    def design(self, theta: np.ndarray) -> np.ndarray:
        """Return (frames + 1, degree + 3): drift, depth and depth × w in units of σ; the prior."""
        data = np.concatenate([self.basis, self.slopes(theta)], axis=1) / self.sigma
        return np.concatenate([data, [np.append(np.zeros(self.basis.shape[1]), self.prior)]])

    def _take(self, linear: np.ndarray) -> None:
        """Take over drift, size and noise of a solution."""
        whole = np.concatenate([self.basis, self.slopes(self.theta)], axis=1)
        residual = self.white - whole @ linear
        self.drift = self.basis @ linear[:-2]
        self.depth = float(np.clip(linear[-2], 1e-6, 0.25))
        self.linear = linear
        free = max(len(residual) - len(linear) - len(PRECISION), 1)
        rho = lag_one(residual[:, None], hat_lag(whole))
        self.sigma = max(float(np.sqrt(residual @ residual / free)) * inflation(rho), 1e-9)

    def optimise(self) -> None:
        """Fit the path with the drift and the size that were found last."""
        from scipy.optimize import least_squares

        self.table = Table.of(float(np.sqrt(np.clip(self.depth, 1e-5, 0.2))))
        q, _ = np.linalg.qr(self.basis)
        data = (self.white - q @ (q.T @ self.white)) / self.sigma
        prior = self.prior
        known = np.outer(prior, prior)

        def residuals(theta: np.ndarray) -> np.ndarray:
            slopes = self.slopes(theta) / self.sigma
            apart = slopes - q @ (q.T @ slopes)  # what of it no drift can do
            normal = apart.T @ apart + known
            normal[[0, 1], [0, 1]] += 1e-12 * np.trace(normal)  # no transit at all in sight
            linear = np.linalg.solve(normal, apart.T @ data)
            return np.concatenate([data - apart @ linear, [prior @ linear], theta * PRECISION])

        found = least_squares(
            residuals, self.theta, method="lm", diff_step=1e-4, xtol=1e-3, ftol=1e-5, max_nfev=60
        )
        ends = (self.all_h[[0, -1]] - self.start.mid_h) / self.step_h
        self.theta = np.append(np.clip(found.x[0], *ends), found.x[1:])
        data = np.append(self.white / self.sigma, 0.0)
        self._take(np.linalg.lstsq(self.design(self.theta), data, rcond=None)[0])

    def shape(self) -> Shape:
        """Return what was found, with the part of the depth's variance that columns share."""
        depth, weighted = self.linear[-2:]
        path = self.path(self.theta)
        design = self.design(self.theta)
        slopes = np.zeros((len(design), 3))
        for n in range(3):
            step = 1e-2 * np.eye(3)[n]
            change = self.slopes(self.theta + step) - self.slopes(self.theta - step)
            slopes[:-1, n] = change @ self.linear[-2:] / (2e-2 * self.sigma)
        whole = np.concatenate(
            [
                np.column_stack([slopes, design]),
                np.column_stack([np.diag(PRECISION), np.zeros((3, design.shape[1]))]),
            ]
        )
        variance = _covariance(whole)[-2, -2]
        mean, spread = self.limb
        found = weighted / depth if depth > 0 else mean
        limb = float(np.clip(found, mean - 3 * spread, mean + 3 * spread))
        alone = np.column_stack([design[:-1, :-2], design[:-1, -2:] @ [1.0, limb]])
        own = _covariance(alone)[-1, -1]
        visible = bool(depth > VISIBLE * np.sqrt(own) > 0)
        covered, darkened = in_frames(self.table, path, self.all_h, self.samples)
        return Shape(
            covered,
            darkened,
            self.all_basis @ self.linear[:-2],
            self.all_basis,
            replace(path, impact=abs(path.impact)),
            self.table.ratio,
            float(depth),
            limb if visible else mean,
            float(max(variance - own, 0) / depth**2) if visible else 0.0,
            0.0 if visible else self._hidden(path, depth * float(covered.max())),
        )

    def _hidden(self, path: Path, lost: float) -> float:
        """Return the largest depth that may have gone unseen, where `lost` of the light is missing.

        A planet that only grazes, or passes within a frame, hides more than one that crosses.
        """
        farther = replace(path, impact=abs(path.impact) + IMPACT_SIGMA)
        largest = RATIOS[0] ** 2
        for ratio in RATIOS:
            covered, _ = in_frames(Table.of(float(ratio)), farther, self.times_h, self.samples)
            frames = max(int(np.sum(covered > covered.max() / 2)), 1)
            if ratio**2 * covered.max() < max(lost, 0.0) + 3 * self.sigma / np.sqrt(frames):
                largest = ratio**2
        return float(largest)


def _covariance(design: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.linalg.pinv(design.T @ design, rcond=1e-14, hermitian=True)
    return found

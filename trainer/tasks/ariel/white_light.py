"""The white-light fit: when and how long a planet transits, how the instrument drifts meanwhile.

Model of the flux of all AIRS columns together, in units of its median:

    flux = drift × (1 − depth × (covered + w × darkened))

`drift` is a polynomial in time; the rest is `transit_shape.py`. Mid-time, speed and impact parameter
are fitted by least squares; for each trial of them the linear parameters are solved for exactly
(variable projection: Golub & Pereyra 2003, Inverse Problems 19 R1). The fit starts from the best of a
grid over mid-times, drift degrees and, where no catalogue has them (`expected.py`), durations and
impact parameters, so that it does not end in another dip than the deepest one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trainer.tasks.ariel.autocorrelation import hat_lag, inflation, lag_one
from trainer.tasks.ariel.expected import START_RATIO, Expected
from trainer.tasks.ariel.transit_shape import Path, Table, in_frames

DEGREES = (2, 3, 4)
"""Of the drift; the Bayesian information criterion chooses. A straight line is not among them: bent
drift that is too weak to be seen would go into the depth, and its σ would not say so."""
FREE_FRAMES = 6
"""Frames beyond its degree that a drift needs."""
MID_TIMES = 96
"""Mid-times of the grid, evenly over the visit."""
RATIOS = np.geomspace(0.01, 0.3, 24)
"""Rp/Rs of planets that may hide in a light curve without a transit."""
PRECISION = np.array([0.1, 1.0, 1.0])
"""Of what is expected of the path's three numbers: of the mid-time next to nothing."""
VISIBLE = 5.0
"""Signal to noise of the white-light depth below which no transit counts as seen."""
ALL, UP_TO_IMPACT = slice(3), slice(2)
"""Of the path's three numbers those that are fitted."""
NODES, WIDENING, UNLIKELY = 8, 1.2, 3.0
"""Impact parameters that are averaged over: at most so many on either side of the best one, the first a
standard deviation away and each step so much wider, up to one whose −ln posterior is so much more."""
FIRST_SECANT, SECANTS = 0.05, 6
"""The first step in search of the standard deviation of an impact parameter; how many follow."""
SAMPLES_PER_CONTACT = 4
"""Times at which the shape is taken while the planet's disc crosses the limb, at least."""


@dataclass(frozen=True, eq=False)
class Likely:
    """A transit that the white light allows as well, farther from the star's centre or nearer.

    Args:
        weight: Its probability.
        covered: (frames,) as in `Shape`.
        darkened: (frames,).
        depth: White-light depth with it.
    """

    weight: float
    covered: np.ndarray
    darkened: np.ndarray
    depth: float


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
        likely: The transits that the impact parameter is averaged over, which is then not in
            `shared_variance`; none where the catalogue knows it.
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
    likely: tuple[Likely, ...]
    hidden: float


def legendre(times_h: np.ndarray, degree: int) -> np.ndarray:
    """Return the Legendre polynomials of degree 0 … `degree`, (frames, degree + 1).

    Time runs from −1 at the first frame to 1 at the last.
    """
    x = 2 * (times_h - times_h[0]) / (times_h[-1] - times_h[0]) - 1
    return np.polynomial.legendre.legvander(x, degree)


def fit_shape(
    times_h: np.ndarray, bands: np.ndarray, expected: Expected, limb: tuple[float, float]
) -> Shape:
    """Fit the white light of a visit.

    Args:
        times_h: (frames,) hours, ascending and evenly spaced.
        bands: (frames, bands) broad-band fluxes, each near 1; what is not finite is left out. The
            first is fitted; all of them choose the degree of the drift.
        expected: Where the fit starts.
        limb: Mean and standard deviation of the limb darkening expected of the first.
    """
    mid_h, start, degree = _search(times_h, bands, expected, limb[0])
    fit = _Fit(times_h, bands[:, 0], expected, degree, limb, mid_h, start)
    for _ in range(2):  # the second time with the size and the drift that the first one found
        fit.optimise()
    return fit.shape(fit.average() if expected.is_wide else ())


def _search(
    times_h: np.ndarray, bands: np.ndarray, expected: Expected, limb: float
) -> tuple[float, tuple[float, float], int]:
    """Return the best mid-time, the best of the expected starts, and the degree of the drift."""
    table = Table.of(START_RATIO)
    mids = np.linspace(times_h[0], times_h[-1], MID_TIMES)
    since = times_h - mids[:, None]
    phases = np.stack([expected.at(0.0, *start).separation(since) for start in expected.starts])
    covered, darkened = table.profiles(phases.reshape(-1, len(times_h)))
    profiles = covered + limb * darkened  # (starts × mids, frames)
    unlikely = np.repeat(np.sum(np.square(expected.starts), axis=1), len(mids))
    scores = _criterion(times_h, bands[:, 0], profiles) + unlikely
    degree, best = np.unravel_index(scores.argmin(), scores.shape)
    degrees = [int(degree)]
    for band in bands.T[1:]:
        degrees.append(int(_criterion(times_h, band, profiles[best : best + 1]).argmin()))
    start, mid = divmod(int(best), len(mids))
    return float(mids[mid]), expected.starts[start], DEGREES[max(degrees)]


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
        expected: Expected,
        degree: int,
        limb: tuple[float, float],
        mid_h: float,
        start: tuple[float, float],
    ) -> None:
        self.all_h, self.all_basis = times_h, legendre(times_h, degree)
        lit = np.isfinite(white)
        self.times_h, self.white, self.basis = times_h[lit], white[lit], self.all_basis[lit]
        self.expected, self.mid_h, self.limb = expected, mid_h, limb
        self.table = Table.of(START_RATIO)
        frame_h = float(np.median(np.diff(times_h)))
        crossing_h = expected.at(mid_h, *start).hours_within(1.0)
        contact_h = max(crossing_h, frame_h) * START_RATIO
        self.samples = int(np.clip(np.ceil(SAMPLES_PER_CONTACT * frame_h / contact_h), 1, 12))
        self.step_h = max(crossing_h / 4, frame_h)
        self.theta = np.array([0.0, *start])
        self.drift = np.ones_like(self.white)
        self.sigma = 1.0
        self.depth = START_RATIO**2
        both = np.array([1.0, limb[0]])  # depth and depth × w, for depth 1
        single = np.column_stack([self.basis, self.slopes(self.theta) @ both])
        found = np.linalg.lstsq(single, self.white, rcond=None)[0]
        self._take(np.append(found[:-1], found[-1] * both))

    def path(self, theta: np.ndarray) -> Path:
        """Return the path that three numbers of order 1 mean: mid-time, speed, impact."""
        along, speed, impact = map(float, theta)
        return self.expected.at(self.mid_h + self.step_h * along, speed, impact)

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

    def optimise(self, free: slice = ALL) -> None:
        """Fit the path with the drift and the size that were found last."""
        self.table = Table.of(float(np.sqrt(np.clip(self.depth, 1e-5, 0.2))))
        self.theta, _ = self._nearest(self.theta, free)
        data = np.append(self.white / self.sigma, 0.0)
        self._take(np.linalg.lstsq(self.design(self.theta), data, rcond=None)[0])

    def _nearest(self, start: np.ndarray, free: slice) -> tuple[np.ndarray, float]:
        """Return the best path, of its three numbers those that are free, and its −ln posterior."""
        from scipy.optimize import least_squares

        q, _ = np.linalg.qr(self.basis)
        data = (self.white - q @ (q.T @ self.white)) / self.sigma
        prior = self.prior
        known = np.outer(prior, prior)

        def residuals(part: np.ndarray) -> np.ndarray:
            theta = np.append(part, start[len(part) :])
            slopes = self.slopes(theta) / self.sigma
            apart = slopes - q @ (q.T @ slopes)  # what of it no drift can do
            normal = apart.T @ apart + known
            normal[[0, 1], [0, 1]] += 1e-12 * np.trace(normal)  # no transit at all in sight
            linear = np.linalg.solve(normal, apart.T @ data)
            return np.concatenate([data - apart @ linear, [prior @ linear], theta * PRECISION])

        found = least_squares(
            residuals, start[free], method="lm", diff_step=1e-4, xtol=1e-3, ftol=1e-5, max_nfev=60
        )
        ends = (self.all_h[[0, -1]] - self.mid_h) / self.step_h
        mid = np.clip(found.x[0], *ends)
        return np.concatenate([[mid], found.x[1:], start[len(found.x) :]]), float(found.cost)

    def average(self) -> tuple[Likely, ...]:
        """Average over the impact parameter, of which the light knows little if nobody else does.

        A transit that is nearly central looks like a central one that is a little longer, so that the
        best fit often is the central one, whatever the truth. The path that is taken is that of the
        mean squared impact parameter: what a column says of its depth is linear in the square.
        """
        best = self.theta
        middle, sigma = abs(float(best[2])), self._impact_error()
        farther = sigma * np.cumsum(np.append(0.0, WIDENING ** np.arange(NODES)))
        paths, costs = [], []
        for way in (farther, -farther[1:]):
            for impact in np.maximum(middle + way, 0.0):
                theta, unlikeliness = self._nearest(self._moved(best, float(impact)), UP_TO_IMPACT)
                paths.append(theta)
                costs.append(unlikeliness)
                if impact == 0 > way[-1] or unlikeliness > min(costs) + UNLIKELY:
                    break
        order = np.argsort([theta[2] for theta in paths])
        paths = [paths[n] for n in order]
        impacts, cost = np.array(paths)[:, 2], np.array(costs)[order]
        weights = np.exp(cost.min() - cost) * np.gradient(impacts)
        weights /= weights.sum()
        likely = []
        for weight, theta in zip(weights, paths, strict=True):
            data = np.append(self.white / self.sigma, 0.0)
            linear = np.linalg.lstsq(self.design(theta), data, rcond=None)[0]
            shape = in_frames(self.table, self.path(theta), self.all_h, self.samples)
            likely.append(Likely(float(weight), *shape, float(linear[-2])))
        self.theta = self._moved(best, float(np.sqrt(weights @ impacts**2)))
        self.optimise(UP_TO_IMPACT)
        return tuple(likely)

    def _moved(self, theta: np.ndarray, impact: float) -> np.ndarray:
        """Return θ with another impact parameter and a speed with which the transit lasts as long."""
        limb = 1 + self.table.ratio
        unit = self.expected.impact_sigma
        chords = [max(limb**2 - (unit * b) ** 2, 0.05) for b in (impact, float(theta[2]))]
        faster = np.log(chords[0] / chords[1]) / (2 * self.expected.speed_sigma)
        return np.array([theta[0], theta[1] + faster, impact])

    def _impact_error(self) -> float:
        """Return the standard deviation of the impact parameter, in units of what is expected.

        Light depends on its square: where it may be 0 its slope says nothing, and the secant to one
        standard deviation farther out does.
        """
        theta = np.append(self.theta[:2], abs(self.theta[2]))
        error = FIRST_SECANT
        for _ in range(SECANTS):
            rows = self._with_path(self.design(theta), theta, error)
            error = float(np.sqrt(error * np.sqrt(_covariance(rows)[2, 2])))
        return error

    def shape(self, likely: tuple[Likely, ...]) -> Shape:
        """Return what was found, with the part of the depth's variance that columns share.

        Args:
            likely: What the impact parameter was averaged over; none where it was fitted.
        """
        depth, weighted = self.linear[-2:]
        path = self.path(self.theta)
        design = self.design(self.theta)
        whole = self._with_path(design, self.theta)
        if likely:
            whole = np.delete(whole, 2, axis=1)  # the impact parameter is taken as it is
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
            likely if visible else (),
            0.0 if visible else self._hidden(path, depth * float(covered.max())),
        )

    def _with_path(
        self, design: np.ndarray, theta: np.ndarray, secant: float | None = None
    ) -> np.ndarray:
        """Return a design with the path's numbers before it, and a row for what is expected of each.

        Args:
            design: As of `design`.
            theta: The path.
            secant: Step outwards by which the effect of the impact parameter is measured; None: its
                slope.
        """
        slopes = np.zeros((len(design), 3))
        for n in range(3):
            step = 1e-2 * np.eye(3)[n]
            ends, width = (theta - step, theta + step), 2e-2
            if secant is not None and n == 2:
                ends, width = (theta, theta + secant * np.eye(3)[n]), secant
            change = self.slopes(ends[1]) - self.slopes(ends[0])
            slopes[:-1, n] = change @ self.linear[-2:] / (width * self.sigma)
        below = np.column_stack([np.diag(PRECISION), np.zeros((3, design.shape[1]))])
        return np.concatenate([np.column_stack([slopes, design]), below])

    def _hidden(self, path: Path, lost: float) -> float:
        """Return the largest depth that may have gone unseen, where `lost` of the light is missing.

        A planet that only grazes, or passes within a frame, hides more than one that crosses.
        """
        farther = replace(path, impact=self.expected.farthest(path.impact))
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

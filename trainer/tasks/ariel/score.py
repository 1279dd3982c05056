"""The score of the Ariel Data Challenge, and what else says how good a spectrum is.

For planet p and wavelength λ, with L the Gaussian log-density of the true depth y:

    r = (L_pred − L_ref) / (L_ideal − L_ref)

L_pred is at N(μ, σ), L_ideal at N(y, σ_ideal), L_ref at N(naive mean, naive σ). r is 1 for a perfect
prediction that says σ_ideal, 0 for the naive one, and has no lower bound. The total is the mean of r
over all planets and wavelengths, FGS1 weighted, and only then clipped to [0, 1]: one confident
mistake can cost more than a whole planet is worth. The 2024 edition divided sums instead: all that
was gained by all that there was to gain. Everything is float64; depths are (Rp/Rs)².
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.errors import InputError

Array: TypeAlias = NDArray[np.float64]
Edition = Literal["2024", "2025"]

WAVELENGTHS = 283
"""Columns of a spectrum: FGS1, then 282 of AIRS."""
FGS1_WEIGHT: dict[Edition, float] = {"2024": 1.0, "2025": 57.846}
"""Weight of FGS1 in the mean, where each wavelength of AIRS has 1."""
FGS1_IDEAL: dict[Edition, float] = {"2024": 1e-5, "2025": 1e-6}
"""σ of the ideal prediction at FGS1, in depth."""
AIRS_IDEAL = 1e-5
"""The same at each wavelength of AIRS, in both editions."""
SIGMA_FLOOR = 1e-15
"""A smaller σ counts as this one."""
PPM = 1e6

_MOST_SIGMAS = 1e100
"""Residuals beyond are all alike; so squares and their sums stay finite."""


@dataclass(frozen=True)
class Reference:
    """What a prediction is measured against: knowing nothing, and knowing everything.

    Args:
        edition: Of the challenge; decides the ideal σ and the weight of FGS1.
        naive_mean: Mean of all training labels, all planets and wavelengths alike.
        naive_sigma: Their population standard deviation; above the ideal σ.

    Raises:
        InputError: A number is not finite, or the naive prediction is as sharp as the ideal one.
    """

    edition: Edition
    naive_mean: float
    naive_sigma: float

    def __post_init__(self) -> None:
        if self.edition not in FGS1_WEIGHT:
            raise InputError(
                f"edition of the score: got {self.edition!r}, expected {' or '.join(FGS1_WEIGHT)}"
            )
        if not (math.isfinite(self.naive_mean) and math.isfinite(self.naive_sigma)):
            raise InputError(
                f"naive mean and sigma: got {self.naive_mean} and {self.naive_sigma},"
                " expected finite numbers"
            )
        if self.naive_sigma <= AIRS_IDEAL:
            raise InputError(
                f"naive sigma: got {self.naive_sigma:g}, expected more than the ideal"
                f" {AIRS_IDEAL:g}: labels that hardly differ leave nothing to score"
            )

    @classmethod
    def of(cls, labels: ArrayLike, edition: Edition = "2025") -> Reference:
        """Return the reference of training labels (planets, 283), in depth.

        Raises:
            InputError: The shape is another, a label is not finite, or they hardly differ.
        """
        depths = as_spectra("labels", labels)
        with np.errstate(over="ignore", invalid="ignore"):
            return cls(edition, float(depths.mean()), float(depths.std()))

    @property
    def ideal_sigma(self) -> Array:
        """σ of the ideal prediction (283,), in depth."""
        return _columns(FGS1_IDEAL[self.edition], AIRS_IDEAL)

    @property
    def weights(self) -> Array:
        """Weight of each wavelength (283,)."""
        return _columns(FGS1_WEIGHT[self.edition], 1.0)


PUBLISHED_2024 = Reference("2024", 0.0025517145902829823, 0.0017261973793536417)
"""The reference of the 2024 edition, as published; it is that of its 673 training planets."""


@dataclass(frozen=True, eq=False)
class Score:
    """What a prediction gained on the naive one, and what there was to gain.

    Args:
        gained: L_pred − L_ref (planets, 283), in nats.
        to_gain: L_ideal − L_ref (planets, 283), in nats; positive.
        reference: What it was measured against.
    """

    gained: Array
    to_gain: Array
    reference: Reference

    @property
    def r(self) -> Array:
        """Score of each value (planets, 283): at most about 1, not clipped."""
        return self.gained / self.to_gain

    @property
    def per_wavelength(self) -> Array:
        """Mean of r over the planets (283,), not clipped; in 2025 its weighted mean is the total."""
        mean: Array = self.r.mean(axis=0)
        return mean

    @property
    def per_planet(self) -> Array:
        """Weighted mean of r (planets,), not clipped; in 2025 its mean is the total."""
        weights = self.reference.weights
        mean: Array = self.r @ weights / weights.sum()
        return mean

    @property
    def total(self) -> float:
        """The score as the edition formed it, in [0, 1]."""
        if self.reference.edition == "2025":
            return float(np.clip(self.per_planet.mean(), 0.0, 1.0))
        weights = self.reference.weights
        gained, to_gain = (float((part @ weights).sum()) for part in (self.gained, self.to_gain))
        return float(np.clip(gained / to_gain, 0.0, 1.0))


def score(mu: ArrayLike, sigma: ArrayLike, truth: ArrayLike, reference: Reference) -> Score:
    """Score a prediction.

    Args:
        mu: Predicted depth (planets, 283), at least 0.
        sigma: Its standard deviation (planets, 283), at least 0; below 1e-15 it counts as that.
        truth: True depth (planets, 283).
        reference: What it is measured against.

    Raises:
        InputError: A shape does not fit, a value is not finite, a depth or σ is negative.
    """
    mu, sigma, truth = _checked(mu, sigma, truth)
    if (mu < 0).any():
        row, column = np.argwhere(mu < 0)[0]
        raise InputError(
            f"mu of row {row}, wl_{column + 1}: got {mu[row, column]:g}, expected a depth of at least 0"
        )
    naive_z = _z(truth, reference.naive_mean, reference.naive_sigma)
    log_ref = -np.log(reference.naive_sigma) - naive_z**2 / 2
    log_pred = -np.log(sigma) - _z(truth, mu, sigma) ** 2 / 2
    log_ideal = -np.log(reference.ideal_sigma)
    return Score(log_pred - log_ref, log_ideal - log_ref, reference)


def rmse_ppm(mu: ArrayLike, truth: ArrayLike) -> float:
    """Return the root mean square error of μ over all planets and wavelengths alike, in ppm.

    Raises:
        InputError: A shape does not fit, or a value is not finite.
    """
    mu, truth = as_spectra("mu", mu), as_spectra("truth", truth)
    _same_planets(mu=mu, truth=truth)
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.mean((mu - truth) ** 2)) * PPM)


def z_scores(mu: ArrayLike, sigma: ArrayLike, truth: ArrayLike) -> Array:
    """Return the residuals (truth − μ) / σ (planets, 283): standard normal where σ is right.

    Raises:
        InputError: A shape does not fit, a value is not finite, a σ is negative.
    """
    mu, sigma, truth = _checked(mu, sigma, truth)
    return _z(truth, mu, sigma)


def coverage(mu: ArrayLike, sigma: ArrayLike, truth: ArrayLike, level: float = 1.0) -> float:
    """Return the share of true depths within `level` σ of μ: 0.683 at 1, where σ is right.

    Raises:
        InputError: A shape does not fit, a value is not finite, a σ is negative.
    """
    return float((np.abs(z_scores(mu, sigma, truth)) <= level).mean())


def as_spectra(name: str, values: ArrayLike) -> Array:
    """Return values as float64 (planets, 283).

    Args:
        name: What they are, for the error.
        values: At least one planet, all finite.

    Raises:
        InputError: The shape is another, or a value is not finite.
    """
    spectra = np.asarray(values, dtype=np.float64)
    if spectra.ndim != 2 or spectra.shape[1] != WAVELENGTHS or not len(spectra):
        raise InputError(
            f"{name}: got shape {spectra.shape}, expected (planets, {WAVELENGTHS}),"
            " at least one planet"
        )
    if not np.isfinite(spectra).all():
        row, column = np.argwhere(~np.isfinite(spectra))[0]
        raise InputError(
            f"{name} of row {row}, wl_{column + 1}: got {spectra[row, column]},"
            " expected a finite number"
        )
    return spectra


def _z(truth: Array, mean: Array | float, sigma: Array | float) -> Array:
    """Return (truth − mean) / σ, finite however far off."""
    with np.errstate(over="ignore"):
        return np.clip((truth - mean) / sigma, -_MOST_SIGMAS, _MOST_SIGMAS)


def _columns(fgs1: float, airs: float) -> Array:
    return np.concatenate([[fgs1], np.full(WAVELENGTHS - 1, airs)])


def _checked(mu: ArrayLike, sigma: ArrayLike, truth: ArrayLike) -> tuple[Array, Array, Array]:
    mu, sigma, truth = as_spectra("mu", mu), as_spectra("sigma", sigma), as_spectra("truth", truth)
    _same_planets(mu=mu, sigma=sigma, truth=truth)
    if (sigma < 0).any():
        row, column = np.argwhere(sigma < 0)[0]
        raise InputError(
            f"sigma of row {row}, wl_{column + 1}: got {sigma[row, column]:g}, expected at least 0"
        )
    return mu, np.maximum(sigma, SIGMA_FLOOR), truth


def _same_planets(**spectra: Array) -> None:
    if len({len(values) for values in spectra.values()}) > 1:
        got = ", ".join(f"{name} {len(values)}" for name, values in spectra.items())
        raise InputError(f"number of planets: got {got}, expected the same of each")

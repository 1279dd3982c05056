"""Make the predicted σ right on average: one factor for FGS1, one for AIRS.

The factor that minimises the Gaussian negative log-likelihood of validation planets is the root
mean square of their z-scores: d/dk Σ [ln(kσ) + z²/2k²] = 0 at k² = mean z². The wavelengths of AIRS
share one, since within a planet their errors go together: more factors would fit the noise of the
few planets that there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trainer.tasks.ariel.score import Array, coverage, z_scores

MOST = 20.0
"""A factor lies in [1 / MOST, MOST]: beyond it is not the σ that is wrong."""
FEWEST_PLANETS = 5
"""With fewer validation planets σ is widened where they ask for it, but never narrowed: a σ that is k
times too large costs ln k nats at most, one that is k times too small about k² / 2."""


@dataclass(frozen=True)
class SigmaScale:
    """What predicted σ are multiplied by; both in [1/20, 20].

    Args:
        fgs1: Factor of column 0.
        airs: Factor of the other columns.
    """

    fgs1: float = 1.0
    airs: float = 1.0

    def apply(self, sigma: ArrayLike) -> Array:
        """Return σ (…, 283) times its factors, in the unit it came in."""
        scaled = np.array(sigma, dtype=np.float64)
        scaled[..., 0] *= self.fgs1
        scaled[..., 1:] *= self.airs
        return scaled


@dataclass(frozen=True)
class Spread:
    """How far the truth lies from μ, in σ.

    Args:
        coverage: Share of |z| ≤ 1; 0.683 where σ is right.
        z_mean: Mean of z; 0 where μ is right on average.
        z_std: Standard deviation of z; 1 where σ is right.
    """

    coverage: float
    z_mean: float
    z_std: float

    @classmethod
    def of(cls, mu: ArrayLike, sigma: ArrayLike, truth: ArrayLike) -> Spread:
        """Return the spread of predictions (planets, 283): once before `apply`, once after.

        Raises:
            InputError: A shape does not fit, a value is not finite, a σ is negative.
        """
        z = z_scores(mu, sigma, truth)
        return cls(coverage(mu, sigma, truth), float(z.mean()), float(z.std()))


def fit(mu: ArrayLike, sigma: ArrayLike, truth: ArrayLike) -> SigmaScale:
    """Return the factors that make σ likeliest on validation planets.

    Args:
        mu: Predicted depth (planets, 283).
        sigma: Its standard deviation (planets, 283).
        truth: True depth (planets, 283). Without a planet nothing is known: the factors are 1.

    Raises:
        InputError: A shape does not fit, a value is not finite, a σ is negative.
    """
    if not len(np.asarray(truth)):
        return SigmaScale()
    z = z_scores(mu, sigma, truth)
    least = 1.0 if len(z) < FEWEST_PLANETS else 1.0 / MOST

    def factor(part: Array) -> float:
        return float(np.clip(np.sqrt(np.mean(part**2)), least, MOST))

    return SigmaScale(fgs1=factor(z[:, :1]), airs=factor(z[:, 1:]))

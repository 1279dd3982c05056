"""Limb darkening of each column: FGS1's own, over AIRS a straight line in wavelength.

A column alone hardly knows it, since a darker limb and a deeper transit look alike in noise. What is
expected of stars goes in as a Gaussian prior; what stays open widens the depth's σ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FGS1_SIGMA = 0.1
AIRS = (0.35, 0.08)
"""Mean and standard deviation of w over FGK stars, 1.95 to 3.9 µm; below, the latter at 0.7 µm."""
SLOPE = (-0.05, 0.05)
"""The same of the change of w from the middle of AIRS to its red end."""


def expected_fgs1(kelvin: float) -> tuple[float, float]:
    """Return mean and standard deviation of FGS1's w.

    The line goes through the w that fit light curves of two sources of limb darkening, which agree
    within 0.02: a grey atmosphere (Mihalas 1978, Stellar Atmospheres, chapter 3) and quadratic
    coefficients (u1, u2) from (0.52, 0.18) at 4500 K to (0.26, 0.33) at 6500 K, as model atmospheres
    have them about 0.7 µm (Claret & Bloemen 2011, A&A 529, A75).

    Args:
        kelvin: Effective temperature of the star; beyond 4000 to 7000 K as at these.
    """
    return 0.88 - 0.15 * (min(max(kelvin, 4000.0), 7000.0) - 5500.0) / 1000.0, FGS1_SIGMA


@dataclass(frozen=True, eq=False)
class Limb:
    """Limb darkening of columns.

    Args:
        w: (columns,).
        variance: (columns,) of the depth, because w is not known exactly.
    """

    w: np.ndarray
    variance: np.ndarray


class Curves:
    """Light curves with the drift projected out: what they say of depth and depth × w.

    Args:
        flux: (frames, columns) near 1, finite.
        covered: (frames,) as in `transit_shape.py`.
        darkened: (frames,).
        basis: (frames, terms) what the drift is made of.
        drift: (frames,) the common drift.
    """

    def __init__(
        self,
        flux: np.ndarray,
        covered: np.ndarray,
        darkened: np.ndarray,
        basis: np.ndarray,
        drift: np.ndarray,
    ) -> None:
        q, _ = np.linalg.qr(basis)
        slopes = -drift[:, None] * np.column_stack([covered, darkened])
        apart = slopes - q @ (q.T @ slopes)
        self.information = apart.T @ apart  # (2, 2), for noise of variance 1
        self.score = apart.T @ flux  # (2, columns)
        power = np.einsum("fc,fc->c", flux, flux) - np.einsum("tc,tc->c", *[q.T @ flux] * 2)
        best = np.linalg.pinv(self.information, rcond=1e-9) @ self.score
        rest = power - np.einsum("pc,pc->c", best, self.score)
        free = max(len(flux) - q.shape[1] - 2, 1)
        self.noise = np.maximum(rest / free, 1e-18)  # (columns,) variance of a frame
        self.blind = self.information[0, 0] < 1e-9  # no frame is in transit

    def single(self, expected: tuple[float, float], depth: float) -> Limb:
        """Return w of each column from itself and what is expected.

        Args:
            expected: Mean and standard deviation.
            depth: About that of the columns; above 0.
        """
        mean, spread = expected
        if self.blind:
            return Limb(np.full(len(self.noise), mean), np.zeros(len(self.noise)))
        row = np.array([-mean, 1.0]) / (spread * depth)
        whole = self.information / self.noise[:, None, None] + np.outer(row, row)
        inverse = np.linalg.inv(whole)  # (columns, 2, 2)
        found = np.einsum("cpq,qc->cp", inverse, self.score / self.noise)
        w = np.where(found[:, 0] > 0, found[:, 1] / np.maximum(found[:, 0], 1e-9), mean)
        w = np.clip(w, mean - 3 * spread, mean + 3 * spread)
        known = np.stack([np.ones_like(w), w])
        alone = self.noise / np.einsum("pc,pq,qc->c", known, self.information, known)
        return Limb(w, np.maximum(inverse[:, 0, 0] - alone, 0))

    def line(self, x: np.ndarray, w: float, depth: float) -> Limb:
        """Return w of each column on a straight line that passes near `w` in the white light.

        Args:
            x: (columns,) wavelength, from −1 to 1, 0 where the white light has its `w`.
            w: Of the white light.
            depth: About that of the columns.
        """
        mean, spread = SLOPE
        if self.blind:
            return Limb(w + mean * x, np.zeros(len(x)))
        known = np.array([1.0, w])
        depth_power = known @ self.information @ known
        cross = self.information[1] @ known / depth_power  # change of a depth by that of depth × w
        bend = self.information[1, 1] - cross**2 * depth_power
        towards = self.score[1] - cross * (known @ self.score)
        precision = np.sum((depth * x) ** 2 * bend / self.noise) + spread**-2
        found = (np.sum(depth * x * towards / self.noise) + mean * spread**-2) / precision
        slope = float(np.clip(found, mean - 3 * spread, mean + 3 * spread))
        return Limb(w + slope * x, (cross * depth * x) ** 2 / precision)

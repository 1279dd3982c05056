"""Depths of many light curves at once, the shape of the transit being known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PASSES = 3
"""Gauss-Newton steps; each shrinks the error of drift × transit about a hundredfold."""


@dataclass(frozen=True, eq=False)
class Depths:
    """Least squares of flux = drift × (1 − depth × profile) for each column.

    Args:
        depth: (columns,).
        drift: (columns, terms) coefficients of the basis, in units of the flux.
        unit_variance: (columns,) variance of the depth for residuals of variance 1.
        residuals: (frames, columns).
        response: (frames, columns) change of the depth by a change of flux / drift in one frame.
    """

    depth: np.ndarray
    drift: np.ndarray
    unit_variance: np.ndarray
    residuals: np.ndarray
    response: np.ndarray


def solve_depths(
    flux: np.ndarray, profile: np.ndarray, basis: np.ndarray, drift: np.ndarray | None = None
) -> Depths:
    """Solve for the depth and the drift of each column.

    The model is a product, but drifts and transits are small: one set of derivatives, those at a
    common drift and at no transit, serves all columns, and the residuals are those of the product.

    Args:
        flux: (frames, columns) near 1, finite.
        profile: (frames, columns) or (frames, 1); the light lost is depth × profile.
        basis: (frames, terms) what the drift is made of, independent of each other.
        drift: (frames,) near that of the columns; 1 where none is given.
    """
    if drift is None:
        drift = np.ones(len(flux))
    q, r = np.linalg.qr(basis)  # (frames, terms)
    slope = -drift[:, None] * profile
    apart = slope - q @ (q.T @ slope)  # what of it no drift can do
    power = np.einsum("fc,fc->c", apart, apart)
    inverse = np.divide(1.0, power, out=np.zeros_like(power), where=power > 1e-12)
    depth = np.zeros(flux.shape[1])
    coefficients = np.zeros((basis.shape[1], flux.shape[1]))
    residuals = flux
    for _ in range(PASSES):
        step = np.einsum("fc,fc->c", apart, residuals) * inverse
        depth = depth + step
        coefficients = coefficients + np.linalg.solve(r, q.T @ (residuals - step * slope))
        residuals = flux - (basis @ coefficients) * (1 - depth * profile)
    return Depths(
        depth, coefficients.T, np.where(power > 1e-12, inverse, np.inf), residuals, apart * inverse
    )

"""What neighbouring frames have in common: noise that does not average out as white noise does."""

from __future__ import annotations

import numpy as np


def hat_lag(design: np.ndarray) -> float:
    """Return the lag-1 autocorrelation that a fit gives to the residuals of white noise.

    Residuals have the covariance σ² (1 − H), H the projection on the design (frames, parameters).
    """
    q, r = np.linalg.qr(design)
    q = q[:, np.abs(np.diag(r)) > 1e-12 * np.abs(np.diag(r)).max()]
    return float(-np.sum(q[1:] * q[:-1]) / max(len(q) - q.shape[1], 1))


def lag_one(residuals: np.ndarray, expected: float) -> float:
    """Return the mean lag-1 autocorrelation of residuals (frames, columns), beyond `expected`."""
    power = np.sum(residuals**2, axis=0)
    product = np.sum(residuals[1:] * residuals[:-1], axis=0)
    known = power > 0
    if not known.any():
        return 0.0
    return float(np.mean(product[known] / power[known])) - expected


def inflation(rho: float) -> float:
    """Return by how much σ of a mean grows when its data are AR(1): sqrt((1 + ρ)/(1 − ρ)), ≥ 1."""
    rho = float(np.clip(rho, 0.0, 0.95))
    return float(np.sqrt((1 + rho) / (1 - rho)))

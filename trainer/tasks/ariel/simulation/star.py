"""The light of a star: its colour, and how its disc darkens towards the limb."""

from __future__ import annotations

import numpy as np

HC_OVER_K_UM_K = 14_387.768775
"""Second radiation constant, µm K (CODATA 2018)."""


def planck_photons(um: np.ndarray, kelvin: np.ndarray | float) -> np.ndarray:
    """Return the photon radiance of a black body, up to a constant.

    Args:
        um: Wavelengths in µm.
        kelvin: Temperatures, of a shape that broadcasts with them.
    """
    return np.asarray(um**-4.0 / np.expm1(HC_OVER_K_UM_K / (um * kelvin)))


def limb_darkening(um: np.ndarray, kelvin: float) -> np.ndarray:
    """Return the quadratic limb-darkening coefficients u1, u2 at each wavelength: (n, 2).

    Least squares to the intensity of a grey atmosphere in the Eddington approximation, where
    T⁴(τ) = ¾ T⁴ (τ + ⅔) and I(μ) = ∫ B(T(τ)) exp(−τ/μ) dτ/μ (Mihalas 1978, Stellar Atmospheres,
    chapter 3). Integrated over all wavelengths it is the classical I(μ)/I(1) = (2 + 3μ)/5.

    Args:
        um: Wavelengths in µm: (n,).
        kelvin: Effective temperature of the star.
    """
    mu = np.linspace(0.05, 1.0, 20)
    intensity = emergent(um, kelvin, mu)
    darkened = 1 - intensity / intensity[:, -1:]
    terms = np.stack([1 - mu, (1 - mu) ** 2], axis=1)
    return np.asarray(np.linalg.lstsq(terms, darkened.T, rcond=None)[0].T)


def emergent(um: np.ndarray, kelvin: float, mu: np.ndarray) -> np.ndarray:
    """Return the intensity of the disc at μ, the cosine of the angle to its normal: (n, μ)."""
    depth, weight = np.polynomial.laguerre.laggauss(24)
    local = kelvin * (0.75 * (mu[:, None] * depth + 2 / 3)) ** 0.25  # (μ, optical depth)
    source = planck_photons(um[:, None, None], local) / um[:, None, None]  # energy, not photons
    return np.asarray(source @ weight)

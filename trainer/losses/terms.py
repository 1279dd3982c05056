"""The terms of the composite loss: what a spectrum that was read from light curves should be like.

Each takes a `Spectrum` and a `Scene` and returns one number a planet (…, batch): dimensionless, of
order 1 at the start of a training, 0 (`gll`: lowest) where there is nothing to improve. s is
`Scene.scale`. Neighbours are looked for among the 282 wavelengths of AIRS only: FGS1, at 0.7 µm, is
no neighbour of 1.95 µm.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from trainer.losses.spectrum import Scene, Spectrum

SIGMA_FLOOR = 1e-4
"""Of σ / s in the loss: 1e-8 in depth, far below what an instrument reaches."""
FLAT = 1e-3
"""A spectrum whose rms is less, in s, counts as this rough: of a flat one, rounding has no colour."""


def gll(spectrum: Spectrum, scene: Scene) -> torch.Tensor:
    """Return the mean Gaussian negative log-likelihood of the truth in units of s, in nats.

    ½ z² + ln(σ / s) + ½ ln 2π with z = (y − μ) / σ, in the mean over wavelengths the metric weighs
    FGS1 by 57.846 (2025). It is that of the depths in units of s, so at σ = s it is of order 1.
    """
    sigma = (spectrum.sigma / scene.scale).clamp_min(SIGMA_FLOOR)
    z = (spectrum.truth - spectrum.mu) / scene.scale / sigma
    each = z.square() / 2 + sigma.log() + math.log(2 * math.pi) / 2
    fgs1, airs = each[..., 0], each[..., 1:]
    weights = scene.fgs1_weight + airs.shape[-1]
    return (scene.fgs1_weight * fgs1 + airs.sum(-1)) / weights


def smoothness(spectrum: Spectrum, scene: Scene) -> torch.Tensor:
    """Return the mean squared second difference of μ / s over neighbours of AIRS."""
    airs = spectrum.mu[..., 1:] / scene.scale
    return (airs[..., 2:] - 2 * airs[..., 1:-1] + airs[..., :-2]).square().mean(-1)


def fft(spectrum: Spectrum, scene: Scene) -> torch.Tensor:
    """Return the share, in [0, 1], of the power of μ − mean μ above the cut-off frequency.

    Over AIRS, under a Hann window (periodic), by the real FFT, in which all frequencies but 0 and
    Nyquist stand for two.
    """
    airs = spectrum.mu[..., 1:] / scene.scale
    n = airs.shape[-1]
    window = torch.hann_window(n, device=airs.device)
    waves = torch.fft.rfft((airs - airs.mean(-1, keepdim=True)) * window)
    power = waves.real.square() + waves.imag.square()
    first = math.floor(scene.cutoff_frac * n / 2) + 1
    nyquist = power[..., -1] if n % 2 == 0 else 0
    high = 2 * power[..., first:].sum(-1) - nyquist
    total = 2 * power.sum(-1) - power[..., 0] - nyquist  # Parseval: n² times the mean square
    share: torch.Tensor = high / total.clamp_min((n * FLAT) ** 2)
    return share


def nonnegativity(spectrum: Spectrum, scene: Scene) -> torch.Tensor:
    """Return the mean of relu(−μ / s)²: a depth is not negative."""
    return torch.relu(-spectrum.mu / scene.scale).square().mean(-1)


def asymmetry(spectrum: Spectrum, scene: Scene) -> torch.Tensor:
    """Return the mean of ((μ − μ of the light curves reversed in time) / s)².

    A transit on a circular orbit is symmetric about its middle, so both must agree.
    """
    assert spectrum.mirrored is not None, "asymmetry needs the spectrum read from reversed curves"
    return ((spectrum.mu - spectrum.mirrored) / scene.scale).square().mean(-1)


TERMS: dict[str, Callable[[Spectrum, Scene], torch.Tensor]] = {
    "gll": gll,
    "smoothness": smoothness,
    "fft": fft,
    "nonnegativity": nonnegativity,
    "asymmetry": asymmetry,
}
"""Term (`loss.composite.<term>.weight`) to what it computes."""

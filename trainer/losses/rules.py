"""The symbolic rules: what physics says of a spectrum and of its star, as penalties.

Each takes a `Spectrum` and a `Scene` and returns its violation, one number a planet (…, batch):
dimensionless, at least 0, and 0 where the rule holds. s is `Scene.scale`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from trainer.losses.bands import continuum
from trainer.losses.spectrum import Scene, Spectrum


def molecular_fingerprint(spectrum: Spectrum, scene: Scene) -> torch.Tensor:
    """Return the mean of relu(continuum − μ) / s over the wavelengths of all bands.

    A molecule blocks light, so in its band a planet is not smaller than beside it.
    """
    missing = [
        torch.relu(continuum(spectrum.mu, band) - spectrum.mu[..., slice(*band.columns)])
        for band in scene.bands
    ]
    return torch.cat(missing, dim=-1).mean(-1) / scene.scale


def gravitational_lensing(spectrum: Spectrum, scene: Scene) -> torch.Tensor:
    """Return the mean over all wavelengths, FGS1 as well, of ((A − mean A) / s)².

    A lens magnifies a star at all wavelengths alike (`lens.py`), so a brightening that the model
    attributes to the star, and not to the detector, must not depend on the wavelength.
    """
    star = spectrum.star / scene.scale
    return (star - star.mean(-1, keepdim=True)).square().mean(-1)


RULES: dict[str, Callable[[Spectrum, Scene], torch.Tensor]] = {
    "molecular_fingerprint": molecular_fingerprint,
    "gravitational_lensing": gravitational_lensing,
}
"""Rule (`symbolic.<rule>.enabled`, `.weight`) to its violation."""

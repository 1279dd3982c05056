"""What the terms and the rules judge: a predicted spectrum, and what it is measured in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainer.errors import InputError
from trainer.losses.bands import BANDS, Band, find_band
from trainer.tasks.ariel.score import FGS1_WEIGHT, WAVELENGTHS, Edition


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A batch of predictions; depths are (Rp/Rs)², column 0 is FGS1, the others AIRS.

    Args:
        mu: Depth (…, batch, 283).
        sigma: Its standard deviation (…, batch, 283), positive.
        star: Brightening out of transit that the model attributes to the star, A − 1 ≥ 0
            (…, batch, 283).
        truth: True depth (…, batch, 283).
        mirrored: Depth read from the light curves reversed in time (…, batch, 283); None where
            nobody asked (`Terms.needs_mirrored`).
    """

    mu: torch.Tensor
    sigma: torch.Tensor
    star: torch.Tensor
    truth: torch.Tensor
    mirrored: torch.Tensor | None = None

    def fp32(self) -> Spectrum:
        """Return it in fp32, which resolves 1e-5 of the differences between wavelengths."""
        return Spectrum(
            self.mu.float(),
            self.sigma.float(),
            self.star.float(),
            self.truth.float(),
            None if self.mirrored is None else self.mirrored.float(),
        )


@dataclass(frozen=True)
class Scene:
    """What spectra are measured in.

    Args:
        scale: s, the standard deviation of the training spectra about their planet's mean, in depth;
            positive.
        fgs1_weight: Of FGS1 in the metric, where a wavelength of AIRS has 1.
        cutoff_frac: Frequency above which the power of a spectrum counts / the Nyquist frequency.
        bands: The molecular bands, in the columns of a spectrum.
    """

    scale: float
    fgs1_weight: float
    cutoff_frac: float
    bands: tuple[Band, ...]

    @classmethod
    def of(
        cls,
        scale: float,
        wavelengths_um: Sequence[float],
        edition: Edition,
        cutoff_frac: float,
    ) -> Scene:
        """Return the scene of a data set.

        Args:
            scale: s, in depth.
            wavelengths_um: Of the columns (283,), in µm; those of AIRS ascend.
            edition: Of the challenge.
            cutoff_frac: In (0, 1).

        Raises:
            InputError: s is not positive, or the wavelengths are not those of a spectrum.
        """
        if not 0 < scale < float("inf"):
            raise InputError(
                f"scale of the spectra: got {scale:g}, expected a positive number: spectra that are"
                " flat leave nothing to learn"
            )
        um = [float(one) for one in wavelengths_um]
        airs = um[1:]
        if len(um) != WAVELENGTHS or not all(a < b for a, b in itertools.pairwise(airs)):
            raise InputError(
                f"wavelengths: got {len(um)}, expected {WAVELENGTHS}, those of AIRS ascending"
            )
        bands = tuple(find_band(name, limits, um) for name, limits in BANDS.items())
        return cls(float(scale), FGS1_WEIGHT[edition], cutoff_frac, bands)

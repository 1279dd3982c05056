"""From what a model answers to a spectrum: μ, σ, and what the star brightens by.

Of a `correction`, μ starts at the baseline shrunk towards its white light: the mean depth over AIRS,
and of the difference to it the share relief² / (relief² + σ²), which is what a Gaussian of the
training spectra's relief leaves of it (James & Stein 1961). The model adds to it, and to how much is
kept. Of a `spectrum`, μ starts at the mean training spectrum.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from trainer.losses import Spectrum
from trainer.tasks.ariel.sample import Layout, white_light
from trainer.tasks.ariel.standards import Standards

DIM_STAR = -3.0
"""Where the star's brightening starts: softplus of it is 0.05 s."""
WIDEST = 6.0
"""Most that ln σ may be moved from where it starts."""


class Reading:
    """How the answers of a run's model are read.

    Args:
        layout: Of the inputs.
        standards: What they are measured in.
        predicts: `correction` or `spectrum`.
    """

    def __init__(
        self, layout: Layout, standards: Standards, predicts: Literal["correction", "spectrum"]
    ) -> None:
        self.layout, self.predicts, self.scale = layout, predicts, standards.scale
        s = standards.scale
        self._constants = {
            name: torch.tensor(np.asarray(value), dtype=torch.float32)
            for name, value in {
                "ln_relief": np.log(standards.relief / s),
                "white_error": standards.white_error,
                "mean": standards.mean / s,
                "spread": standards.spread / s,
                "ln_spread": np.log(standards.spread / s),
            }.items()
        }

    def spectrum(
        self, model: torch.nn.Module, inputs: torch.Tensor, truth: torch.Tensor, *, mirrored: bool
    ) -> Spectrum:
        """Return what a model reads from light curves, in depth.

        Args:
            model: Maps rows (…, batch, size) to (…, batch, 4, 283).
            inputs: Rows (…, batch, size).
            truth: True depths (…, batch, 283).
            mirrored: Whether the light curves are also read backwards.
        """
        mu, sigma, star = self._read(model, inputs)
        backwards = None
        if mirrored:
            backwards, _, _ = self._read(model, self.layout.mirrored(inputs))
        return Spectrum(mu=mu, sigma=sigma, star=star, truth=truth, mirrored=backwards)

    def _read(
        self, model: torch.nn.Module, inputs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return μ, σ and the star's brightening, each (…, 283) in depth."""
        answer, ln_sigma, keep, star = model(inputs).float().unbind(-2)
        constants = {name: value.to(inputs.device) for name, value in self._constants.items()}
        if self.predicts == "correction":
            parts = self.layout.unpack(inputs)
            depth, noise = parts["depth"], parts["noise"]
            white = white_light(depth, noise)
            kept = (2 * (constants["ln_relief"] - noise)).sigmoid()  # relief² / (relief² + σ²)
            mu = white + (1 + keep) * kept * (depth - white) + answer
            unsure = constants["white_error"] * white
            start = (kept * (2 * noise).exp() + unsure**2).log() / 2
        else:
            mu = constants["mean"] + constants["spread"] * (answer + keep)
            start = constants["ln_spread"]
        # A star that is brighter out of transit makes a transit deeper than the planet is. What it
        # starts with is put back, so that it moves no first prediction.
        brightened = F.softplus(star + DIM_STAR)
        mu = mu - (brightened - math.log1p(math.exp(DIM_STAR)))
        sigma = (start + ln_sigma.clamp(-WIDEST, WIDEST)).exp()
        return self.scale * mu, self.scale * sigma, self.scale * brightened

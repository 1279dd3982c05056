"""Two encoders of light curves, fused, read out as a spectrum with its errors.

Each learns in which phases of the transit to look: attention over the frames, whose queries see the
transit's shape and the place in time, reduces a light curve to a few numbers a wavelength. What is
left of them after the baseline's transit is taken off is encoded, for FGS1 and for AIRS, the
latter together with the shape of the baseline's spectrum and how noisy it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.layers import Linear
from trainer.spectral_config import ANSWERS, CLOCK, PHASES, SpectralConfig
from trainer.tasks.ariel.sample import FEATURES, Layout, white_light


class Block(nn.Module):
    """x + f(rms norm(x)), f of one hidden layer twice as wide; starts as the identity."""

    def __init__(self, dim: int, dropout: float, draw: torch.Generator) -> None:
        super().__init__()
        self.up = Linear(dim, 2 * dim, dim**-0.5, draw)
        self.down = Linear(2 * dim, dim, 0.0, draw)
        self.dropout = dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, dim) to (…, dim)."""
        hidden = F.gelu(self.up(F.rms_norm(x, x.shape[-1:])))
        if self.dropout:
            hidden = F.dropout(hidden, self.dropout, self.training)
        return x + self.down(hidden)  # type: ignore[no-any-return]


class Spectral(nn.Module):
    """Rows of `trainer.tasks.ariel.sample` to (…, 4, wavelengths): what `reading.py` there makes a
    spectrum of.

    Light and depths go through asinh: itself where they are small, and outliers stay in reach. All
    answers are 0 before the first step.
    """

    def __init__(
        self, config: SpectralConfig, wavelengths: int, frames: int, draw: torch.Generator
    ) -> None:
        super().__init__()
        self.layout = Layout(frames, wavelengths)
        dim, airs = config.dim, wavelengths - 1
        self.query = Linear(CLOCK, PHASES, 1.0, draw)
        self.fgs1 = Linear(PHASES, dim, PHASES**-0.5, draw)
        self.airs = Linear(airs, dim, airs**-0.5, draw)
        self.shape = Linear(airs, dim, airs**-0.5, draw)
        self.noise = Linear(airs, dim, airs**-0.5, draw)
        self.phases = Linear(PHASES * dim, dim, (PHASES * dim) ** -0.5, draw)
        self.system = Linear(len(FEATURES), dim, len(FEATURES) ** -0.5, draw)
        blocks = [Block(dim, config.dropout, draw) for _ in range(2 * config.n_layers)]
        self.fgs1_blocks = nn.ModuleList(blocks[: config.n_layers])
        self.airs_blocks = nn.ModuleList(blocks[config.n_layers :])
        self.fusion = Linear(3 * dim, dim, (3 * dim) ** -0.5, draw)
        self.readout = Linear(dim, ANSWERS * wavelengths, 0.0, draw)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map (…, size) to (…, 4, wavelengths)."""
        parts = self.layout.unpack(inputs)
        left = self.pooled(parts["light_curves"], parts["profile"], parts["depth"])
        depth, noise = parts["depth"], parts["noise"]
        shape = depth - white_light(depth, noise)
        fgs1 = self.fgs1(torch.asinh(left[..., 0]))
        for block in self.fgs1_blocks:
            fgs1 = block(fgs1)
        phases = self.airs(torch.asinh(left[..., 1:])).flatten(-2)
        airs = (
            self.phases(phases)
            + self.shape(torch.asinh(shape[..., 1:]))
            + self.noise(noise[..., 1:])
        )
        for block in self.airs_blocks:
            airs = block(airs)
        both = torch.cat([fgs1, airs, self.system(parts["system"])], dim=-1)
        hidden = F.gelu(self.fusion(both))
        return self.readout(hidden).unflatten(-1, (ANSWERS, -1))  # type: ignore[no-any-return]

    def pooled(
        self, light_curves: torch.Tensor, profile: torch.Tensor, depth: torch.Tensor
    ) -> torch.Tensor:
        """Return what the baseline leaves of the light in each phase, (…, phases, wavelengths)."""
        attention = self.query(_clock(profile)).transpose(-1, -2).softmax(-1)
        with torch.autocast(light_curves.device.type, enabled=False):  # small differences of it
            attention = attention.float()
            transit = (attention * profile.unsqueeze(-2)).sum(-1, keepdim=True)
            pooled: torch.Tensor = attention @ light_curves + transit * depth.unsqueeze(-2)
            return pooled


def _clock(profile: torch.Tensor) -> torch.Tensor:
    """Return what is known of each frame, (…, frames, CLOCK), from the transit's shape (…, frames)."""
    frames = profile.shape[-1]
    time = torch.linspace(-1, 1, frames, device=profile.device).expand_as(profile)
    inside = 2 * profile - 1
    edge = 4 * profile * (1 - profile)
    return torch.stack([torch.ones_like(time), time, time**2, inside, inside * time, edge], dim=-1)

"""A row of the inputs: one visit as numbers side by side, and how its parts are found again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from trainer.tasks.ariel.observations import Observations
    from trainer.tasks.ariel.standards import Standards
    from trainer.tasks.ariel.views import Views

WAVELENGTHS = 283
"""Columns of a spectrum: FGS1, then 282 of AIRS."""
AS_INSTRUMENT = [0] + [1] * (WAVELENGTHS - 1)
"""Columns of a spectrum as numbers of their instrument."""
FEATURES = (
    "ln Rs",
    "ln Ms",
    "ln Ts",
    "ln Mp",
    "e",
    "ln P",
    "ln sma",
    "impact parameter",
    "ln duration",
    "ingress / duration",
    "ln depth",
    "ln sigma",
    "limb of FGS1",
    "limb of AIRS",
    "one",
)
"""What is known of the system and of the fit, standardised; the last is 1, which stands for a bias."""


@dataclass(frozen=True)
class Layout:
    """Where the parts of a row are. Depths and light are in units of s, the scale of spectra.

    light_curves  (frames, wavelengths) flux over that out of transit, less 1
    profile       (frames,) the transit's shape by the baseline, from 0 out of it to 1 at its deepest
    depth         (wavelengths,) of the baseline, all visits of the planet together
    noise         (wavelengths,) ln of the baseline's σ
    system        (features,) `FEATURES`

    Args:
        frames: Points in time.
        wavelengths: Columns; the first is FGS1.
    """

    frames: int
    wavelengths: int = WAVELENGTHS

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The parts in their order."""
        return {
            "light_curves": (self.frames, self.wavelengths),
            "profile": (self.frames,),
            "depth": (self.wavelengths,),
            "noise": (self.wavelengths,),
            "system": (len(FEATURES),),
        }

    @property
    def size(self) -> int:
        """Numbers of a row."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def unpack(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the parts of rows (…, size) as views (…, *shape)."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = inputs.split(sizes, dim=-1)  # type: ignore[no-untyped-call]  # torch's has no types
        return {
            name: part.unflatten(-1, shape) if len(shape) > 1 else part
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def mirrored(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return rows (…, size) whose time runs backwards."""
        import torch

        parts = self.unpack(inputs)
        light_curves, profile = parts.pop("light_curves"), parts.pop("profile")
        return torch.cat(
            [light_curves.flip(-2).flatten(-2), profile.flip(-1), *parts.values()], dim=-1
        )


def white_light(depth: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return the mean depth of AIRS, weighted by 1 / σ², (…, 1).

    Args:
        depth: (…, wavelengths).
        noise: ln σ (…, wavelengths).
    """
    weight = (-2 * noise[..., 1:]).softmax(-1)
    return (weight * depth[..., 1:]).sum(-1, keepdim=True)


def inputs_of(
    seen: Observations, rows: np.ndarray, standards: Standards, views: Views | None = None
) -> torch.Tensor:
    """Return visits as rows of the inputs, (len(rows), size) fp32.

    Args:
        seen: What was observed.
        rows: Of it.
        standards: What numbers are measured in.
        views: How they are shown; None as they are.
    """
    import numpy as np
    import torch

    light = seen.light_curves(rows)
    profile, depth, scale = seen.profile[rows], seen.depth[rows], standards.scale
    if views is not None:
        change = views.atmosphere + views.error
        fall = change * seen.dimming[rows][:, AS_INSTRUMENT]
        light -= profile[..., None] * fall[:, None].astype(light.dtype)
        depth = depth + change
        light[views.mirrored] = light[views.mirrored, ::-1]
        profile = profile.copy()
        profile[views.mirrored] = profile[views.mirrored, ::-1]
    light /= scale
    layout = Layout(light.shape[1], light.shape[2])
    inputs = torch.empty(len(rows), layout.size)
    filled = {
        "light_curves": light,
        "profile": profile,
        "depth": depth / scale,
        "noise": np.log(seen.sigma[rows] / scale),
        "system": standards.system(seen.features[rows]),
    }
    for name, part in layout.unpack(inputs).items():
        part.copy_(torch.from_numpy(filled[name]))
    return inputs

"""What is expected of a planet before its light is looked at: the catalogue's orbit, or a typical one.

The published 2024 edition has no catalogue. A planet without one may cross any of the usual stars, at any
usual speed and at any distance from its centre; what is expected then is wide, and σ has that in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from trainer.tasks.ariel.limb_darkening import expected_fgs1
from trainer.tasks.ariel.transit_shape import Path
from trainer.tasks.ariel.visit import System

START_RATIO = 0.06
"""Rp/Rs with which the grid is searched."""
GRAZING = 1 + START_RATIO / 2
"""Largest impact parameter of the grid."""
IMPACT_SIGMA = 0.05
SPEED_SIGMA = 0.03
"""How far the catalogue may be wrong of the impact parameter, and of the transit's duration as a
share of it; the eccentricity adds to the latter. Data that know better overrule it."""

CROSSING_H = 3.3
CROSSING_SIGMA = 0.35
"""Median, and standard deviation of the logarithm, of the hours P / (π sma) in which a planet moves by
the diameter of its star: periods of 1 to 15 days around main-sequence stars."""
ANY_IMPACT_SIGMA = 0.4
"""Root mean square impact parameter of planets that transit and were chosen to be observed."""
ANY_SMA = 10.0
"""Their semi-major axis in stellar radii: how far the path is bent, next to nothing."""
ANY_KELVIN = (5770.0, 600.0)
"""Mean and standard deviation of the effective temperature of their stars."""
SPEEDS = (-1.8, -1.2, -0.6, 0.0, 0.6, 1.2, 1.8)
IMPACTS = (0.5, 1.25, 2.0)
"""Where the grid looks, in standard deviations."""


@dataclass(frozen=True)
class Expected:
    """A path, how far the true one may be from it, and how dark the star's limb may be.

    Args:
        path: What is expected; at mid-time 0.
        speed_sigma: Standard deviation of the logarithm of the speed.
        impact_sigma: That of the impact parameter, in stellar radii.
        starts: Speeds and impact parameters that the grid tries, in these from what is expected.
        fgs1: Mean and standard deviation of FGS1's limb darkening w.
    """

    path: Path
    speed_sigma: float
    impact_sigma: float
    starts: tuple[tuple[float, float], ...]
    fgs1: tuple[float, float]

    @classmethod
    def of(cls, system: System | None) -> Expected:
        """Return what a catalogue says of a system; what is usual where it says nothing."""
        if system is None:
            return cls._usual()
        path = Path.of(system, 0.0)
        if abs(path.impact) > GRAZING:
            path = replace(path, impact=GRAZING)  # beyond, a small planet would leave no trace
        fgs1 = expected_fgs1(system.Ts)
        return cls(path, SPEED_SIGMA + system.e, IMPACT_SIGMA, ((0.0, 0.0),), fgs1)

    @classmethod
    def _usual(cls) -> Expected:
        kelvin, spread = ANY_KELVIN
        mean, sigma = expected_fgs1(kelvin)
        cooler, _ = expected_fgs1(kelvin - spread)
        return cls(
            Path(0.0, 0.0, ANY_SMA, math.pi * ANY_SMA * CROSSING_H),
            CROSSING_SIGMA,
            ANY_IMPACT_SIGMA,
            tuple((speed, impact) for impact in IMPACTS for speed in SPEEDS),
            (mean, math.hypot(sigma, cooler - mean)),
        )

    @property
    def is_wide(self) -> bool:
        """Whether no catalogue says where the planet passes."""
        return len(self.starts) > 1

    def farthest(self, impact: float) -> float:
        """Return the impact parameter that a planet fitted at `impact`, but not seen, may have."""
        return max(abs(impact) + self.impact_sigma, GRAZING if self.is_wide else 0.0)

    def at(self, mid_h: float, speed: float, impact: float) -> Path:
        """Return the path with a mid-time, at so many σ of speed and of impact parameter."""
        return replace(
            self.path,
            mid_h=mid_h,
            impact=self.path.impact + self.impact_sigma * impact,
            speed=float(np.exp(np.clip(self.speed_sigma * speed, -3, 3))),
        )

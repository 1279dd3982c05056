"""The shape of a transit: what of a planet covers its star, and how bright the star is there.

Light lost = depth × (covered + w × darkened), depth = (Rp/Rs)². `covered` is the share of the
planet's disc that is in front of the star, 0 to 1. `darkened` is the same share weighted with how much
brighter than the mean of the star's disc the covered spots are, for the limb darkening
I(μ)/⟨I⟩ = 1 + w (μ^α − 2/(2 + α)): the power-2 law (Hestroffer 1997; Maxted 2018,
arXiv 1804.07943), which is linear in w. So depth and depth × w are found by linear least squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.tasks.ariel.visit import System

LIMB_EXPONENT = 0.65
"""α; with it one w follows quadratic laws of FGK stars from 0.7 to 4 µm."""
LAW_ERROR = 0.005
"""Error of a depth / the depth, because real limbs follow no such law: its root mean square over
quadratic laws with u1 and u2 from 0 to 0.5 and impact parameters from 0 to 0.8."""
INSIDE, CONTACT, RINGS = 40, 160, 32
"""Separations of the table within the disc and about its limb; points of an integral."""


@dataclass(frozen=True, eq=False)
class Table:
    """`covered` and `darkened` of one planet by its distance from the centre of the star.

    Args:
        ratio: Rp/Rs, in (0, 1).
        separation: (nodes,) distance of the centres in stellar radii, ascending from 0 to 1 + ratio.
        covered: (nodes,) in [0, 1].
        darkened: (nodes,) at least −2/(2 + α), at most α/(2 + α).
    """

    ratio: float
    separation: np.ndarray
    covered: np.ndarray
    darkened: np.ndarray

    @classmethod
    def of(cls, ratio: float) -> Table:
        """Integrate over the rings of the star that the planet covers.

        A planet at distance z covers the arc ±β of the ring of radius r, where
        cos β = (r² + z² − k²) / (2 r z). With r = c − d cos θ the integrand is smooth in θ at both
        ends, where the arc and the limb's brightness have infinite slopes.
        """
        inner = (1 - ratio) * np.sin(np.linspace(0, np.pi / 2, INSIDE, endpoint=False))
        outer = 1 - ratio * np.cos(np.linspace(0, np.pi, CONTACT))
        z = np.concatenate([inner, outer])[:, None]  # (nodes, 1)
        theta = (np.arange(RINGS) + 0.5) * np.pi / RINGS
        near, far = np.maximum(z - ratio, 0), np.minimum(z + ratio, 1)
        half = (far - near) / 2
        r = (far + near) / 2 - half * np.cos(theta)  # (nodes, rings)
        cosine = (r**2 + z**2 - ratio**2) / np.maximum(2 * r * z, 1e-12)
        arc = 2 * np.arccos(np.clip(cosine, -1, 1))
        area = arc * r * half * np.sin(theta) * (np.pi / RINGS) / (np.pi * ratio**2)
        covered = area.sum(1)
        area[:INSIDE] /= covered[:INSIDE, None]
        covered = np.minimum(area.sum(1), 1)
        mean = 2 / (2 + LIMB_EXPONENT)
        bright = np.maximum(1 - r**2, 0) ** (LIMB_EXPONENT / 2) - mean
        return cls(ratio, z[:, 0], covered, (area * bright).sum(1))

    def profiles(self, separation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `covered` and `darkened` at distances of any shape; infinite ones give 0."""
        inside = np.interp(separation, self.separation, self.covered, right=0.0)
        return inside, np.interp(separation, self.separation, self.darkened, right=0.0)


@dataclass(frozen=True)
class Path:
    """How a planet passes before its star.

    Args:
        mid_h: Hours at which the transit is half over.
        impact: Least distance of the centres, stellar radii; its sign does not matter.
        sma: Semi-major axis in stellar radii, above 1.
        period_h: Orbital period in hours, above 0.
        speed: Angular speed at the transit / mean angular speed; 1 on a circular orbit.
    """

    mid_h: float
    impact: float
    sma: float
    period_h: float
    speed: float = 1.0

    @classmethod
    def of(cls, system: System, mid_h: float) -> Path:
        """Return that of a system on a circular orbit."""
        impact = system.sma * np.cos(np.radians(system.i))
        return cls(mid_h, float(impact), system.sma, 24 * system.P)

    def separation(self, times_h: np.ndarray) -> np.ndarray:
        """Return the distance of the centres, stellar radii; infinite behind the star."""
        phase = 2 * np.pi * self.speed / self.period_h * (times_h - self.mid_h)
        across, along = self.sma * np.sin(phase), np.cos(phase)
        return np.where(along > 0, np.hypot(across, self.impact * along), np.inf)

    def hours_within(self, distance: float) -> float:
        """Return how long the centres are nearer than `distance` (Winn 2010, arXiv 1001.2010)."""
        chord = distance**2 - self.impact**2
        if chord <= 0:
            return 0.0
        sine = np.sqrt(chord / max(self.sma**2 - self.impact**2, 1e-12))
        return float(self.period_h / (np.pi * self.speed) * np.arcsin(min(1.0, sine)))


def in_frames(
    table: Table, path: Path, times_h: np.ndarray, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return `covered` and `darkened`, (frames,) each, as means over frames that touch.

    Args:
        table: Of the planet's size.
        path: Where it passes.
        times_h: (frames,) middles of the frames, evenly spaced.
        samples: Times within a frame at which the shape is taken, from 1.
    """
    if samples == 1:
        return table.profiles(path.separation(times_h))
    frame_h = float(np.median(np.diff(times_h)))
    within = (np.arange(samples) + 0.5) / samples - 0.5
    covered, darkened = table.profiles(path.separation(times_h[:, None] + frame_h * within))
    return covered.mean(1), darkened.mean(1)

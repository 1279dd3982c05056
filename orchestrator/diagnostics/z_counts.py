"""How the z-scores (truth − μ) / σ of a prediction are spread, as counts that add up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from trainer.tasks.ariel.score import Array, z_scores

EDGES: Array = np.linspace(-6.0, 6.0, 49)
"""Of the histogram's bins, in σ."""
LEVELS = (1.0, 2.0, 3.0)
"""Coverage is the share of |z| up to each."""
EXPECTED = tuple(math.erf(level / math.sqrt(2)) for level in LEVELS)
"""Coverage where σ is right."""


@dataclass(frozen=True, eq=False)
class ZCounts:
    """The z-scores of planets and wavelengths together.

    Args:
        n: How many there are.
        histogram: How many of them are in each bin (48,).
        within: How many have |z| up to each of `LEVELS` (3,).
        sums: Of z and of z² (2,).
        fgs1: n, and the sum of z², of FGS1 alone (2,).
    """

    n: int
    histogram: Array
    within: Array
    sums: Array
    fgs1: Array

    @classmethod
    def of(cls, mu: Array, sigma: Array, truth: Array) -> ZCounts:
        """Count those of spectra (planets, 283), in depth."""
        z = z_scores(mu, sigma, truth)
        return cls(
            n=z.size,
            histogram=np.histogram(z, EDGES)[0].astype(np.float64),
            within=np.array([float((np.abs(z) <= level).sum()) for level in LEVELS]),
            sums=np.array([z.sum(), (z**2).sum()]),
            fgs1=np.array([len(z), (z[:, 0] ** 2).sum()]),
        )

    @classmethod
    def total(cls, parts: Iterable[ZCounts]) -> ZCounts:
        """Return the counts of several together."""
        parts = list(parts)
        return cls(
            n=sum(part.n for part in parts),
            histogram=np.sum([part.histogram for part in parts], axis=0),
            within=np.sum([part.within for part in parts], axis=0),
            sums=np.sum([part.sums for part in parts], axis=0),
            fgs1=np.sum([part.fgs1 for part in parts], axis=0),
        )

    @property
    def density(self) -> Array:
        """Of z in each bin (48,); what lies outside all bins counts as well."""
        return self.histogram / (self.n * np.diff(EDGES))

    @property
    def outside(self) -> float:
        """Share outside all bins."""
        return 1 - float(self.histogram.sum()) / self.n

    @property
    def coverage(self) -> tuple[float, ...]:
        """Share of |z| up to each of `LEVELS`."""
        return tuple(float(count) / self.n for count in self.within)

    @property
    def mean(self) -> float:
        """Mean of z."""
        return float(self.sums[0]) / self.n

    @property
    def std(self) -> float:
        """Standard deviation of z."""
        return math.sqrt(max(0.0, float(self.sums[1]) / self.n - self.mean**2))

    @property
    def fgs1_rms(self) -> float:
        """Root mean square of z at FGS1, which weighs as much as 58 wavelengths in the score."""
        return math.sqrt(float(self.fgs1[1] / self.fgs1[0]))

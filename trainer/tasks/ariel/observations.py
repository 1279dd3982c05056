"""What was observed of some planets, and what the physical baseline makes of it: what samples are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainer.tasks.ariel.baseline import baselines_of, combine, unfitted
from trainer.tasks.ariel.dataset import Dataset, content_hash, read_visits
from trainer.tasks.ariel.sample import FEATURES
from trainer.tasks.ariel.visit import System, Visits

OUT_OF_TRANSIT = 0.01
"""Profile up to which a frame counts as out of transit."""
MOST_DIMMING = 2.0
"""Factor of the profile beyond which a fit says nothing of it."""
DRAFT = 64
"""Visits that are read at once of a memory map."""


@dataclass(frozen=True, eq=False)
class Observations:
    """Visits of planets, those of a planet next to each other, with the baseline's view of them.

    Args:
        planet_ids: (n,) whose visit it is.
        flux: (n, frames, 283) float32 in electrons; may be a memory map.
        level: (n, 283) of it out of transit.
        profile: (n, frames) float32 the transit's shape, in [0, 1].
        dimming: (n, 2) by how much of it the light falls where the baseline's depth grows, of FGS1 and
            of AIRS.
        depth: (n, 283) of the baseline, over all visits of the planet.
        sigma: (n, 283) its standard deviation.
        features: (n, features) `FEATURES`, not standardised; NaN where something is not known.
        truth: (n, 283) true depth; None where it is not known.
        left_out: What could not be read or fitted, and why, a line each.
    """

    planet_ids: np.ndarray
    flux: np.ndarray
    level: np.ndarray
    profile: np.ndarray
    dimming: np.ndarray
    depth: np.ndarray
    sigma: np.ndarray
    features: np.ndarray
    truth: np.ndarray | None
    left_out: tuple[str, ...] = ()

    def rows_of(self, planets: Sequence[int]) -> np.ndarray:
        """Return the rows of all visits of some planets, in the order of the rows."""
        return np.flatnonzero(np.isin(self.planet_ids, np.asarray(planets, dtype=np.int64)))

    def first_of_each(self, rows: np.ndarray) -> np.ndarray:
        """Return one row of each planet of some rows, by planet."""
        _, first = np.unique(self.planet_ids[rows], return_index=True)
        return rows[first]

    def light_curves(self, rows: np.ndarray) -> np.ndarray:
        """Return (len(rows), frames, 283) float32: the flux over its level out of transit, less 1."""
        light = np.asarray(self.flux[rows], dtype=np.float32)
        light /= self.level[rows, None].astype(np.float32)
        light -= 1
        return light


def observe(
    dataset: Dataset, planets: Sequence[int], frames: int, *, memory_map: bool, workers: int = 1
) -> Observations:
    """Read planets and fit the baseline to them; both are remembered.

    Args:
        dataset: Where they are.
        planets: Of its usable ones.
        frames: Points in time of a light curve.
        memory_map: Leave the flux on disk.
        workers: Processes that calibrate what is not remembered.

    Raises:
        InputError: No visit can be read.
    """
    visits = read_visits(dataset, planets, frames, memory_map=memory_map, workers=workers)
    fits = baselines_of(visits, dataset.systems, content_hash(dataset, planets))
    seen = of_visits(visits, fits, dataset.systems, dataset.labels)
    before, after = map(str, dataset.faults), unfitted(visits, dataset.systems, fits)
    return replace(seen, left_out=(*before, *seen.left_out, *after))


def of_visits(
    visits: Visits,
    fits: Mapping[str, np.ndarray],
    systems: Mapping[int, System],
    labels: Mapping[int, np.ndarray],
) -> Observations:
    """Return the observations of visits.

    Args:
        visits: Those of a planet next to each other.
        fits: What `baselines_of` says of them.
        systems: By planet; one may be missing.
        labels: (283,) true depths by planet; one that lacks any has no truth at all.
    """
    ids = visits.planet_ids
    planets, depth, sigma = combine(ids, fits["depth"], fits["sigma"])
    planet = np.searchsorted(planets, ids)
    depth, sigma = depth[planet], sigma[planet]
    known = all(int(planet) in labels for planet in ids)
    return Observations(
        planet_ids=ids,
        flux=visits.flux,
        level=_level(visits.flux, fits["profile"]),
        profile=fits["profile"].astype(np.float32),
        dimming=_dimming(fits["profile"], fits["response"]),
        depth=depth,
        sigma=sigma,
        features=_features(ids, fits, systems, depth, sigma),
        truth=np.stack([labels[int(planet)] for planet in ids]) if known else None,
        left_out=tuple(map(str, visits.faults)),
    )


def _level(flux: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Return the mean flux out of transit (n, 283); where all of a visit is in it, at its ends."""
    outside = (profile <= OUT_OF_TRANSIT).astype(np.float64)
    lacking = ~outside.any(axis=1)
    outside[lacking, 0] = outside[lacking, -1] = 1
    outside /= outside.sum(axis=1, keepdims=True)
    parts = [
        np.einsum("nt,ntw->nw", outside[first : first + DRAFT], flux[first : first + DRAFT])
        for first in range(0, len(flux), DRAFT)
    ]
    return np.concatenate(parts)


def _dimming(profile: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Return the factors (n, 2) of −profile that move the baseline's depth by 1; 1 where none does.

    Args:
        profile: (n, frames).
        response: (n, 2, frames) change of the depth by a change of the flux.
    """
    moved = -np.einsum("nit,nt->ni", response, profile)
    factors: np.ndarray = np.ones_like(moved)
    np.divide(1.0, moved, out=factors, where=moved > 1 / MOST_DIMMING)
    return factors


def _features(
    ids: np.ndarray,
    fits: Mapping[str, np.ndarray],
    systems: Mapping[int, System],
    depth: np.ndarray,
    sigma: np.ndarray,
) -> np.ndarray:
    """Return `FEATURES` (n, features); NaN where one is not known or has no logarithm."""
    found = np.full((len(ids), len(FEATURES)), math.nan)
    for row, planet in enumerate(ids):
        if (system := systems.get(int(planet))) is not None:
            logs = [_log(x) for x in (system.Rs, system.Ms, system.Ts, system.Mp)]
            impact = system.sma * math.cos(math.radians(system.i))
            found[row, :8] = [*logs, system.e, _log(system.P), _log(system.sma), impact]
    duration = np.maximum(fits["duration_h"], 1e-3)
    found[:, 8], found[:, 9] = np.log(duration), fits["ingress_h"] / duration
    found[:, 10] = np.log(np.maximum(np.median(depth, axis=1), 1e-6))
    found[:, 11] = np.log(np.median(sigma, axis=1))
    found[:, 12], found[:, 13] = fits["limb"][:, 0], fits["limb"][:, 1:].mean(axis=1)
    found[:, 14] = 1
    return found


def _log(x: float) -> float:
    return math.log(x) if x > 0 else math.nan

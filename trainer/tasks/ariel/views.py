"""How a planet is shown anew: another visit, time reversed, other noise, another atmosphere.

A light curve is 1 − depth · profile + drift + noise, and the baseline's depth is linear in it. So a
change of depth by δ that is put into both, −δ · profile into the light curve and δ into the
baseline's depth, gives what would have been observed of another planet (δ is added to the truth
too) or with other noise (it is not). For Gaussian noise the error of the depth and what is left of
the light curve are independent, so that a new error beside the old remainder is a sound draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.seeds import Stream, generator
from trainer.tasks.ariel.observations import Observations

FREEDOM = 4
"""Of the t distribution of the error that all depths of AIRS share: a few fits go quite wrong, and
training planets are too few to have shown how far."""
SWAPPED = 0.9
"""Share of the views that have another planet's atmosphere."""
TALLER = 0.5
"""Standard deviation of the ln of how much its features are taller than they were."""


@dataclass(frozen=True, eq=False)
class Views:
    """What is drawn for the rows of one step.

    Args:
        rows: (batch,) visits.
        mirrored: (batch,) whose time runs backwards.
        atmosphere: (batch, 283) added to the true depth and to what is observed.
        error: (batch, 283) added to what is observed alone.
    """

    rows: np.ndarray
    mirrored: np.ndarray
    atmosphere: np.ndarray
    error: np.ndarray


class Viewer:
    """Draws the views of a run's training planets, as a function of (seed, step) alone.

    Args:
        seen: Observations with their truth.
        rows: Of the training planets.
        views: Times an epoch shows each planet.
        batch: Rows a step.
        seed: Of the run.
    """

    def __init__(
        self, seen: Observations, rows: np.ndarray, views: int, batch: int, seed: int
    ) -> None:
        assert seen.truth is not None
        ids = seen.planet_ids[rows]
        self.visits = [rows[ids == planet] for planet in np.unique(ids)]
        self.first = seen.first_of_each(rows)  # (planets,)
        self.views, self.batch, self.seed = views, batch, seed
        truth = seen.truth[self.first]
        self.shapes = truth - truth.mean(axis=1, keepdims=True)
        sigma, error = seen.sigma[self.first], seen.depth[self.first] - truth
        weight = sigma[:, 1:] ** -2.0
        white = (weight * error[:, 1:]).sum(axis=1, keepdims=True) / weight.sum(
            axis=1, keepdims=True
        )
        common = np.concatenate(
            [np.zeros_like(white), np.broadcast_to(white, weight.shape)], axis=1
        )
        self.error = error
        self.single = sigma * _rms((error - common)[:, 1:] / sigma[:, 1:])
        level = truth[:, 1:].mean(axis=1, keepdims=True)
        self.common = level * _rms(white / level)  # (planets, 1)

    def draw(self, step: int) -> Views:
        """Return the views of optimizer step `step`, from 0."""
        planets = self._planets(step)
        draw = generator(self.seed, Stream.VIEW, step)
        n = len(planets)
        chosen = draw.random(n)
        rows = np.array(
            [
                self.visits[p][int(u * len(self.visits[p]))]
                for p, u in zip(planets, chosen, strict=True)
            ]
        )
        mirrored = draw.random(n) < 0.5
        other = draw.integers(0, len(self.visits), n)
        height = np.exp(TALLER * draw.standard_normal((n, 1)))
        swapped = draw.random((n, 1)) < SWAPPED
        atmosphere = swapped * (height * self.shapes[other] - self.shapes[planets])
        fresh = draw.standard_normal((n, self.single.shape[1])) * self.single[planets]
        few = draw.standard_t(FREEDOM, (n, 1)) / np.sqrt(FREEDOM / (FREEDOM - 2))
        fresh[:, 1:] += few * self.common[planets]
        angle = draw.random((n, 1)) * (np.pi / 2)
        error = (np.cos(angle) - 1) * self.error[planets] + np.sin(angle) * fresh
        return Views(rows, mirrored, atmosphere, error)

    def _planets(self, step: int) -> np.ndarray:
        """Return which planets a step sees: every epoch has its own order of all views."""
        planets, shown = len(self.visits), len(self.visits) * self.views
        per_epoch = shown // self.batch
        if not per_epoch:
            return generator(self.seed, Stream.ORDER, step).integers(0, planets, self.batch)
        epoch, index = divmod(step, per_epoch)
        order = generator(self.seed, Stream.ORDER, epoch).permutation(shown)
        return order[index * self.batch : (index + 1) * self.batch] % planets


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))

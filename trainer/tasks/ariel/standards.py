"""What inputs and targets are measured in: statistics of the training planets, of no others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.errors import InputError
from trainer.tasks.ariel.observations import Observations
from trainer.tasks.ariel.sample import FEATURES

FARTHEST = 5.0
"""Standard deviations beyond which a feature is all the same."""


@dataclass(frozen=True, eq=False)
class Standards:
    """Statistics of the training planets.

    Args:
        scale: s: the standard deviation of the true spectra about their planet's mean, in depth.
        mean: (283,) the mean true spectrum.
        spread: (283,) standard deviation of the true depths over planets.
        relief: (283,) standard deviation of the true depths about their planet's mean over AIRS, one
            number for FGS1 and one for AIRS.
        white_error: Root mean square error of the baseline's mean depth over AIRS, of that depth: what
            is not known of a transit's shape makes all depths wrong by one factor.
        feature_mean: (features,) of `FEATURES`, where they are known.
        feature_std: (features,) positive.
    """

    scale: float
    mean: np.ndarray
    spread: np.ndarray
    relief: np.ndarray
    white_error: float
    feature_mean: np.ndarray
    feature_std: np.ndarray

    @classmethod
    def of(cls, seen: Observations, rows: np.ndarray) -> Standards:
        """Return the statistics of some rows, which have their truth.

        Raises:
            InputError: The true spectra are flat: there is nothing to learn.
        """
        assert seen.truth is not None
        truth, features = seen.truth[rows], seen.features[rows]
        scale = float((truth - truth.mean(axis=1, keepdims=True)).std())
        if not scale > 0:
            raise InputError(
                f"data.dataset_path: the true spectra of {len(rows)} training visits are flat,"
                " expected depths that differ between wavelengths"
            )
        weight = seen.sigma[rows, 1:] ** -2.0
        white = (weight * seen.depth[rows, 1:]).sum(axis=1) / weight.sum(axis=1)
        level = truth[:, 1:].mean(axis=1)
        relief = truth - level[:, None]
        fgs1, airs = (max(_rms(part), scale / 10) for part in (relief[:, :1], relief[:, 1:]))
        known = np.isfinite(features)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, features, 0).sum(axis=0) / count
        std = np.sqrt(np.where(known, (features - mean) ** 2, 0).sum(axis=0) / count)
        mean[FEATURES.index("one")] = 0  # it stays 1
        std = np.where(std > 1e-9, std, 1.0)
        return cls(
            scale=scale,
            mean=truth.mean(axis=0),
            spread=np.maximum(truth.std(axis=0), scale),
            relief=np.append(fgs1, np.full(truth.shape[1] - 1, airs)),
            white_error=_rms(white / level - 1),
            feature_mean=mean,
            feature_std=std,
        )

    def system(self, features: np.ndarray) -> np.ndarray:
        """Return features (n, features) standardised; 0 where one is not known."""
        standardised = (features - self.feature_mean) / self.feature_std
        return np.asarray(np.clip(np.nan_to_num(standardised), -FARTHEST, FARTHEST))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))

"""What a trained run predicts: of its own held-out planets, or of another data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from trainer.checkpoint_files import complete_checkpoints
from trainer.config import RunConfig
from trainer.errors import InputError
from trainer.evaluation.subject import load
from trainer.precision import autocast, products
from trainer.spectral_config import ArielData
from trainer.tasks.ariel.dataset import Dataset
from trainer.tasks.ariel.observations import Observations, observe
from trainer.tasks.ariel.task import ArielTask


@dataclass(frozen=True, eq=False)
class Prediction:
    """Spectra of planets, in depth; FGS1, then AIRS.

    Args:
        planet_ids: (n,) ascending.
        mu: (n, 283) at least 0.
        sigma: (n, 283) calibrated on the validation planets.
        raw_sigma: (n, 283) as the model says it.
        baseline_mu: (n, 283) of the physical baseline.
        baseline_sigma: (n, 283) as the baseline says it.
        truth: (n, 283); None where it is not known.
        left_out: What could not be read or fitted, and why, a line each.
    """

    planet_ids: np.ndarray
    mu: np.ndarray
    sigma: np.ndarray
    raw_sigma: np.ndarray
    baseline_mu: np.ndarray
    baseline_sigma: np.ndarray
    truth: np.ndarray | None
    left_out: tuple[str, ...] = ()


def predict_trial(
    config: RunConfig, trial_directory: Path, part: Literal["val", "test"] | Dataset
) -> Prediction:
    """Predict with the newest checkpoint of a trial.

    σ is calibrated on the trial's own validation planets, whatever is predicted.

    Args:
        config: What it was trained with.
        trial_directory: Its folder, with `checkpoints/`.
        part: Of its own data set, or another one, all of whose planets are predicted.

    Raises:
        InputError: There is no checkpoint, it is damaged or of another config, or data cannot be
            read.
    """
    checkpoints = complete_checkpoints(trial_directory / "checkpoints")
    if not checkpoints:
        raise InputError(
            f"{trial_directory}: no checkpoint in it, expected checkpoints/step-…",
            hint="a trial that has trained with checkpoint.enable",
        )
    subject = load(checkpoints[-1], config)
    task, device = subject.task, subject.device
    assert isinstance(task, ArielTask)
    seen, rows = _asked(config, task, part)
    with products(config.tier), autocast(config.tier):
        found = task.predict(subject.model, seen, rows, device)
        scale = task.sigma_scale(subject.model, device)
    if not found.finite:
        raise InputError(f"{checkpoints[-1]}: it predicts depths that are not finite")
    first = seen.first_of_each(rows)
    return Prediction(
        planet_ids=found.planets,
        mu=found.mu,
        sigma=scale.apply(found.sigma),
        raw_sigma=found.sigma,
        baseline_mu=np.maximum(seen.depth[first], 0),
        baseline_sigma=seen.sigma[first],
        truth=None if seen.truth is None else seen.truth[first],
        left_out=seen.left_out,
    )


def _asked(
    config: RunConfig, task: ArielTask, part: Literal["val", "test"] | Dataset
) -> tuple[Observations, np.ndarray]:
    """Return observations, and the rows of them that are predicted."""
    if isinstance(part, str):
        return task.seen, task.splits[part]
    data = config.data
    assert isinstance(data, ArielData)
    seen = observe(
        part,
        part.planets,
        data.frames,
        memory_map=data.memory_map,
        workers=config.tier.cpus,
    )
    return seen, np.arange(len(seen.planet_ids))

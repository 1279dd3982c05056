"""What trials predict of their test planets, judged one by one; no two are in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from orchestrator.diagnostics.power import Power
from orchestrator.diagnostics.variants import Variant
from orchestrator.diagnostics.z_counts import ZCounts
from orchestrator.layout import RunDirectory
from orchestrator.ledger import TrialRecord
from trainer.config import RunConfig
from trainer.errors import InputError
from trainer.reporting import Reason
from trainer.tasks.ariel.score import Array, Reference, score
from trainer.tasks.ariel.sigma_calibration import SigmaScale, fit


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The test planets of a trial, in depth: (planets, 283) where nothing else is said.

    Args:
        mu: Predicted.
        sigma: Its standard deviation, calibrated.
        raw_sigma: The same as the model says it.
        baseline_mu: As the physical baseline has it.
        baseline_sigma: Its standard deviation, calibrated in the same way.
        baseline_raw_sigma: The same as it was fitted.
        truth: True.
        reference: What the score is measured against.
        wavelengths_um: (283,) in µm.
    """

    mu: Array
    sigma: Array
    raw_sigma: Array
    baseline_mu: Array
    baseline_sigma: Array
    baseline_raw_sigma: Array
    truth: Array
    reference: Reference
    wavelengths_um: Array


Predict = Callable[[RunConfig, Path], HeldOut]
"""Reads what a trial predicts, given its config and its folder. Raises `InputError` where it cannot."""


@dataclass(frozen=True, eq=False)
class Judged:
    """One prediction, by what the figures show of it.

    Args:
        planets: How many it is of.
        power: Of its residuals.
        scores: r of the challenge (283,), the mean over planets.
        total: Weighted mean of `scores`, which is not clipped as a score is.
        raw: Its z-scores with σ as it was predicted.
        calibrated: The same with σ calibrated on validation planets.
    """

    planets: int
    power: Power
    scores: Array
    total: float
    raw: ZCounts
    calibrated: ZCounts

    @classmethod
    def of(cls, seen: HeldOut) -> Judged:
        """Judge a trial."""
        return cls._of(seen, seen.mu, seen.sigma, seen.raw_sigma)

    @classmethod
    def of_baseline(cls, seen: HeldOut) -> Judged:
        """Judge the physical baseline on the planets of a trial."""
        return cls._of(seen, seen.baseline_mu, seen.baseline_sigma, seen.baseline_raw_sigma)

    @classmethod
    def _of(cls, seen: HeldOut, mu: Array, sigma: Array, raw_sigma: Array) -> Judged:
        found = score(np.maximum(mu, 0), sigma, seen.truth, seen.reference)
        return cls(
            planets=len(mu),
            power=Power.of(mu, seen.truth),
            scores=found.per_wavelength,
            total=float(found.per_planet.mean()),
            raw=ZCounts.of(mu, raw_sigma, seen.truth),
            calibrated=ZCounts.of(mu, sigma, seen.truth),
        )


@dataclass(frozen=True, eq=False)
class Judgements:
    """The predictions of a run, judged.

    Args:
        trials: By trial id.
        physical: The physical baseline, once for each set of planets that it was judged on.
        wavelengths_um: (283,) in µm; None where no trial predicts spectra.
        cutoff_frac: Frequency above which the loss counts power / the Nyquist frequency; None where
            trials differ.
    """

    trials: Mapping[str, Judged]
    physical: tuple[Judged, ...]
    wavelengths_um: Array | None
    cutoff_frac: float | None

    def seeds_of(self, variant: Variant) -> list[TrialRecord]:
        """Return the seeds of a variant that have a prediction."""
        return [trial for trial in variant.trials if trial.id in self.trials]


@dataclass(frozen=True)
class LeftOut:
    """A trial that the figures of predictions do not have, and why."""

    trial: TrialRecord
    why: str


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was read: the judgements, and the trials without one."""

    judged: Judgements
    left_out: tuple[LeftOut, ...]

    @classmethod
    def read(
        cls,
        directory: RunDirectory,
        trials: Sequence[TrialRecord],
        predict: Predict,
        notify: Callable[[str], None],
    ) -> Predictions:
        """Predict with each trial that finished, where the task is one of spectra."""
        spectral = [t for t in trials if t.config.get("data", {}).get("task") == "ariel"]
        judged: dict[str, Judged] = {}
        physical: dict[bytes, Judged] = {}
        left_out, cutoffs, wavelengths_um = [], set(), None
        if spectral:
            notify(f"diagnostics: predicting the test planets of {len(spectral)} trials")
        for trial in spectral:
            if trial.reason is not Reason.FINISHED:
                said = f"{trial.label}: {trial.detail}" if trial.detail else trial.label
                left_out.append(LeftOut(trial, said))
                continue
            try:
                config = RunConfig.model_validate(trial.config)
                seen = predict(config, directory.trial(trial.id))
                judged[trial.id] = Judged.of(seen)
            except (InputError, ValidationError, OSError) as error:
                left_out.append(LeftOut(trial, str(error)))
                continue
            # Of the same planets, and fitted in the same way, it says the same again.
            same = seen.baseline_mu.tobytes() + seen.truth.tobytes()
            if same not in physical:
                physical[same] = Judged.of_baseline(seen)
            wavelengths_um = seen.wavelengths_um
            cutoffs.add(config.loss.composite.fft.cutoff_frac)
        cutoff = cutoffs.pop() if len(cutoffs) == 1 else None
        found = Judgements(judged, tuple(physical.values()), wavelengths_um, cutoff)
        return cls(found, tuple(left_out))


@dataclass(frozen=True, eq=False)
class _Scene:
    """What trials of the same planets share."""

    reference: Reference
    wavelengths_um: Array
    baseline_scale: SigmaScale


def from_checkpoints() -> Predict:
    """Return what predicts with the newest checkpoint of a trial."""
    scenes: dict[tuple[Any, int], _Scene] = {}

    def predict(config: RunConfig, trial_directory: Path) -> HeldOut:
        from trainer.tasks import build_task
        from trainer.tasks.ariel.prediction import predict_trial

        key = config.data, config.training.seed  # they decide which planets test
        if key not in scenes:
            task: Any = build_task(config)
            val = predict_trial(config, trial_directory, "val")
            scale = fit(val.baseline_mu, val.baseline_sigma, _known(val.truth))
            scenes[key] = _Scene(task.reference, np.asarray(task.wavelengths_um), scale)
        scene, test = scenes[key], predict_trial(config, trial_directory, "test")
        return HeldOut(
            mu=test.mu,
            sigma=test.sigma,
            raw_sigma=test.raw_sigma,
            baseline_mu=test.baseline_mu,
            baseline_sigma=scene.baseline_scale.apply(test.baseline_sigma),
            baseline_raw_sigma=test.baseline_sigma,
            truth=_known(test.truth),
            reference=scene.reference,
            wavelengths_um=scene.wavelengths_um,
        )

    return predict


def _known(truth: Array | None) -> Array:
    if truth is None:
        raise InputError("the true spectra of its planets are not known")
    return truth

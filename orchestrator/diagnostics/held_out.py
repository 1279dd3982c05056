"""What trials predict of their test planets, judged one by one; no two are in memory at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.diagnostics.power import Power
from orchestrator.diagnostics.variants import Variant
from orchestrator.diagnostics.z_counts import ZCounts
from orchestrator.layout import RunDirectory
from orchestrator.ledger import TrialRecord
from trainer.config import RunConfig
from trainer.errors import InputError
from trainer.reporting import Reason
from trainer.spectral_config import ArielData
from trainer.tasks.ariel.score import Array, Reference, score


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The test planets of a trial, in depth: (planets, 283) where nothing else is said.

    Args:
        mu: Predicted.
        sigma: Its standard deviation, calibrated.
        raw_sigma: The same as the model says it.
        baseline_mu: As the physical baseline has it.
        baseline_sigma: Its standard deviation.
        truth: True.
        reference: What the score is measured against.
        wavelengths_um: (283,) in µm.
    """

    mu: Array
    sigma: Array
    raw_sigma: Array
    baseline_mu: Array
    baseline_sigma: Array
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
        calibrated: The same with σ calibrated; None of the physical baseline, whose σ is as it was
            fitted.
    """

    planets: int
    power: Power
    scores: Array
    total: float
    raw: ZCounts
    calibrated: ZCounts | None

    @classmethod
    def of(cls, seen: HeldOut) -> Judged:
        """Judge a trial."""
        raw = ZCounts.of(seen.mu, seen.raw_sigma, seen.truth)
        calibrated = ZCounts.of(seen.mu, seen.sigma, seen.truth)
        return cls._of(seen, seen.mu, seen.sigma, raw, calibrated)

    @classmethod
    def of_baseline(cls, seen: HeldOut) -> Judged:
        """Judge the physical baseline on the planets of a trial."""
        raw = ZCounts.of(seen.baseline_mu, seen.baseline_sigma, seen.truth)
        return cls._of(seen, seen.baseline_mu, seen.baseline_sigma, raw, None)

    @classmethod
    def _of(
        cls, seen: HeldOut, mu: Array, sigma: Array, raw: ZCounts, calibrated: ZCounts | None
    ) -> Judged:
        found = score(np.maximum(mu, 0), sigma, seen.truth, seen.reference)
        return cls(
            planets=len(mu),
            power=Power.of(mu, seen.truth),
            scores=found.per_wavelength,
            total=float(found.per_planet.mean()),
            raw=raw,
            calibrated=calibrated,
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
            except (InputError, OSError) as error:
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


def from_checkpoints() -> Predict:
    """Return what predicts with the newest checkpoint of a trial."""
    scenes: dict[tuple[ArielData, int], tuple[Reference, Array]] = {}

    def predict(config: RunConfig, trial_directory: Path) -> HeldOut:
        from trainer.tasks import build_task
        from trainer.tasks.ariel.prediction import predict_trial

        found = predict_trial(config, trial_directory, "test")
        assert isinstance(config.data, ArielData)
        key = config.data, config.training.seed
        if key not in scenes:
            task: Any = build_task(config)
            scenes[key] = task.reference, np.asarray(task.wavelengths_um)
        if found.truth is None:
            raise InputError("the true spectra of its test planets are not known")
        reference, wavelengths_um = scenes[key]
        names = {field.name for field in dataclasses.fields(HeldOut)}
        spectra = {n: getattr(found, n) for n in names - {"reference", "wavelengths_um"}}
        return HeldOut(**spectra, reference=reference, wavelengths_um=wavelengths_um)

    return predict

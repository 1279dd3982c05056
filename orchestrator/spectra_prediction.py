"""Which spectra a trained network is to predict, and how well it did where they are known."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrator.checkpoint_lookup import find_checkpoint
from orchestrator.errors import Problem, UsageError
from orchestrator.layout import RunDirectory, runs_root
from orchestrator.ledger import Ledger
from orchestrator.lookup import find_trial
from orchestrator.spectra_table import Judged
from trainer.config import RunConfig
from trainer.errors import InputError
from trainer.spectral_config import ArielData

if TYPE_CHECKING:
    from trainer.tasks.ariel.dataset import Dataset
    from trainer.tasks.ariel.prediction import Prediction

PARTS = ("test", "train")


@dataclass(frozen=True)
class Chosen:
    """The trial that predicts.

    Args:
        directory: Of its run.
        trial_id: Its id.
        config: What it was trained with.
        note: How it was chosen; empty where it was named.
    """

    directory: RunDirectory
    trial_id: str
    config: RunConfig
    note: str = ""

    @property
    def data(self) -> ArielData:
        """What it was trained on."""
        assert isinstance(self.config.data, ArielData)
        return self.config.data

    @property
    def folder(self) -> Path:
        """Where its checkpoints are."""
        return self.directory.trial(self.trial_id)


def choose(run: RunDirectory, trial: str | None, *, anywhere: bool) -> Chosen:
    """Return the trial of a run that a person means: by its id, or the leader.

    Args:
        run: Where to look.
        trial: The id or the beginning of it; None means the leader.
        anywhere: Look for `trial` in all runs.

    Raises:
        UsageError: There is none, it has no checkpoint, or it has learned something else.
        StorageError: A ledger is damaged.
    """
    note = ""
    if trial is not None:
        run, trial_id = find_trial(trial, runs_root(), None if anywhere else run)
        find_checkpoint(str(run.trial(trial_id)))
    else:
        found = find_checkpoint(str(run.path))
        assert found.trial is not None
        trial_id, note = found.trial.name, found.note
    with contextlib.closing(Ledger.read(run.ledger)) as ledger:
        config = RunConfig.model_validate(ledger.trial(trial_id).config)
    if not isinstance(config.data, ArielData):
        message = f"trial {trial_id} has learned task {config.data.task}, which has no spectra"
        raise UsageError(Problem(message, run.shown(), "spectramind train trains one that has"))
    return Chosen(run, trial_id, config, note)


@dataclass(frozen=True)
class Planets:
    """The planets whose spectra are predicted.

    Args:
        source: Planets of a data set, or those that the run held out for its test.
        words: What they are, for a person.
    """

    source: Dataset | Literal["test"]
    words: str


def planets_of(data: ArielData, folder: Path | None, part: str | None) -> Planets:
    """Return the planets that a person means.

    Args:
        data: What the network was trained on.
        folder: Of a data set; None for that of `data`.
        part: Of the data set, in `PARTS`; None for its test part, and of `data` without one for what
            the run held out.

    Raises:
        InputError: The data set, or the part of it, cannot be used.
    """
    from trainer.tasks.ariel import open_data
    from trainer.tasks.ariel.dataset import open_dataset

    root = open_data(data).root if folder is None else folder
    if part is None and folder is None and not (root / "test").is_dir():
        return Planets("test", "the planets that the run held out for its test")
    if part == "train":
        seen = ", most of which it was trained on" if folder is None else ""
        return Planets(open_dataset(root, "train"), f"the labelled planets of {root}{seen}")
    return Planets(open_dataset(root, "test"), f"the test planets of {root}")


def predict(chosen: Chosen, planets: Planets) -> Prediction:
    """Predict the spectra. Loads torch.

    Raises:
        InputError: The data or the checkpoint cannot be used.
    """
    from trainer.tasks.ariel.prediction import predict_trial

    return predict_trial(chosen.config, chosen.folder, planets.source)


def judge(chosen: Chosen, predicted: Prediction) -> list[Judged]:
    """Return how well it did, beside the physical baseline; [] where the truth is not known.

    As in training: measured against the task's own reference, and with the baseline's σ calibrated on
    the validation planets.

    Raises:
        InputError: The labels leave nothing to score.
    """
    if predicted.truth is None:
        return []
    import numpy as np

    from trainer.tasks.ariel import sigma_calibration
    from trainer.tasks.ariel.prediction import predict_trial
    from trainer.tasks.ariel.score import coverage, rmse_ppm, score, z_scores
    from trainer.tasks.ariel.task import ArielTask

    reference = ArielTask(chosen.config).reference
    val = predict_trial(chosen.config, chosen.folder, "val")
    assert val.truth is not None
    wider = sigma_calibration.fit(val.baseline_mu, val.baseline_sigma, val.truth)

    truth = predicted.truth
    ways = {
        "network": (predicted.mu, predicted.sigma),
        "network, σ not calibrated": (predicted.mu, predicted.raw_sigma),
        "physical baseline": (predicted.baseline_mu, wider.apply(predicted.baseline_sigma)),
        "naive": (
            np.full_like(truth, reference.naive_mean),
            np.full_like(truth, reference.naive_sigma),
        ),
    }
    return [
        Judged(
            name,
            score(mu, sigma, truth, reference).total,
            rmse_ppm(mu, truth),
            coverage(mu, sigma, truth),
            float(z_scores(mu, sigma, truth).std()),
        )
        for name, (mu, sigma) in ways.items()
    ]


def refused(error: InputError) -> UsageError:
    """Return what the trainer refuses as an error of the command line."""
    return UsageError(Problem(str(error), "", error.hint))

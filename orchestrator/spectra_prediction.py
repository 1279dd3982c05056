"""Which spectra a trained network is to predict, and how well it did where they are known."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
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
from trainer.spectral_config import SIMULATED, SIMULATED_PLANETS, ArielData

if TYPE_CHECKING:
    import numpy as np
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
        labels: (283,) true depths of training planets, by planet: they say what is naive.
    """

    source: Dataset | Literal["test"]
    words: str
    labels: Mapping[int, np.ndarray]

    @property
    def faults(self) -> Sequence[object]:
        """Planets of the data set that cannot be used, each with what is wrong."""
        return () if self.source == "test" else self.source.faults


def planets_of(data: ArielData, folder: Path | None, part: str | None) -> Planets:
    """Return the planets that a person means.

    Args:
        data: What the network was trained on.
        folder: Of a data set; None for that of `data`.
        part: Of the data set, in `PARTS`; None for its test part, and where it has none for what the
            run held out.

    Raises:
        InputError: The data set, or the part of it, cannot be used.
    """
    from trainer.tasks.ariel.dataset import open_dataset

    root = _root(data) if folder is None else folder
    if part is not None:
        dataset = open_dataset(root, "train" if part == "train" else "test")
        seen = folder is None and part == "train"
        words = f"the {part} planets of {root}" + (
            ", most of which it was trained on" if seen else ""
        )
        return Planets(dataset, words, dataset.labels or _labels(data))
    if ((root / "test").is_dir() and data.dataset_path != SIMULATED) or folder is not None:
        return Planets(open_dataset(root, "test"), f"the test planets of {root}", _labels(data))
    return Planets("test", "the planets that the run held out for its test", _labels(data))


def _root(data: ArielData) -> Path:
    if data.dataset_path != SIMULATED:
        return Path(data.dataset_path)
    from trainer.tasks.ariel.simulation import built_in

    return built_in(data.planets or SIMULATED_PLANETS)


def _labels(data: ArielData) -> Mapping[int, np.ndarray]:
    from trainer.tasks.ariel.dataset import open_dataset

    return open_dataset(_root(data), "train").labels


def predict(chosen: Chosen, planets: Planets) -> Prediction:
    """Predict the spectra; no depth is below zero. Loads torch.

    Raises:
        InputError: The data or the checkpoint cannot be used.
    """
    import numpy as np
    from trainer.tasks.ariel.prediction import predict_trial

    trial = chosen.directory.trial(chosen.trial_id)
    predicted = predict_trial(chosen.config, trial, planets.source)
    return dataclasses.replace(predicted, mu=np.maximum(predicted.mu, 0.0))


def judge(predicted: Prediction, planets: Planets, data: ArielData) -> list[Judged]:
    """Return how well it did, beside the physical baseline; [] where the truth is not known.

    Raises:
        InputError: The labels leave nothing to score.
    """
    if predicted.truth is None or not planets.labels:
        return []
    import numpy as np
    from trainer.tasks.ariel.score import Reference, coverage, rmse_ppm, score, z_scores

    truth = predicted.truth
    reference = Reference.of(np.stack([*planets.labels.values()]), data.edition)
    naive = np.full_like(truth, reference.naive_mean), np.full_like(truth, reference.naive_sigma)
    ways = {
        "network": (predicted.mu, predicted.sigma),
        "network, σ not calibrated": (predicted.mu, predicted.raw_sigma),
        "physical baseline": (np.maximum(predicted.baseline_mu, 0), predicted.baseline_sigma),
        "naive": naive,
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

"""Transmission spectra from light curves: the task of the Ariel Data Challenge.

Read `task.py` first. `dataset.py` reads what is on disk, `baseline.py` fits the physics,
`observations.py` has both, `sample.py` makes rows of inputs, `views.py` shows a planet anew,
`score.py` judges, `prediction.py` predicts with a checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer.config import RunConfig
from trainer.spectral_config import SIMULATED, SIMULATED_PLANETS, ArielData

if TYPE_CHECKING:
    from trainer.tasks.ariel.dataset import Dataset
    from trainer.tasks.ariel.task import ArielTask

TERMS = (
    "gll",
    "smoothness",
    "fft",
    "nonnegativity",
    "asymmetry",
    "molecular_fingerprint",
    "gravitational_lensing",
)
"""Terms of the loss and symbolic rules: each is reported, whatever its weight."""
METRICS = (
    "val/score",
    "val/loss",
    "val/rmse_ppm",
    "val/coverage",
    "val/z_std",
    *(f"val/{term}" for term in TERMS),
)
"""What an evaluation reports, and a sweep can be judged by."""
SATURATES = False


def data_hash(config: RunConfig) -> str:
    """Return a hash over all that is read of the planets; of simulated ones, over their recipe."""
    (found,) = input_hashes(config).values()
    return found


def input_hashes(config: RunConfig) -> dict[str, str]:
    """Return the hash of the data set's planets."""
    data = _data(config)
    if data.dataset_path == SIMULATED:
        from trainer.tasks.ariel.simulation import built_in_hash

        return {"data.dataset_path": built_in_hash(_simulated(data))}
    from trainer.tasks.ariel.dataset import content_hash

    dataset = _opened(data)
    return {"data.dataset_path": content_hash(dataset, dataset.planets[: data.planets])}


def vocab_size(config: RunConfig) -> int:
    """Return the wavelengths of a spectrum."""
    from trainer.tasks.ariel.sample import WAVELENGTHS

    return WAVELENGTHS


def tokens_per_step(config: RunConfig) -> int:
    """Return the frames of a batch of visits."""
    return int(config.training.batch_size) * config.seq_len


def steps_per_epoch(config: RunConfig) -> int:
    """Return the steps in which each training planet is shown `data.views` times, at least 1."""
    from trainer.tasks.ariel.splits import train_planets

    data = _data(config)
    shown = data.views * train_planets(planets_of(config), data.folds, data.fold)
    return max(1, shown // int(config.training.batch_size))


def planets_of(config: RunConfig) -> int:
    """Return how many planets are read."""
    data = _data(config)
    if data.dataset_path == SIMULATED:
        return _simulated(data)
    return len(_opened(data).planets[: data.planets])


def check(config: RunConfig) -> None:
    """Refuse a data set with fewer planets than folds.

    Raises:
        InputError: It has, or it cannot be used.
    """
    from trainer.tasks.ariel.splits import train_planets

    data = _data(config)
    train_planets(planets_of(config), data.folds, data.fold)


def build(config: RunConfig) -> ArielTask:
    """Build the task."""
    from trainer.tasks.ariel.task import ArielTask

    return ArielTask(config)


def open_data(data: ArielData) -> Dataset:
    """Return the data set; the simulated one is made first, where it is not there.

    Raises:
        InputError: It cannot be used.
    """
    if data.dataset_path != SIMULATED:
        return _opened(data)
    from trainer.tasks.ariel.dataset import open_dataset
    from trainer.tasks.ariel.simulation import built_in

    return open_dataset(built_in(_simulated(data)))


def _opened(data: ArielData) -> Dataset:
    from trainer.tasks.ariel.dataset import open_dataset

    return open_dataset(Path(data.dataset_path).expanduser())


def _data(config: RunConfig) -> ArielData:
    assert isinstance(config.data, ArielData)
    return config.data


def _simulated(data: ArielData) -> int:
    return SIMULATED_PLANETS if data.planets is None else data.planets

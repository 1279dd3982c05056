"""The spectra as one member sees them: views to train on, whole planets to judge by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from trainer.config import RunConfig
from trainer.errors import InputError
from trainer.losses import Spectrum, Terms
from trainer.spectral_config import ArielData, SpectralConfig
from trainer.tasks import ariel, evaluation_rows
from trainer.tasks.ariel import sigma_calibration
from trainer.tasks.ariel.observations import Observations, observe
from trainer.tasks.ariel.reading import Reading
from trainer.tasks.ariel.sample import WAVELENGTHS, Layout, inputs_of
from trainer.tasks.ariel.score import Reference, coverage, rmse_ppm, score, z_scores
from trainer.tasks.ariel.sigma_calibration import SigmaScale
from trainer.tasks.ariel.splits import split_planets
from trainer.tasks.ariel.standards import Standards
from trainer.tasks.ariel.views import Viewer

MOST_TOLD = 3
"""Faults of a data set that a run names."""
MOST_VISITS = 64
"""Visits that an evaluation reads at once, where the tier asks for no less."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """Spectra of planets, in depth; σ as the model says it.

    Args:
        planets: (n,) their ids.
        spectrum: Its tensors are (n, 283) on the CPU; the truth is NaN where it is not known.
    """

    planets: np.ndarray
    spectrum: Spectrum

    @property
    def mu(self) -> np.ndarray:
        """(n, 283) float64, at least 0."""
        return np.maximum(self.spectrum.mu.numpy().astype(np.float64), 0)

    @property
    def sigma(self) -> np.ndarray:
        """(n, 283) float64."""
        return self.spectrum.sigma.numpy().astype(np.float64)

    @property
    def truth(self) -> np.ndarray:
        """(n, 283) float64."""
        return self.spectrum.truth.numpy().astype(np.float64)

    @property
    def finite(self) -> bool:
        """Whether every number is one."""
        return bool(np.isfinite(self.mu).all() and np.isfinite(self.sigma).all())


class ArielTask:
    """Visits of planets as inputs, their true spectra as targets."""

    def __init__(self, config: RunConfig) -> None:
        data, model = config.data, config.model
        assert isinstance(data, ArielData) and isinstance(model, SpectralConfig)
        self.seen, self.wavelengths_um, planets = _observed(
            config.data.model_copy(update={"fold": 0, "views": 1}),
            ariel.data_hash(config),
            config.tier.cpus,
        )
        self.splits = _splits(self.seen, planets, config)
        self.left_out = _told(self.seen.left_out, data.dataset_path)
        train = self.splits["train"]
        assert self.seen.truth is not None and isinstance(config.training.batch_size, int)
        self.vocab_size = WAVELENGTHS
        self.batch_size = config.training.batch_size
        self.tokens_per_step = self.batch_size * data.frames
        self.rows_at_once = evaluation_rows(config.tier, data.frames, MOST_VISITS)
        self.tokens_per_evaluation = 2 * len(self.splits["val"]) * data.frames  # and reversed
        self.viewer = Viewer(self.seen, train, data.views, self.batch_size, config.training.seed)
        self.standards = Standards.of(self.seen, train)
        self.reading = Reading(Layout(data.frames), self.standards, model.predicts)
        everyone = self.seen.first_of_each(np.arange(len(self.seen.truth)))
        # Of all labels, as the challenge has it: scores of other seeds and folds are measured alike.
        self.reference = Reference.of(self.seen.truth[everyone], data.edition)
        self.terms = Terms(
            config.loss,
            config.symbolic,
            self.standards.scale,
            self.wavelengths_um.tolist(),
            data.edition,
        )

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs (batch, size) and true depths (batch, 283) of the views of a step."""
        views = self.viewer.draw(step)
        assert self.seen.truth is not None
        truth = self.seen.truth[views.rows] + views.atmosphere
        inputs = inputs_of(self.seen, views.rows, self.standards, views)
        return inputs, torch.from_numpy(truth).float()

    def loss(
        self, model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted sum of the loss's terms: () or (member,)."""
        mirrored = self.terms.needs_mirrored
        return self.terms.total(self.reading.spectrum(model, inputs, targets, mirrored=mirrored))

    @torch.no_grad()
    def predict(
        self, model: torch.nn.Module, seen: Observations, rows: np.ndarray, device: str
    ) -> Predicted:
        """Return the spectra of planets, each the mean over its visits.

        Args:
            model: In evaluation mode, on `device`.
            seen: What was observed.
            rows: Of it: all visits of some planets.
            device: Where to compute.
        """
        found: list[Spectrum] = []
        truth = np.full((len(seen.flux), WAVELENGTHS), np.nan) if seen.truth is None else seen.truth
        for first in range(0, len(rows), self.rows_at_once):
            some = rows[first : first + self.rows_at_once]
            inputs = inputs_of(seen, some, self.standards).to(device)
            targets = torch.from_numpy(truth[some]).float().to(device)
            found.append(self.reading.spectrum(model, inputs, targets, mirrored=True))
        planets, of = np.unique(seen.planet_ids[rows], return_inverse=True)
        names = ("mu", "sigma", "star", "truth", "mirrored")
        means = {
            name: _over_visits(torch.cat([getattr(s, name) for s in found]).cpu(), of, len(planets))
            for name in names
        }
        return Predicted(planets, Spectrum(**means))

    def evaluate(self, model: torch.nn.Module, split: str, device: str) -> dict[str, float]:
        """Return score, loss and how well σ is known over the planets of a split.

        The score of "test" is with σ calibrated on the validation planets; what it is without is
        reported beside it.
        """
        found = self.predict(model, self.seen, self.splits[split], device)
        if not found.finite:
            return {f"{split}/loss": math.nan}
        spectrum = found.spectrum
        metrics = {"loss": float(self.terms.total(spectrum))}
        metrics |= {name: float(value) for name, value in self.terms.each(spectrum).items()}
        metrics |= self._judged(found, SigmaScale())
        extra = {}
        if split == "test":
            scale = self.sigma_scale(model, device)
            names = ("score", "coverage", "z_std")
            metrics |= {f"{name}_uncalibrated": metrics[name] for name in names}
            metrics |= self._judged(found, scale)
            extra = {"calibration/sigma_fgs1": scale.fgs1, "calibration/sigma_airs": scale.airs}
        return {f"{split}/{name}": value for name, value in metrics.items()} | extra

    def sigma_scale(self, model: torch.nn.Module, device: str) -> SigmaScale:
        """Return what makes the model's σ right on the validation planets."""
        val = self.predict(model, self.seen, self.splits["val"], device)
        return sigma_calibration.fit(val.mu, val.sigma, val.truth)

    def _judged(self, found: Predicted, scale: SigmaScale) -> dict[str, float]:
        return self._figures(found.mu, scale.apply(found.sigma), found.truth)

    def _figures(self, mu: np.ndarray, sigma: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        return {
            "score": score(mu, sigma, truth, self.reference).total,
            "rmse_ppm": rmse_ppm(mu, truth),
            "coverage": coverage(mu, sigma, truth, 1.0),
            "z_std": float(z_scores(mu, sigma, truth).std()),
        }

    def baselines(self) -> dict[str, float]:
        """Return the figures of the physical baseline and of knowing nothing, on the test planets.

        The baseline's σ is calibrated on the validation planets, as the model's is.
        """
        val, test = (self._baseline(split) for split in ("val", "test"))
        scale = sigma_calibration.fit(*val)
        mu, sigma, truth = test
        figures = self._figures(mu, scale.apply(sigma), truth)
        naive = np.full_like(truth, self.reference.naive_mean)
        spread = np.full_like(truth, self.reference.naive_sigma)
        return {
            "baseline/score": figures["score"],
            "baseline/score_uncalibrated": score(mu, sigma, truth, self.reference).total,
            "baseline/rmse_ppm": figures["rmse_ppm"],
            "baseline/coverage": figures["coverage"],
            "baseline/naive_score": score(naive, spread, truth, self.reference).total,
        }

    def _baseline(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the baseline's μ and σ, and the truth, of the planets of a split."""
        first = self.seen.first_of_each(self.splits[split])
        assert self.seen.truth is not None
        return np.maximum(self.seen.depth[first], 0), self.seen.sigma[first], self.seen.truth[first]


def _over_visits(values: torch.Tensor, planet: np.ndarray, planets: int) -> torch.Tensor:
    """Return the mean (planets, 283) of values (visits, 283) over the visits of each planet."""
    index = torch.from_numpy(planet)
    sums = torch.zeros(planets, values.shape[1], dtype=torch.float64)
    sums.index_add_(0, index, values.double())
    return (sums / torch.bincount(index, minlength=planets).unsqueeze(1)).float()


def _splits(seen: Observations, planets: Sequence[int], config: RunConfig) -> dict[str, np.ndarray]:
    """Return the rows of each split; planets that could not be read are left out.

    Raises:
        InputError: No planet of a split is left.
    """
    data = config.data
    assert isinstance(data, ArielData)
    parts = split_planets(planets, data.folds, data.fold, config.training.seed)
    rows = {name: seen.rows_of(part) for name, part in parts.items()}
    for name, found in rows.items():
        if not len(found):
            fault = f"; the first fault: {seen.left_out[0]}" if seen.left_out else ""
            raise InputError(
                f"data.dataset_path: none of the {len(parts[name])} planets of the {name} split can"
                f" be read{fault}",
                hint=f"spectramind data check {data.dataset_path}",
            )
    return rows


def _told(lines: Sequence[str], path: str) -> str:
    """Say in one line what of a data set is left out; nothing where nothing is."""
    if not lines:
        return ""
    more = len(lines) - MOST_TOLD
    rest = f"; {more} more, all by spectramind data check {path}" if more > 0 else ""
    return f"left out: {'; '.join(lines[:MOST_TOLD])}{rest}"


@lru_cache(maxsize=2)
def _observed(
    data: ArielData, content: str, workers: int
) -> tuple[Observations, np.ndarray, tuple[int, ...]]:
    """Return the observations of the planets of a config, its wavelengths and its planets.

    Args:
        data: Where they are; what does not matter to them is the same for all.
        content: The hash of them: changed data are read again.
        workers: Processes that calibrate.
    """
    dataset = ariel.open_data(data)
    planets = dataset.planets[: data.planets]
    seen = observe(dataset, planets, data.frames, memory_map=data.memory_map, workers=workers)
    return seen, dataset.wavelengths_um, planets

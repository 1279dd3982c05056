"""A few simulated planets, and runs of milliseconds on them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tests.trainer_help import merged
from trainer import RunConfig
from trainer.tasks.ariel.sample import WAVELENGTHS, Layout
from trainer.tasks.ariel.simulation import Recipe, simulate

PLANETS, FRAMES = 7, 24


def planets() -> str:
    """Return the folder of a few small planets, some of them visited twice; made once a process."""
    return _planets(os.environ["ARBITER_HOME"])


@cache
def _planets(home: str) -> str:
    root = Path(home) / "planets"
    simulate(
        root,
        Recipe(
            PLANETS, exposures=FRAMES, rows=1, fgs1_side=2, visits=1.5, test_planets=2, truth=False
        ),
    )
    return str(root)


def spectra(**sections: dict[str, Any]) -> RunConfig:
    """Return a run of milliseconds on them."""
    base: dict[str, dict[str, Any]] = {
        "model": {"kind": "spectral", "dim": 8, "n_layers": 1},
        "data": {
            "task": "ariel",
            "dataset_path": planets(),
            "folds": 3,
            "frames": FRAMES,
            "views": 4,
        },
        "training": {
            "steps": 12,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "warmup_steps": 3,
            "eval_interval": 5,
        },
        "checkpoint": {"interval": 7},
        "logging": {"log_interval": 3, "enable_tensorboard": False},
    }
    return merged(base, sections)


class FixedReader(torch.nn.Module):
    """Answers that follow from the sums of light curves: enough for a task, and never trained."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.layout = Layout(FRAMES)
        self.weight = torch.randn(4, WAVELENGTHS, generator=draw) / 10
        self.tokens_read = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map (…, size) to (…, 4, wavelengths)."""
        light = self.layout.unpack(inputs)["light_curves"]
        self.tokens_read += light.shape[:-1].numel()
        seen = light.mean((-1, -2)).tanh()
        return self.weight * seen[..., None, None]

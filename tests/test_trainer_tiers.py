"""A tier decides how a run is executed: the curve it learns along stays within its precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import trainer_help as help

WHOLE: dict[str, Any] = {}
TIERS: dict[str, tuple[dict[str, Any], float]] = {
    "micro-batches of 1, fp32": ({"micro_batch": 1}, 1e-5),
    "low_vram, fp32": ({"micro_batch": 1, "activation_checkpointing": "full"}, 1e-5),
    "selective, fp32": ({"micro_batch": 4, "activation_checkpointing": "selective"}, 1e-5),
    "high_vram, bf16": ({"micro_batch": 4, "precision": "bf16"}, 3e-3),
    "low_vram, fp16": (
        {"micro_batch": 1, "activation_checkpointing": "full", "precision": "fp16"},
        5e-4,
    ),
}
"""How a batch of 16 is computed, and by how much of a nat a loss may differ from fp32 at once."""


def curve(path: str, tier: dict[str, Any], folder: Path) -> list[float]:
    config = help.corpus(
        path,
        model={"dim": 16, "n_layers": 2, "norm_type": "deepnorm"},
        training={"steps": 10, "batch_size": 16, "seq_len": 8, "eval_interval": 5},
        logging={"log_interval": 1},
        checkpoint={"enable": False},
        tier=tier,
    )
    _, reporter = help.run(config, folder)
    rows = reporter.rows().values()
    return [row[name] for row in rows for name in ("train/loss", "val/loss") if name in row]


def test_the_curve_is_that_of_the_whole_batch_in_fp32(tmp_path: Path) -> None:
    path = help.write_text(tmp_path)
    whole = curve(path, WHOLE, tmp_path / "whole")
    assert whole[0] - whole[-1] > 1.0  # something is learned
    for name, (tier, tolerance) in TIERS.items():
        losses = curve(path, tier, tmp_path / name)
        assert losses == pytest.approx(whole, abs=tolerance), name
        if tolerance > 1e-5:
            assert losses != pytest.approx(whole, abs=1e-5), name  # it was computed in it

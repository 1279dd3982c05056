"""Train a cohort of models; know nothing of sweeps, Ray or Hydra.

Read `loop.py` first, then `run.py`: a cohort, and one member of it. `config.py` says what a run is,
`tasks/` what is learned, `models/` what learns, `engines/` how a cohort computes, and how one model on
several processes; `computation.py` with which kernels, `ladder.py` what happens without memory.
`footprint/` predicts what a run takes, `grokking.py` says when it has generalised, `evaluation/` judges a
checkpoint.

    from trainer import Member, RunConfig, fit
    results = fit([Member("a", RunConfig(), Path("out"))], reporter)

torch is imported with `fit`, not with the config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer.config import RunConfig
from trainer.reporting import FitResult, Member, Reason, Reporter, Verdict

if TYPE_CHECKING:
    from trainer.loop import fit

__all__ = ["FitResult", "Member", "Reason", "Reporter", "RunConfig", "Verdict", "fit"]


def __getattr__(name: str) -> Any:
    if name == "fit":
        from trainer.loop import fit

        return fit
    raise AttributeError(f"module 'trainer' has no attribute {name!r}")

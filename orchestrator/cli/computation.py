"""Say how a single run is computed here, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli import console

if TYPE_CHECKING:
    from orchestrator.hardware import Hardware
    from trainer.config import RunConfig


def say_computation(config: RunConfig, hardware: Hardware) -> None:
    """Say kernel, recomputation, compilation of a run that is about to start in this process.

    A run that does not fit here is left to whoever refuses it. Loads torch, as the run will.
    """
    if hardware.refuse(config.tier) is not None:
        return
    from trainer.computation import computation_of
    from trainer.tasks import tokens_per_step, vocab_size

    how = computation_of(config, vocab_size(config), tokens_per_step(config))
    if how is not None:
        console.say(f"{config.tier.device}, {config.tier.precision}: {how}")

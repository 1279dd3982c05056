"""Epochs in steps: what is trained, evaluated and saved counts steps only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.config import IN_EPOCHS, RunConfig
from trainer.tasks import steps_per_epoch


def in_steps(
    config: RunConfig, length_of: Callable[[RunConfig], int] = steps_per_epoch
) -> RunConfig:
    """Return the config with every count of epochs replaced by the steps that it means here.

    `training.warmup_steps` is cut to the steps that there are: of a run that is given in epochs
    nobody knows their number beforehand.

    Args:
        config: Any; without a count of epochs it is returned as it is.
        length_of: Says how many steps an epoch of it has; only asked where epochs are counted.

    Raises:
        InputError: The data, on which the length of an epoch depends, cannot be read.
    """
    counts = {}
    for key, steps in IN_EPOCHS.items():
        section, _, leaf = key.partition(".")
        if (epochs := getattr(getattr(config, section), leaf)) is not None:
            counts[section, leaf, steps.partition(".")[2]] = epochs
    if not counts:
        return config
    length = length_of(config)
    changed: dict[str, dict[str, Any]] = {}
    for (section, leaf, steps), epochs in counts.items():
        changed.setdefault(section, {}).update({leaf: None, steps: epochs * length})
    training = changed.get("training", {})
    if config.training.warmup_steps > training.get("steps", config.training.steps):
        training["warmup_steps"] = training["steps"]
    sections = {
        name: getattr(config, name).model_copy(update=values) for name, values in changed.items()
    }
    return config.model_copy(update=sections)

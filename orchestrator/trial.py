"""One run of a sweep: a point of the space with one seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.draw import Draw
from orchestrator.errors import Problem, UsageError
from orchestrator.fitting import memory_of
from orchestrator.ledger import TrialRecord
from orchestrator.space_table import SEED
from trainer.config import RunConfig
from trainer.epochs import in_steps
from trainer.errors import InputError
from trainer.footprint import Memory, parameter_count, step_flops
from trainer.identity import trial_and_point_id
from trainer.tasks import check_data, data_hash, steps_per_epoch, tokens_per_step, vocab_size

FILES = ("data.dataset_path", "data.tokenizer_path")
MOST_PARAMETERS = 10**15
MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Trial:
    """One point of the space with one seed.

    Args:
        id: Hash of what decides its result.
        position: Place in the plan, from 0.
        point_id: Shared by the seeds of a point.
        seed: `training.seed`.
        changed: Axis to value.
        config: The checked run config.
        parameters: Trained parameters.
        tokens: Tokens that the whole run learns from.
        flops: Estimated floating-point operations of the whole run.
        vocab_size: Input symbols.
    """

    id: str
    position: int
    point_id: str
    seed: int
    changed: dict[str, Any]
    config: RunConfig
    parameters: int
    tokens: int
    flops: float
    vocab_size: int

    @property
    def memory(self) -> Memory:
        """What each of its processes is predicted to need."""
        return memory_of(self.config, self.vocab_size)

    def record(self) -> TrialRecord:
        """Return what a new ledger knows of it: it waits to be run."""
        return TrialRecord(
            id=self.id,
            position=self.position,
            point_id=self.point_id,
            seed=self.seed,
            changed=self.changed,
            config=self.config.model_dump(mode="json"),
            parameters=self.parameters,
            flops=self.flops,
        )


class DataFacts:
    """What a plan knows of its data: read once for all trials that share them."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[str, int]] = {}
        self._epochs: dict[tuple[Any, ...], int] = {}

    @property
    def hashes(self) -> tuple[str, ...]:
        """The hashes of all data, in order."""
        return tuple(sorted({data for data, _ in self._known.values()}))

    def of(self, config: RunConfig) -> tuple[str, int]:
        """Return the data's hash and the input symbols.

        Raises:
            InputError: The data cannot be read, or cannot be trained on.
        """
        key = (config.data, getattr(config.model, "vocab_size", None), config.seq_len)
        if key not in self._known:
            self._known[key] = data_hash(config), vocab_size(config)
            check_data(config)
        return self._known[key]

    def epoch(self, config: RunConfig) -> int:
        """Return the steps of an epoch.

        Raises:
            InputError: The data cannot be read.
        """
        key = (config.data, config.training.batch_size)
        if key not in self._epochs:
            self._epochs[key] = steps_per_epoch(config)
        return self._epochs[key]


def draw_trials(
    draw: Draw,
    seeds: Sequence[int | None],
    most: int | None,
    facts: DataFacts,
) -> tuple[list[Trial], int]:
    """Draw points until there are no more, or `most` trials are planned; count the duplicates."""
    composition = draw.composition
    trials: dict[str, Trial] = {}
    problems: dict[str, Problem] = {}
    duplicates = 0
    for point in draw:
        for seed in seeds:
            if most is not None and len(trials) >= most:
                break
            values = draw.settings(point)
            if seed is not None:
                values[SEED] = (seed, "seeds")
            try:
                config = composition.config(values)
                trial = make_trial(config, len(trials), dict(point), facts)
            except UsageError as error:
                problems |= {str(problem): problem for problem in error.problems}
                continue
            except InputError as error:
                key = str(error).partition(":")[0]
                value, place = composition.settings.get(key, (None, ""))
                problem = Problem(str(error), place, _beside(key, value, place) or error.hint)
                problems[str(problem)] = problem
                continue
            duplicates += trial.id in trials
            trials.setdefault(trial.id, trial)
        if len(problems) > MOST_PROBLEMS or (most is not None and len(trials) >= most):
            break
    if problems:
        raise UsageError(*problems.values())
    if not trials:
        draw.refuse_nothing()
    return list(trials.values()), duplicates


def _beside(key: str, value: Any, place: str) -> str:
    """Return what to type where a path is meant from the folder of the file that has it."""
    if key not in FILES or not isinstance(value, str):
        return ""
    other = Path(place.partition(":")[0]).parent / value
    try:
        found = not Path(value).exists() and other.is_file()
    except (OSError, ValueError):  # no name that the file system takes
        return ""
    return f"paths are from the current folder: {key}={other}" if found else ""


def make_trial(
    config: RunConfig,
    position: int,
    changed: dict[str, Any],
    facts: DataFacts,
) -> Trial:
    """Return the trial of a run config.

    Args:
        config: Checked.
        position: Place in the plan, from 0.
        changed: Axis to value.
        facts: What earlier trials have found of the data; added to.

    Raises:
        UsageError: The model is too large to be counted.
        InputError: The data cannot be read, or cannot be trained on.
    """
    config = in_steps(config, facts.epoch)
    data, vocabulary = facts.of(config)
    tokens = tokens_per_step(config)
    parameters = parameter_count(config, vocabulary)
    try:
        flops = step_flops(config, vocabulary, tokens) * config.training.steps
    except OverflowError:
        flops = math.inf
    if parameters >= MOST_PARAMETERS or not math.isfinite(flops):
        raise UsageError(
            Problem(
                f"got about 1e{len(str(parameters)) - 1} parameters and {flops:.2g} operations,"
                f" expected fewer than {MOST_PARAMETERS:.0e} parameters",
                "[model]",
            )
        )
    trial, point = trial_and_point_id(config, data)
    return Trial(
        id=trial,
        position=position,
        point_id=point,
        seed=config.training.seed,
        changed=changed,
        config=config,
        parameters=parameters,
        tokens=tokens * config.training.steps,
        flops=flops,
        vocab_size=vocabulary,
    )

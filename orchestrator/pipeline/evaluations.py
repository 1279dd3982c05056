"""The evaluations of a pipeline's checkpoints, one file a step: made once, then read.

evaluations/step-000000040.json      of a checkpoint on the way
            final.json               of the last one, with continuations
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, StorageError, UsageError
from orchestrator.layout import RunDirectory, write_whole
from trainer.config import RunConfig
from trainer.errors import InputError

Notify = Callable[[str], None]
FINAL = "final"


def folder(directory: RunDirectory) -> Path:
    """Return where they lie."""
    return directory.path / "evaluations"


def name_of(step: int) -> str:
    """Return the name of the evaluation of a step's checkpoint."""
    return f"step-{step:09d}"


def checkpoint_of(directory: RunDirectory, trial_id: str, step: int) -> Path:
    """Return where the checkpoint of a step is, or was."""
    return directory.trial(trial_id) / "checkpoints" / name_of(step)


def read_evaluation(directory: RunDirectory, name: str) -> dict[str, Any] | None:
    """Return an evaluation; None where it was never made, or cannot be read: then it is made."""
    try:
        found = json.loads((folder(directory) / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("step"), int) else None


def all_on_the_way(directory: RunDirectory) -> list[dict[str, Any]]:
    """Return the evaluations of checkpoints on the way, by step."""
    names = sorted(path.stem for path in folder(directory).glob("step-*.json"))
    return [found for name in names if (found := read_evaluation(directory, name)) is not None]


def evaluate_checkpoint(
    directory: RunDirectory,
    trial_id: str,
    step: int,
    config: RunConfig,
    name: str,
    *,
    samples: bool = False,
    notify: Notify,
) -> dict[str, Any]:
    """Evaluate the checkpoint of a step and keep what was found.

    Args:
        directory: The pipeline's.
        trial_id: Whose checkpoint.
        step: Optimizer steps it has done.
        config: What it was trained with.
        name: Of the evaluation's file.
        samples: Whether continuations of held-out text are written too.
        notify: Takes what a person has to be told.

    Raises:
        UsageError: Something that the evaluation needs cannot be read.
        StorageError: The checkpoint is not there, or damaged.
    """
    from trainer.evaluation import evaluate

    checkpoint = checkpoint_of(directory, trial_id, step)
    if not checkpoint.is_dir():
        message = f"the checkpoint of step {step} is not there"
        raise StorageError(
            Problem(message, str(checkpoint), f"arbiter doctor {directory.shown()} says what is")
        )
    try:
        evaluation = evaluate(checkpoint, config, notify=lambda line: notify(f"  {line}"))
        found = {
            "step": step,
            "passed": evaluation.passed,
            "gates": [
                {
                    "name": gate.name,
                    "value": gate.value,
                    "limit": gate.limit,
                    "passed": gate.passed,
                }
                for gate in evaluation.gates
            ],
            "evaluation": evaluation.to_dict(),
        }
        if samples:
            from orchestrator.pipeline.samples import continuations

            found["samples"] = continuations(checkpoint, config)
    except InputError as error:
        place = f"evaluation of step {step}"
        raise UsageError(Problem(str(error), place, error.hint)) from error
    folder(directory).mkdir(exist_ok=True)
    text = json.dumps(found, indent=1, allow_nan=False)
    write_whole(folder(directory) / f"{name}.json", text + "\n")
    return found

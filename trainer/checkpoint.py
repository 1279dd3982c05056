"""Checkpoints: written whole or not at all, verified when read, old ones removed.

    checkpoints/step-000000500/model.safetensors       the weights, an ordinary single model
                              /optimizer.safetensors   the moments by parameter name
                              /manifest.json           hashes, step, trial id, config, last rows
                step-000000700-generalised             a marked one, which is never removed

A checkpoint is written under a temporary name, synced and renamed. The newest one whose
hashes agree is used; a damaged one is set aside under `damaged-…` and never loaded. No random
state is kept, because none exists between steps (`trainer.seeds`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from trainer.checkpoint_files import (
    FORMAT,
    MANIFEST_FILE,
    complete_checkpoints,
    marked,
    sha256,
    verify,
)
from trainer.disk import of_the_system
from trainer.errors import InputError

MODEL_FILE, OPTIMIZER_FILE = "model.safetensors", "optimizer.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The state of one run after `step` optimizer steps.

    Args:
        trial_id: Whose it is; another trial's checkpoint is refused.
        step: Optimizer steps done.
        model: Tensors by parameter name.
        optimizer: Tensors by `<moment>.<parameter>`.
        extra: Plain values of the loop (grokking streaks, loss scaler, last evaluation).
        rows: `[step, metrics]` since the checkpoint before: they are reported again on resume,
            for a row may have been lost that this state already contains.
        config: The run config as plain values, so that the checkpoint can be read alone.
        data: SHA-256 of each input the data came from (`trainer.tasks.input_hashes`).
    """

    trial_id: str
    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    extra: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    config: dict[str, Any] | None = None
    data: dict[str, str] | None = None


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        directory: The `checkpoints` folder; made when the first one is written.
        keep: Newest checkpoints kept, those with a mark not counted.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self.directory, self.keep = directory, keep

    def save(self, checkpoint: Checkpoint, mark: str = "") -> Path:
        """Write a checkpoint; when this returns it survives a loss of power.

        Args:
            checkpoint: What to write.
            mark: A word that is added to its name and keeps it.

        Raises:
            OSError: The disk is full or not writable; no earlier checkpoint was touched.
        """
        name = f"step-{checkpoint.step:09d}"
        target = self.directory / (f"{name}-{mark}" if mark else name)
        draft = self.directory / f".tmp-{target.name}-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            _write(checkpoint.model, draft / MODEL_FILE)
            _write(checkpoint.optimizer, draft / OPTIMIZER_FILE)
            files = {}
            for name in (MODEL_FILE, OPTIMIZER_FILE):
                files[name] = {
                    "sha256": sha256(draft / name),
                    "size": (draft / name).stat().st_size,
                }
                _sync(draft / name)
            manifest = {
                "format": FORMAT,
                "trial_id": checkpoint.trial_id,
                "step": checkpoint.step,
                "files": files,
                "extra": checkpoint.extra,
                "rows": checkpoint.rows,
                "config": checkpoint.config,
                "data": checkpoint.data,
                "torch": torch.__version__,
            }
            body = json.dumps(manifest, allow_nan=False, sort_keys=True)
            (draft / MANIFEST_FILE).write_text(
                json.dumps({"manifest": body, "sha256": hashlib.sha256(body.encode()).hexdigest()})
            )
            _sync(draft / MANIFEST_FILE)
            _sync(draft)
            if target.exists():  # the same step again after a resume: the state is the same
                shutil.rmtree(target)
            draft.rename(target)
            _sync(self.directory)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        self._retain()
        return target

    def load_newest(self, trial_id: str) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest valid checkpoint, or None, and a note for each one set aside.

        Raises:
            InputError: A checkpoint belongs to another trial: the folder was mixed up.
        """
        notes: list[str] = []
        for path in reversed(complete_checkpoints(self.directory)):
            try:
                return self._read(path, trial_id), notes
            except (InputError, MemoryError):
                raise
            except Exception as error:
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                notes.append(f"checkpoint {path.name} is damaged and was set aside: {error}")
        return None, notes

    def _read(self, path: Path, trial_id: str) -> Checkpoint:
        manifest = verify(path, trial_id)
        return Checkpoint(
            trial_id,
            manifest["step"],
            load_file(path / MODEL_FILE),
            load_file(path / OPTIMIZER_FILE),
            manifest["extra"],
            [(step, metrics) for step, metrics in manifest["rows"]],
            manifest.get("config"),  # of a version that did not write it: none
            manifest.get("data"),
        )

    def _retain(self) -> None:
        unmarked = [p for p in complete_checkpoints(self.directory) if not marked(p)]
        for path in unmarked[: -self.keep]:
            shutil.rmtree(path, ignore_errors=True)
        for draft in self.directory.glob(".tmp-*"):
            shutil.rmtree(draft, ignore_errors=True)


def _write(tensors: dict[str, torch.Tensor], file: Path) -> None:
    try:
        save_file(_contiguous(tensors), file)
    except SafetensorError as error:
        raise of_the_system(error, file) from error


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

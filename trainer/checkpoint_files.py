"""Which checkpoints a folder has, and whether they are whole. Without torch.

The layout is that of `checkpoint.py`, which writes them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from trainer.errors import InputError

FORMAT = 1
MANIFEST_FILE = "manifest.json"


def complete_checkpoints(directory: Path) -> list[Path]:
    """Return the checkpoints of a `checkpoints` folder, oldest first."""
    return sorted(directory.glob("step-*"))


def marked(path: Path) -> bool:
    """Return whether a checkpoint has a mark behind its step, and is never removed for its age."""
    return path.name.count("-") > 1


def verify(path: Path, trial_id: str | None) -> dict[str, Any]:
    """Return the manifest of a checkpoint whose files have the hashes in it.

    Args:
        path: A `step-…` folder.
        trial_id: Whose it must be; None where any trial's is meant.

    Raises:
        InputError: It belongs to another trial: the folder was mixed up.
        ValueError: It is damaged, or of a format this version does not know.
        OSError: A file of it is not there.
    """
    manifest = read_manifest(path)
    if trial_id is not None and manifest["trial_id"] != trial_id:
        raise InputError(
            f"{path} belongs to trial {manifest['trial_id']}: expected {trial_id}",
            hint=f"move {path.parent} away; the trial then starts again",
        )
    for name, expected in manifest["files"].items():
        if sha256(path / name) != expected["sha256"]:
            raise ValueError(f"{name} does not have the hash in its manifest")
    return manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint folder.

    Raises:
        ValueError: It is damaged, or of a format this version does not know.
        OSError: It is not there.
    """
    outer = json.loads((path / MANIFEST_FILE).read_text())
    body = outer["manifest"]
    if hashlib.sha256(body.encode()).hexdigest() != outer["sha256"]:
        raise ValueError("the manifest does not have its own hash")
    manifest: dict[str, Any] = json.loads(body)
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']}: this version reads {FORMAT}")
    return manifest


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

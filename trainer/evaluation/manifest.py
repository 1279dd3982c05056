"""What a checkpoint says of itself. Without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.checkpoint_files import complete_checkpoints, read_manifest, verify
from trainer.config import RunConfig
from trainer.errors import InputError


def describe(checkpoint: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint; its other files are not looked at.

    Raises:
        InputError: It is not there or damaged.
    """
    return _readable(checkpoint, whole=False)


def verified(checkpoint: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint whose files have the hashes in it.

    Raises:
        InputError: It is not there or damaged.
    """
    return _readable(checkpoint, whole=True)


def config_of(manifest: dict[str, Any], checkpoint: Path) -> RunConfig | None:
    """Return the run config in a manifest; None where an older version wrote none.

    Raises:
        InputError: It is none that this version reads.
    """
    found = manifest.get("config")
    if found is None:
        return None
    try:
        return RunConfig.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{checkpoint} was written by another version of the trainer: its config has"
            f" {where}: {first['msg']}"
        ) from error


def _readable(checkpoint: Path, *, whole: bool) -> dict[str, Any]:
    if not checkpoint.is_dir():
        raise InputError(f"no checkpoint {checkpoint}: there is no such folder")
    try:
        manifest = verify(checkpoint, None) if whole else read_manifest(checkpoint)
        if isinstance(manifest["step"], int) and isinstance(manifest["trial_id"], str):
            return manifest
        why = "its manifest has no step or no trial"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if not checkpoint.is_dir():
            message = f"{checkpoint} was removed while it was read: its trial keeps newer ones"
            raise InputError(message) from error
        why = _in_words(error)
    others = [path for path in complete_checkpoints(checkpoint.parent) if path != checkpoint]
    hint = f"the one before: {others[-1]}" if others else ""
    raise InputError(f"{checkpoint} is damaged: {why}", hint)


def _in_words(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{Path(str(error.filename)).name} is missing"
    if type(error) is ValueError or isinstance(error, OSError):
        return str(error)
    return "its manifest is not one"

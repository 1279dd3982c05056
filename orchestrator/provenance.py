"""With what a sweep was made: versions, machine, command, code."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.identity import CODE_VERSION

LIBRARIES = ("torch", "ray", "numpy", "pydantic", "hydra-core", "safetensors", "tokenizers")
SECRET = re.compile(r"(?i)(key|token|secret|passw\w*)=(\S+)|://[^/\s:@]+:[^/\s@]+@")


def provenance(
    command: Sequence[str], data_hashes: Sequence[str], forked_from: str | None = None
) -> str:
    """Return the JSON text of `provenance.json`.

    Args:
        command: The program and its arguments; what looks like a secret is masked.
        data_hashes: Content hashes of what is trained on.
        forked_from: Name of the run whose trials these were, before settings were changed.
    """
    return json.dumps(
        {
            "command": masked(shlex.join(command)),
            **({} if forked_from is None else {"forked_from": forked_from}),
            "git_commit": git_commit(),
            "data_sha256": sorted(set(data_hashes)),
            **made_with(),
        },
        indent=1,
    )


def made_with() -> dict[str, Any]:
    """Return what of this machine and its libraries may show in a result's last bits."""
    return {
        "code_version": CODE_VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def masked(text: str) -> str:
    """Return the text with passwords and tokens replaced by stars."""
    return SECRET.sub(lambda m: f"{m.group(1)}=***" if m.group(1) else "://***:***@", text)


def git_commit() -> str | None:
    """Return the commit of the checkout this program runs from, `-dirty` where it was changed."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or no commit yet
    return found.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

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

from trainer.identity import CODE_VERSION

LIBRARIES = ("torch", "ray", "numpy", "pydantic", "hydra-core", "safetensors", "tokenizers")
SECRET = re.compile(r"(?i)(key|token|secret|passw\w*)=(\S+)|://[^/\s:@]+:[^/\s@]+@")


def provenance(command: Sequence[str], data_hashes: Sequence[str]) -> str:
    """Return the JSON text of `provenance.json`.

    Args:
        command: The program's arguments; what looks like a secret is masked.
        data_hashes: Content hashes of what is trained on.
    """
    return json.dumps(
        {
            "command": masked(shlex.join(["arbiter", *command])),
            "code_version": CODE_VERSION,
            "git_commit": git_commit(),
            "data_sha256": sorted(set(data_hashes)),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "libraries": {name: _version(name) for name in LIBRARIES},
        },
        indent=1,
    )


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

"""The command lines: `arbiter` and `spectramind`. Thin; one file a family of commands.

Read `app.py` first, then `spectramind.py`, the second door. Heavy imports happen inside commands, so
that `--help` is quick and a wrong setting is refused before torch or Ray are loaded.
"""

from __future__ import annotations

import gc


def main() -> None:
    """Run the program; the entry point of `arbiter`."""
    gc.disable()  # imports make objects and no garbage; what trains enables it again
    from orchestrator.cli.app import run

    run()


def spectra() -> None:
    """Run the program for spectra; the entry point of `spectramind`."""
    gc.disable()
    from orchestrator.cli.spectramind import run

    run()

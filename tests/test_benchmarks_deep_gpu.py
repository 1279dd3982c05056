"""The GPU benchmark runs on a machine that has only what the trainer needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ABSENT = ("ray", "hydra", "omegaconf", "optuna", "typer", "rich", "scipy", "orchestrator")


def test_it_measures_without_ray_or_anything_of_a_sweep() -> None:
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))\n"
        "sys.argv[1:] = ['--smoke', '--steps', '1', '--cases', '2:full:off']\n"
        "from benchmarks.deep_gpu import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    head, _, line = done.stdout.strip().splitlines()
    assert head.startswith("CPU, torch") and "parameters, batch 4 x 32" in head
    case, rate, *_ = line.split()
    assert case == "2:full:off" and float(rate.replace(",", "")) > 0

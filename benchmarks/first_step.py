"""From the command to the first training step, with Ray Tune and in this process.

    python -m benchmarks.first_step [--times N]

The clock starts before the process does and stops at the ledger's first `started` event: data
read, model built, the next thing is a step. `import torch` and a plain `ray.init`, each in a fresh
process of the same run, are the floor.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.command import FLOORS, run_floor, sweep

TEMPLATE = Path(__file__).with_name("tiny.toml")
GOALS_S = {"ray_tune": 12.0, "inline": 4.0}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=3)
    times = parser.parse_args().times
    print(f"load {os.getloadavg()[0]:.1f}, median of {times}", file=sys.stderr)
    print(f"{'executor':10}{'first step s':>14}{'goal s':>8}{'floor s':>9}{'ratio':>8}  floor is")
    for executor, goal_s in GOALS_S.items():
        name, _ = FLOORS[executor]
        pairs = [(_first_step_s(executor), run_floor(executor)) for _ in range(times)]
        first_s, floor_s = (median(values) for values in zip(*pairs, strict=True))
        print(
            f"{executor:10}{first_s:14.1f}{goal_s:8.0f}{floor_s:9.1f}{first_s / floor_s:7.2f}x"
            f"  {name}"
        )


def _first_step_s(executor: str) -> float:
    with tempfile.TemporaryDirectory() as runs:
        words = ("--strategy", str(TEMPLATE), "--seeds", "1", "--executor", executor)
        ran, _, events = sweep(*words, runs=Path(runs))
    return min(event.at for event in events if event.kind == "started") - ran.began


if __name__ == "__main__":
    main()

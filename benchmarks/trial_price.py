"""What a trial costs: a sweep of tiny trials beside a plain loop and beside Ray Tune.

    python -m benchmarks.trial_price [--trials N]

All train the same (`tiny.toml`, `by_hand.py`; our losses are checked against the loop's). Ours is
the command a person types, from its start to the leaderboard, at a fifth of the trials and at all
of them. Ray Tune with reused actors runs all of them too, `ray.init` included; as it comes it is timed
on two samples: N trials are taken to cost the smaller one plus the marginal cost of the rest. The
machine is shared, so the plain loop is timed before, between and after, and also in as many processes
as there are workers: the most it could give. The floor of anything on Ray is that and a Ray that
starts, imports torch in its workers, does nothing and ends.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

from benchmarks.by_hand import DECAYS, serial_loop, train_tiny
from benchmarks.command import run_floor, sweep
from orchestrator.ledger import TrialRecord

WORKERS = 2
TEMPLATE = Path(__file__).with_name("tiny.toml")
LOOP = 100
"""Trials of each timing of the plain loop."""

PLAIN = (3, 9)
"""Trials of Ray Tune's samples, as it comes."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    n = parser.parse_args().trials
    few = n // 5
    say(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    loop = [serial_loop(LOOP)]
    say(f"plain loop: {1000 * loop[0]:.1f} ms a trial")
    few_s, _ = ours(few)
    loop.append(serial_loop(LOOP))
    many_s, trials = ours(n)
    check(trials)
    loop.append(serial_loop(LOOP))
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        together = mean(pool.map(serial_loop, [LOOP] * WORKERS, chunksize=1)) / WORKERS
    say(
        f"plain loop: {', '.join(f'{1000 * s:.1f}' for s in loop)} ms a trial,"
        f" {1000 * together:.1f} in {WORKERS} processes"
    )
    reused_s, plain_s = _sample(n, reuse=True), extrapolated(n)
    ray_s = run_floor("ray_tune")
    bare = mean(loop)

    print(f"{f'{n} trials, {WORKERS} workers':38}{'s':>8}{'ms a trial':>12}  against ours  goal")
    for name, wall_s, goal in (
        ("arbiter, the whole command", many_s, ""),
        (f"Ray Tune, from {PLAIN[0]} and {PLAIN[1]} trials", plain_s, ">= 25"),
        ("Ray Tune, reused actors", reused_s, ">= 3"),
        (f"plain loop, from 2 x {LOOP} trials", bare * n, ""),
        (f"plain loop in {WORKERS} processes", together * n, ""),
        ("Ray that does nothing", ray_s, ""),
        ("floor: the last two together", together * n + ray_s, ""),
    ):
        ratio = f"{wall_s / many_s:.2f} x"
        print(f"{name:38}{wall_s:8.1f}{1000 * wall_s / n:12.1f}{ratio:>14}  {goal}".rstrip())
    marginal = (many_s - few_s) / (n - few)
    print(
        f"marginal cost, {few} to {n} trials: {1000 * marginal:.1f} ms\n"
        f"  {marginal / (bare / WORKERS):.2f} x the plain loop / {WORKERS}  (goal <= 1.3)\n"
        f"  {marginal / together:.2f} x the plain loop in {WORKERS} processes"
    )


def ours(n: int) -> tuple[float, list[TrialRecord]]:
    """Sweep `n` trials; return the seconds and the trials."""
    with tempfile.TemporaryDirectory() as runs:
        words = ("--strategy", str(TEMPLATE), "--seeds", str(n // len(DECAYS)))
        ran, trials, _ = sweep(*words, runs=Path(runs))
    say(f"arbiter: {len(trials)} trials in {ran.wall_s:.1f} s")
    return ran.wall_s, trials


def check(trials: list[TrialRecord]) -> None:
    """Compare some of our results with the loop's: it must be the same training.

    Raises:
        RuntimeError: It is not.
    """
    for trial in trials[:: max(1, len(trials) // 5)]:
        for name, value in train_tiny(trial.seed, trial.changed["training.weight_decay"]).items():
            if name in trial.final and not math.isclose(trial.final[name], value, rel_tol=1e-4):
                raise RuntimeError(f"{trial.id} {name}: {trial.final[name]}, by hand {value}")


def extrapolated(n: int) -> float:
    """Return the seconds that `n` trials would take on Ray Tune as it comes, from two samples."""
    few_s, many_s = (_sample(count, reuse=False) for count in PLAIN)
    marginal = (many_s - few_s) / (PLAIN[1] - PLAIN[0])
    say(f"Ray Tune: {few_s:.1f} s and {many_s:.1f} s, {marginal:.2f} s a further trial")
    return few_s + marginal * (n - PLAIN[0])


def _sample(trials: int, reuse: bool) -> float:
    words = [sys.executable, "-m", "benchmarks.tune_by_hand", str(trials), str(int(reuse))]
    done = subprocess.run(words, check=True, text=True, capture_output=True)
    return float(done.stdout.splitlines()[-1])


def say(line: str) -> None:
    """Tell how far it is."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""Time to grok against weight decay, beside the figures of the set-up's reference.

    python -m benchmarks.weight_decay

Quadratic MLP on addition modulo 47, half the pairs, 8 seeds a cell. A power law
`steps = c * weight_decay ** -exponent` is fitted to the medians from 0.25 to 2; Verma 2026
(arXiv 2605.20441) reports 0.757 over its own range.
"""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import linear_regression, median

from benchmarks.runs import run_template
from orchestrator.request import Request

REFERENCE_STEPS = {0.25: 900, 0.5: 490, 1.0: 265, 2.0: 170, 4.0: 160}


def main() -> None:
    """Print the table and the exponent."""
    measured = run_template(Request(strategy="weight_decay_grokking"), "ray_tune")
    steps: dict[float, list[float]] = defaultdict(list)
    n_trials: dict[float, int] = defaultdict(int)
    for trial in measured.trials:
        decay = trial.changed["training.weight_decay"]
        n_trials[decay] += 1
        if "grok/generalised_step" in trial.final:
            steps[decay].append(trial.final["grok/generalised_step"])
    print("weight decay  grokked  median  lowest  highest  reference")
    for decay in sorted(steps):
        found = steps[decay]
        print(
            f"{decay:12g}  {len(found)} of {n_trials[decay]}  {median(found):6.0f}"
            f"  {min(found):6.0f}  {max(found):7.0f}  {REFERENCE_STEPS[decay]:9d}"
        )
    fitted = [decay for decay in sorted(steps) if 0.25 <= decay <= 2]
    slope = linear_regression(
        [math.log(decay) for decay in fitted],
        [math.log(median(steps[decay])) for decay in fitted],
    ).slope
    print(f"exponent over 0.25 to 2: {-slope:.2f}")
    print(f"wall: {measured.wall_s:.0f} s for {len(measured.trials)} trials")


if __name__ == "__main__":
    main()

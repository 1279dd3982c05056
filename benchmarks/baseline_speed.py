"""How long the physical baseline takes for a visit, beside a plain loop over its columns.

    python -m benchmarks.baseline_speed [--visits N]

The plain loop is one `numpy.linalg.lstsq` for each of the 283 columns, of drift and depth, with the
shape of the transit given for nothing; ours finds the shape first. Both run on one thread, in turns,
on the same light curves; figures are medians of the processor's time. The errors are those of the depths in units of each
method's own σ, 1 where it is honest.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from statistics import median

import numpy as np

from trainer.tasks.ariel.baseline import fit_visit
from trainer.tasks.ariel.transit_shape import Path, Table, in_frames
from trainer.tasks.ariel.visit import WAVELENGTHS, System
from trainer.tasks.ariel.white_light import legendre

FRAMES, HOURS = 187, 7.5
SYSTEM = System(1, 1.0, 1.0, 5600.0, 0.3, 0.0, 4.0, 10.0, 88.3)
MID_H, LIMB, NOISE = 3.7, 0.35, 5e-4


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--visits", type=int, default=40)
    n = parser.parse_args().visits
    times_h = (np.arange(FRAMES) + 0.5) * HOURS / FRAMES
    ours_s, loop_s, ours_z, loop_z = [], [], [], []
    fit_visit(times_h, _visit(times_h, -1)[0], SYSTEM)  # imports
    for visit in range(n):
        flux, truth, profile = _visit(times_h, visit)
        began = time.process_time()
        fit = fit_visit(times_h, flux, SYSTEM)
        ours_s.append(time.process_time() - began)
        began = time.process_time()
        depth, sigma = _loop(times_h, flux, profile)
        loop_s.append(time.process_time() - began)
        ours_z.append(np.std((fit.depth - truth) / fit.sigma))
        loop_z.append(np.std((depth - truth) / sigma))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    ratio = median(a / b for a, b in zip(loop_s, ours_s, strict=True))
    print(f"{'a visit of 187 frames x 283 columns':38}{'ms':>7}{'error/sigma':>13}  goal")
    print(f"{'physical baseline, white light and all':38}{_row(ours_s, ours_z)}  <= 20 ms")
    print(f"{'lstsq for each column, shape given':38}{_row(loop_s, loop_z)}")
    print(f"the loop takes {ratio:.2f}x as long")


def _row(seconds: list[float], errors: list[float]) -> str:
    return f"{1e3 * median(seconds):7.1f}{median(errors):13.2f}"


def _visit(times_h: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return flux (frames, 283), the true depths (283,) and the true shape (frames,)."""
    rng = np.random.default_rng(seed + 1)
    truth = rng.uniform(1e-3, 8e-3) * (1 + 0.01 * np.sin(np.arange(WAVELENGTHS) / 20))
    table = Table.of(float(np.sqrt(truth.mean())))
    covered, darkened = in_frames(table, Path.of(SYSTEM, MID_H), times_h, 1)
    profile = covered + LIMB * darkened
    drift = 1 + legendre(times_h, 3)[:, 1:] @ rng.normal(0, 5e-4, 3)
    noise = rng.normal(0, NOISE, (len(times_h), WAVELENGTHS))
    return 1e5 * drift[:, None] * (1 - profile[:, None] * truth) * (1 + noise), truth, profile


def _loop(
    times_h: np.ndarray, flux: np.ndarray, profile: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    design = np.column_stack([legendre(times_h, 3), -profile])
    variance = np.linalg.inv(design.T @ design)[-1, -1]
    depth, sigma = np.empty((2, WAVELENGTHS))
    for column in range(WAVELENGTHS):
        light = flux[:, column] / flux[:, column].mean()
        found, rest, *_ = np.linalg.lstsq(design, light, rcond=None)
        depth[column] = found[-1] / found[0]
        sigma[column] = np.sqrt(variance * rest[0] / (len(light) - design.shape[1]))
    return depth, sigma


if __name__ == "__main__":
    main()

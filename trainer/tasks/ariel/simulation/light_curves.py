"""How bright a star is while its planet crosses it."""

from __future__ import annotations

import numpy as np

from trainer.tasks.ariel.visit import System

NODE_STEP = 1e-4
"""Depth between two computed light curves; those between are interpolated, within 1 ppm."""


def transit(
    times_h: np.ndarray, mid_h: float, system: System, depth: np.ndarray, limb: np.ndarray
) -> np.ndarray:
    """Return the relative flux of a limb-darkened transit: (exposures, wavelengths), float64.

    The light lost is 1, u1 and u2 times three integrals over the planet's disc, divided by
    1 − u1/3 − u2/6 (Mandel & Agol 2002, ApJ 580, L171). So three curves of a radius give those of
    every limb darkening exactly; between radii, loss / depth is interpolated linearly in depth.

    Args:
        times_h: Hours: (exposures,).
        mid_h: Hour of the middle of the transit.
        system: The orbit: period, semi-major axis, inclination, eccentricity.
        depth: (Rp/Rs)² at each wavelength: (wavelengths,).
        limb: Coefficients u1, u2: (wavelengths, 2).
    """
    least, most = float(depth.min()), float(depth.max())
    n_nodes = 1 if least == most else 2 + int((most - least) / NODE_STEP)
    nodes = np.linspace(least, most, n_nodes)
    shapes = _shapes(times_h, mid_h, system, nodes)  # (nodes, 3, exposures)
    step = nodes[1] - nodes[0] if n_nodes > 1 else 1.0
    weights = np.maximum(0, 1 - np.abs(depth[:, None] - nodes) / step)  # (wavelengths, nodes)
    terms = np.concatenate([np.ones((len(depth), 1)), limb], axis=1)
    scale = depth / (terms @ [1, -1 / 3, -1 / 6])
    mix = weights[:, :, None] * terms[:, None, :] * scale[:, None, None]
    loss = mix.reshape(len(depth), -1) @ shapes.reshape(-1, len(times_h))
    return np.asarray(1 - loss.T)


def _shapes(times_h: np.ndarray, mid_h: float, system: System, nodes: np.ndarray) -> np.ndarray:
    """Return the three integrals of each depth, over the depth: (nodes, 3, exposures)."""
    import batman

    params = batman.TransitParams()
    params.t0, params.per = mid_h / 24, system.P
    params.a, params.inc = system.sma, system.i
    params.ecc, params.w = system.e, 90.0
    params.limb_dark, params.u = "quadratic", [0.0, 0.0]
    params.rp = float(np.sqrt(nodes[0]))
    model = batman.TransitModel(params, times_h / 24)
    shapes = np.empty((len(nodes), 3, len(times_h)))
    for node, depth in enumerate(nodes):
        params.rp = float(np.sqrt(depth))
        for term, u in enumerate(((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))):
            params.u = list(u)
            norm = 1 - u[0] / 3 - u[1] / 6
            shapes[node, term] = (1 - model.light_curve(params)) * norm / depth
    shapes[:, 1:] -= shapes[:, :1]
    return shapes


def duration_h(system: System, depth: float) -> float:
    """Return the hours from first to last contact on a circular orbit; 0 without a transit.

    Winn 2010 (arXiv 1001.2010), equation 14.
    """
    inclination = np.radians(system.i)
    chord = (1 + np.sqrt(depth)) ** 2 - (system.sma * np.cos(inclination)) ** 2
    if chord <= 0:
        return 0.0
    angle = np.arcsin(min(1.0, np.sqrt(chord) / (system.sma * np.sin(inclination))))
    return float(system.P * 24 / np.pi * angle)

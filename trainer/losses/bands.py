"""Where molecules absorb, in the columns of a spectrum, and the continuum beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainer.errors import InputError

BANDS = {"H2O": (2.60, 2.80), "CO2": (1.98, 2.06), "CH4": (3.25, 3.38)}
"""Molecule to the limits of its band, in µm, both included."""
SHOULDER = 3
"""Wavelengths on each side of a band whose mean is a point of its continuum."""


@dataclass(frozen=True)
class Band:
    """A molecule's band.

    Args:
        molecule: Its formula.
        columns: First column of the band, and the one behind its last.
        fractions: Place of each wavelength of the band on the line between the mean wavelengths of
            its shoulders: 0 at the short one, 1 at the long one.
    """

    molecule: str
    columns: tuple[int, int]
    fractions: tuple[float, ...]


def find_band(molecule: str, limits: tuple[float, float], wavelengths_um: Sequence[float]) -> Band:
    """Find a band by its limits in µm; FGS1, column 0, is no neighbour of it.

    Raises:
        InputError: The band, or the `SHOULDER` wavelengths on a side of it, are not observed.
    """
    low, high = limits
    inside = [k for k, um in enumerate(wavelengths_um) if k and low <= um <= high]
    first, behind = (inside[0], inside[-1] + 1) if inside else (0, 0)
    if first - SHOULDER < 1 or behind + SHOULDER > len(wavelengths_um):
        raise InputError(
            f"wavelengths: got {wavelengths_um[1]:g} to {wavelengths_um[-1]:g} µm, expected the band"
            f" of {molecule}, {low:g} to {high:g} µm, and {SHOULDER} on each side of it"
        )
    left = sum(wavelengths_um[first - SHOULDER : first]) / SHOULDER
    right = sum(wavelengths_um[behind : behind + SHOULDER]) / SHOULDER
    return Band(
        molecule,
        (first, behind),
        tuple((um - left) / (right - left) for um in wavelengths_um[first:behind]),
    )


def continuum(depths: torch.Tensor, band: Band) -> torch.Tensor:
    """Return the line through the shoulders of a band, at its wavelengths.

    Args:
        depths: Spectra (…, 283).
        band: One of n wavelengths.

    Returns:
        (…, n), in the unit of `depths`.
    """
    first, behind = band.columns
    left = depths[..., first - SHOULDER : first].mean(-1, keepdim=True)
    right = depths[..., behind : behind + SHOULDER].mean(-1, keepdim=True)
    return left + (right - left) * _along(band, depths.device)


def _along(band: Band, device: torch.device) -> torch.Tensor:
    # Filled on the device: a copy to it cannot be recorded in a CUDA graph.
    return torch.cat([torch.full((1,), fraction, device=device) for fraction in band.fractions])

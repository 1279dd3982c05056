"""A point lens: how much it magnifies a star behind it (Paczyński 1986, ApJ 304, 1)."""

from __future__ import annotations

import torch


def magnification(u: torch.Tensor) -> torch.Tensor:
    """Return A(u) = (u² + 2) / (u √(u² + 4)), above 1 and the same at all wavelengths.

    Args:
        u: Separation of lens and star on the sky in Einstein radii, positive; 0 gives infinity.
    """
    return (u.square() + 2) / (u * (u.square() + 4).sqrt())


def separation(magnified: torch.Tensor) -> torch.Tensor:
    """Return the separation u in Einstein radii at which a lens magnifies by A; 1 gives infinity.

    Args:
        magnified: A, at least 1.

    Raises:
        ValueError: An A is less than 1: a lens does not dim.
    """
    if bool((magnified < 1).any()):
        raise ValueError(f"magnification: got {float(magnified.min()):g}, expected at least 1")
    # u² = 2 A / √(A² − 1) − 2, without the difference of two numbers that are nearly the same.
    root = ((magnified - 1) * (magnified + 1)).sqrt()
    return (2 / (root * (magnified + root))).sqrt()

"""What is known of one observation of a planet: the system, the light curves, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.errors import InputError

WAVELENGTHS = 283
"""Columns of a light curve and of a spectrum: FGS1, then the 282 of AIRS-CH0 from blue to red."""


@dataclass(frozen=True)
class System:
    """A star and its planet, in the units of the challenge.

    Args:
        planet_id: The challenge's number.
        Rs: Stellar radius in solar radii.
        Ms: Stellar mass in solar masses.
        Ts: Stellar effective temperature in K.
        Mp: Planetary mass as published.
        e: Eccentricity, in [0, 1).
        P: Orbital period in days.
        sma: Semi-major axis in stellar radii.
        i: Inclination in degrees.
    """

    planet_id: int
    Rs: float
    Ms: float
    Ts: float
    Mp: float
    e: float
    P: float
    sma: float
    i: float


@dataclass(frozen=True, eq=False)
class Visit:
    """The calibrated light curves of one visit.

    Args:
        planet_id: The challenge's number.
        visit: 0, or 1 where the planet was observed twice.
        times_h: (frames,) hours from the middle of the visit's first exposure to that of the frame.
        flux: (frames, 283) float32, electrons an exposure. A column of the detector counts as the
            mean over its good pixels times the number of its pixels.
    """

    planet_id: int
    visit: int
    times_h: np.ndarray
    flux: np.ndarray


@dataclass(frozen=True)
class Fault:
    """A file of which a planet, or a visit of it, cannot be read.

    Args:
        file: Its path below the data set's root, with `/`.
        planet_id: Whose it is; None where it is the whole data set's.
        message: What was got, what was expected.
    """

    file: str
    planet_id: int | None
    message: str

    def __str__(self) -> str:
        whose = "" if self.planet_id is None else f" (planet {self.planet_id})"
        return f"{self.file}{whose}: {self.message}"


@dataclass(frozen=True, eq=False)
class Visits:
    """The visits of several planets, those of a planet next to each other.

    Args:
        planet_ids: (n,) whose visit it is.
        visit: (n,) its number.
        times_h: (n, frames) as in `Visit`.
        flux: (n, frames, 283) float32; a memory map where that was asked for.
        faults: The visits that are left out, and why.
    """

    planet_ids: np.ndarray
    visit: np.ndarray
    times_h: np.ndarray
    flux: np.ndarray
    faults: tuple[Fault, ...]


class FileError(InputError):
    """A file of a data set that is missing, or is not what the layout says.

    Args:
        file: The file or folder.
        message: What was got, what was expected.
        hint: What to type; empty where there is nothing to type.
    """

    def __init__(self, file: Path, message: str, hint: str = "") -> None:
        super().__init__(f"{file}: {message}", hint)
        self.file, self.reason = file, message

    def __reduce__(self) -> tuple[type[FileError], tuple[Path, str, str]]:
        """Cross a process boundary whole: the default would call it with the joined message."""
        return FileError, (self.file, self.reason, self.hint)

    def fault(self, root: Path, planet_id: int | None = None) -> Fault:
        """Return it as a fault of the data set at `root`."""
        try:
            shown = self.file.relative_to(root).as_posix()
        except ValueError:
            shown = str(self.file)
        return Fault(shown, planet_id, self.reason)

"""What a simulated data set is made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.errors import InputError

VERSION = 1
"""Raised by hand whenever the same recipe would give other files; a test holds some of them."""

PUBLISHED_EXPOSURES = 5_625
"""AIRS exposures of a visit as published: 7.5 hours, one every 4.8 s."""
FEWEST_EXPOSURES = 16
MOST_ROWS = 32


@dataclass(frozen=True)
class Recipe:
    """What decides every byte of a simulated data set.

    Args:
        planets: Planets with labels, at least 1. More of them leave the first ones as they are.
        seed: Of every random number, at least 0.
        exposures: AIRS exposures of a visit, 16 to 5,625; FGS1 has twelve times as many. Fewer
            than published span the same 7.5 hours: each is then the mean of `coadded` ones.
        rows: Pixel rows of AIRS, 1 to 32; it always has 356 columns.
        fgs1_side: Rows and columns of FGS1, 2 to 32.
        visits: Mean visits of a planet, 1 to 2: at 1.3 three in ten planets are seen twice.
        test_planets: Planets without labels, in `test/`.
        spectra: Labels file (`planet_id, wl_1 … wl_283`) whose spectra the planets get, in an
            order that the seed draws; None: absorption bands of an atmosphere.
        systems: File of stars and orbits (`planet_id, Rs, Ms, Ts, Mp, e, P, sma, i`), taken in
            such an order as well; None: drawn.
        edition: Whose layout is written. The 2024 one knows no second visit.
        noise: With photon and read noise; the counts are whole numbers either way.
        truth: With `truth/`, the light curves before any noise.

    Raises:
        InputError: Values are out of their ranges, a line each.
    """

    planets: int
    seed: int = 0
    exposures: int = PUBLISHED_EXPOSURES
    rows: int = MOST_ROWS
    fgs1_side: int = MOST_ROWS
    visits: float = 1.0
    test_planets: int = 0
    spectra: Path | None = None
    systems: Path | None = None
    edition: Literal["2024", "2025"] = "2025"
    noise: bool = True
    truth: bool = True

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise InputError("\n".join(problems))

    def _problems(self) -> Iterator[str]:
        ranges = {
            "planets": (1, None),
            "seed": (0, None),
            "exposures": (FEWEST_EXPOSURES, PUBLISHED_EXPOSURES),
            "rows": (1, MOST_ROWS),
            "fgs1_side": (2, MOST_ROWS),
            "visits": (1, 2),
            "test_planets": (0, None),
        }
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if not (value >= least and (most is None or value <= most)):
                expected = f"at least {least}" if most is None else f"{least} to {most:,}"
                yield f"{name}: got {value}, expected {expected}"
        if self.edition not in ("2024", "2025"):
            yield f"edition: got {self.edition!r}, expected 2024 or 2025"
        if self.edition == "2024" and self.visits > 1:
            yield f"visits: got {self.visits:g}, expected 1: the 2024 edition knows no second visit"

    @property
    def coadded(self) -> int:
        """Published exposures whose mean one exposure of this data set is, at least 1."""
        return PUBLISHED_EXPOSURES // self.exposures

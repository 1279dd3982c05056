"""The sections of a run that learns spectra from light curves: data, model, loss and rules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trainer.section import Section

SIMULATED = "simulated"
"""`data.dataset_path` of the data set that is simulated where it is used."""
SIMULATED_PLANETS = 240
"""Planets of it, where `data.planets` is not given."""

PHASES = 8
"""Numbers a wavelength that a `spectral` model reduces a light curve to."""
CLOCK = 6
"""Numbers a frame by which it chooses them: the place in time and the transit's shape."""
ANSWERS = 4
"""Numbers a wavelength that it answers: for μ, ln σ, what is kept of the baseline, and the star."""


class ArielData(Section):
    """Transmission spectra from raw transits in the layout of the Ariel Data Challenge."""

    task: Literal["ariel"] = "ariel"
    dataset_path: str = Field(
        SIMULATED,
        min_length=1,
        description="folder in the challenge's layout; `simulated` is made in the cache",
    )
    planets: int | None = Field(
        None,
        ge=3,
        description="most planets that are read, in order of their ids; none: all"
        f" (of `simulated`: {SIMULATED_PLANETS})",
    )
    folds: int = Field(
        5, ge=3, description="equal parts of the planets: one validates, one tests, the rest train"
    )
    fold: int = Field(0, ge=0, description="the part that tests, from 0; the next one validates")
    frames: int = Field(187, ge=8, description="time bins of a visit")
    views: int = Field(
        8, ge=1, description="times an epoch shows each planet, each time drawn anew"
    )
    edition: Literal["2024", "2025"] = Field("2025", description="of the challenge's score")
    memory_map: bool = Field(
        False, description="read light curves from disk when they are needed, not at the start"
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> ArielData:
        if self.fold >= self.folds:
            raise ValueError(
                f"fold must be less than folds: got fold {self.fold} and folds {self.folds}"
            )
        if self.planets is not None and self.planets < self.folds:
            raise ValueError(
                f"folds must not exceed planets: got folds {self.folds} and planets {self.planets}"
            )
        return self


class SpectralConfig(Section):
    """Two encoders of light curves, fused, read out as a spectrum with its errors."""

    kind: Literal["spectral"] = "spectral"
    name: str | None = Field(None, description="label for reports; decides nothing")
    dim: int = Field(64, ge=2, description="width of the encoders and of the fusion")
    n_layers: int = Field(2, ge=1, description="blocks of each encoder")
    dropout: float = Field(0.0, ge=0, lt=1)
    predicts: Literal["correction", "spectrum"] = Field(
        "correction", description="of the physical baseline, or the spectrum itself"
    )


class TermConfig(Section):
    """A term of the loss."""

    weight: float = Field(ge=0)


class FrequencyTermConfig(Section):
    """The term that judges the fine structure of a spectrum."""

    weight: float = Field(0.1, ge=0)
    cutoff_frac: float = Field(
        0.25, gt=0, lt=1, description="frequency above which power counts / the Nyquist frequency"
    )


class CompositeConfig(Section):
    """Weights of the terms; each is dimensionless and of order 1 at the start."""

    gll: TermConfig = Field(
        default=TermConfig(weight=1.0), description="Gaussian negative log-likelihood"
    )
    smoothness: TermConfig = Field(
        default=TermConfig(weight=0.1), description="second differences over wavelength"
    )
    fft: FrequencyTermConfig = Field(
        default_factory=FrequencyTermConfig, description="share of power at high frequencies"
    )
    nonnegativity: TermConfig = Field(
        default=TermConfig(weight=0.05), description="depths below zero"
    )
    asymmetry: TermConfig = Field(
        default=TermConfig(weight=0.0),
        description="difference to the spectrum read from the light curves reversed in time",
    )

    @model_validator(mode="after")
    def _learns(self) -> CompositeConfig:
        if not any(getattr(self, name).weight for name in type(self).model_fields):
            raise ValueError("a loss needs a term: got the weight 0 for each of composite")
        return self


class LossConfig(Section):
    """What is minimised: the sum of weight × term, and of the symbolic rules."""

    composite: CompositeConfig = Field(default_factory=CompositeConfig)


class RuleConfig(Section):
    """A symbolic rule."""

    enabled: bool = Field(False, description="off: its violation is logged and changes nothing")
    weight: float = Field(0.1, gt=0, description="in the loss, where the rule is on")


class SymbolicConfig(Section):
    """What physics says of a spectrum, as penalties."""

    molecular_fingerprint: RuleConfig = Field(
        default_factory=RuleConfig,
        description="in a molecule's band the depth is not below the continuum beside it",
    )
    gravitational_lensing: RuleConfig = Field(
        default_factory=RuleConfig,
        description="brightening of the star out of transit is the same at all wavelengths",
    )

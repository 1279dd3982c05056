"""What a model of spectra is trained to minimise: named terms and symbolic rules, weighted.

`terms.py` has the terms, `rules.py` the rules, `spectrum.py` what they judge. Each is one function and
one line in its registry, and is logged whatever its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from trainer.losses.rules import RULES
from trainer.losses.spectrum import Scene, Spectrum
from trainer.losses.terms import TERMS
from trainer.spectral_config import LossConfig, SymbolicConfig
from trainer.tasks.ariel.score import Edition

__all__ = ["RULES", "TERMS", "Scene", "Spectrum", "Terms"]


class Terms:
    """The loss of one run.

    Args:
        loss: Weights of the terms.
        symbolic: Which rules are on, and their weights.
        scale: s, the standard deviation of the training spectra about their planet's mean, in depth.
        wavelengths_um: Of the columns (283,), in µm.
        edition: Of the challenge; decides the weight of FGS1 in `gll`.

    Attributes:
        weights: Term or rule to its weight in the loss; those of weight 0 are left out.
        needs_mirrored: Whether the loss needs `Spectrum.mirrored`, a second pass of the model.

    Raises:
        InputError: `scale` is not positive, or the wavelengths are not those of a spectrum.
    """

    def __init__(
        self,
        loss: LossConfig,
        symbolic: SymbolicConfig,
        scale: float,
        wavelengths_um: Sequence[float],
        edition: Edition = "2025",
    ) -> None:
        composite = loss.composite
        self._scene = Scene.of(scale, wavelengths_um, edition, composite.fft.cutoff_frac)
        weights = {name: float(getattr(composite, name).weight) for name in TERMS}
        for name in RULES:
            rule = getattr(symbolic, name)
            weights[name] = float(rule.weight) if rule.enabled else 0.0
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.needs_mirrored = "asymmetry" in self.weights

    def total(self, spectrum: Spectrum) -> torch.Tensor:
        """Return the weighted sum (…,), in fp32; of a batch, the mean over its planets.

        So the means of micro-batches, weighted by their planets, add up to that of the batch.
        """
        spectrum = spectrum.fp32()
        return _sum(
            weight * _FORMULAS[name](spectrum, self._scene) for name, weight in self.weights.items()
        ).mean(-1)

    def each(self, spectrum: Spectrum) -> dict[str, torch.Tensor]:
        """Return every term and every rule's violation (…,), unweighted, whatever its weight.

        `asymmetry` is left out of a spectrum without `mirrored`.
        """
        spectrum = spectrum.fp32()
        return {
            name: formula(spectrum, self._scene).mean(-1)
            for name, formula in _FORMULAS.items()
            if name != "asymmetry" or spectrum.mirrored is not None
        }


_FORMULAS: dict[str, Callable[[Spectrum, Scene], torch.Tensor]] = TERMS | RULES


def _sum(parts: Iterator[torch.Tensor]) -> torch.Tensor:
    total = next(parts)
    for part in parts:
        total = total + part
    return total

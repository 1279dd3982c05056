"""What a step on spectra keeps in memory: light curves above all, and what is computed from them.

Sizes are bytes. A batch of light curves is there whole, on the device, while its micro-batches are
computed; all else that has a frames axis is reduced to a few phases at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.config import RunConfig
from trainer.footprint.activations import WIDE
from trainer.spectral_config import CLOCK, PHASES, SpectralConfig
from trainer.tasks.ariel.sample import Layout

BLOCK = 12
"""Arrays (rows, dim) that a block keeps: its norm's, the hidden layer's twice as wide before and
after gelu, its result."""
JUDGED = 12
"""Arrays (rows, wavelengths) between the answers and the loss."""
ON_THE_WAY = 6
"""Arrays (rows, phases, wavelengths) while the gradient reaches the pooling: what is kept of it, and
the gradients before and after each function."""


@dataclass(frozen=True)
class Read:
    """What is read at once.

    Args:
        model: What reads.
        layout: Of a row.
        batch: Rows that are on the device.
        rows: Of them, those that are computed at once.
        mirrored: Whether each is also read backwards.
        casts: Whether products are computed in 2 bytes.
    """

    model: SpectralConfig
    layout: Layout
    batch: int
    rows: int
    mirrored: bool
    casts: bool

    @property
    def inputs(self) -> int:
        """The batch and its true spectra."""
        return WIDE * self.batch * (self.layout.size + self.layout.wavelengths)

    @property
    def backwards(self) -> int:
        """The rows whose time runs backwards, kept for the backward pass."""
        return WIDE * self.rows * self.layout.size if self.mirrored else 0

    @property
    def turning(self) -> int:
        """Light curves on their way there."""
        frames, wavelengths = self.layout.frames, self.layout.wavelengths
        return WIDE * self.rows * frames * (wavelengths + 1) if self.mirrored else 0

    @property
    def kept(self) -> int:
        """What the model keeps of its passes."""
        dim, frames, wavelengths = self.model.dim, self.layout.frames, self.layout.wavelengths
        narrow = WIDE // 2 if self.casts else 0
        attention = frames * (CLOCK + PHASES)
        phases = 2 * PHASES * wavelengths + PHASES * dim
        vectors = (BLOCK * 2 * self.model.n_layers + 8) * dim + 3 * wavelengths
        row = WIDE * (attention + phases + vectors) + narrow * (
            frames * CLOCK + PHASES * wavelengths
        )
        return (2 if self.mirrored else 1) * self.rows * row

    @property
    def late(self) -> int:
        """What is there while the gradient reaches the pooling, of one way through the model."""
        frames, wavelengths = self.layout.frames, self.layout.wavelengths
        row = frames * (CLOCK + PHASES) + ON_THE_WAY * PHASES * wavelengths
        return WIDE * self.rows * row

    @property
    def judged(self) -> int:
        """What stands between the answers and the loss."""
        return WIDE * self.rows * JUDGED * self.layout.wavelengths


def reading(config: RunConfig, wavelengths: int, batch: int, rows: int) -> Read:
    """Return what a training step of a config reads."""
    assert isinstance(config.model, SpectralConfig)
    return Read(
        config.model,
        Layout(config.seq_len, wavelengths),
        batch,
        rows,
        mirrored=config.loss.composite.asymmetry.weight > 0,
        casts=config.tier.precision != "fp32",
    )

"""What learns: `build_model` makes the network of a config, weights drawn from its seed.

A model is one file and one entry in `build_model`. Layers are rank-agnostic: they index from
the right, so that one `forward` serves (batch, …) and (member, batch, …).
"""

from __future__ import annotations

import torch

from trainer.config import DecoderConfig, QuadraticMLPConfig, RunConfig
from trainer.models.decoder import Decoder
from trainer.models.quadratic import QuadraticMLP
from trainer.models.spectral import Spectral
from trainer.seeds import Stream, torch_generator
from trainer.spectral_config import SpectralConfig


def build_model(config: RunConfig, vocab_size: int) -> torch.nn.Module:
    """Build the model on the CPU, so that every device starts from the same weights.

    Args:
        config: The run config.
        vocab_size: Input symbols and logits, from the task; of spectra, wavelengths.
    """
    draw = torch_generator(config.training.seed, Stream.INIT)
    if isinstance(config.model, DecoderConfig):
        return Decoder(config.model, config.tier, vocab_size, config.seq_len, draw)
    if isinstance(config.model, SpectralConfig):
        return Spectral(config.model, vocab_size, config.seq_len, draw)
    assert isinstance(config.model, QuadraticMLPConfig)
    return QuadraticMLP(config.model, vocab_size, draw)

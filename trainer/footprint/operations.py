"""How many floating-point operations a step takes."""

from __future__ import annotations

from trainer.config import DecoderConfig, RunConfig
from trainer.footprint.parameters import parameter_count, spectral_matrices
from trainer.spectral_config import PHASES, SpectralConfig


def step_flops(config: RunConfig, vocab_size: int, tokens_per_step: int) -> float:
    """Estimate the operations of one optimizer step: 6 per parameter and token, plus attention.

    6N is Kaplan et al. 2020 (arXiv 2001.08361); attention adds 12 · layers · dim · time per
    token. Embedding tables are looked up, not multiplied, so they do not count.
    """
    model = config.model
    if isinstance(model, SpectralConfig):
        return _spectral(config, model, vocab_size) * tokens_per_step / config.seq_len
    weights = parameter_count(config, vocab_size)
    if not isinstance(model, DecoderConfig):
        return 6.0 * (vocab_size - 1) * model.dim * tokens_per_step / 3
    if not model.tie_embeddings:
        weights -= vocab_size * model.dim
    attention = 12 * model.n_layers * model.dim * config.seq_len
    return (6.0 * weights + attention) * tokens_per_step


def _spectral(config: RunConfig, model: SpectralConfig, wavelengths: int) -> float:
    """Return the operations of a step for one visit: 6 per weight and use, and the pooling.

    A light curve is pooled into its phases, of which only the attention has a gradient.
    """
    uses = {"query": config.seq_len, "airs": PHASES}
    weights = sum(
        n * uses.get(name, 1) for name, n in spectral_matrices(model, wavelengths).items()
    )
    pooling = 4 * PHASES * config.seq_len * wavelengths
    passes = 2 if config.loss.composite.asymmetry.weight else 1
    return float(passes * (6 * weights + pooling))

"""How many parameters a config trains."""

from __future__ import annotations

from trainer.config import DecoderConfig, RunConfig
from trainer.spectral_config import ANSWERS, CLOCK, PHASES, SpectralConfig
from trainer.tasks.ariel.sample import FEATURES


def parameter_count(config: RunConfig, vocab_size: int) -> int:
    """Return the number of trained parameters, as `build_model` makes them.

    Args:
        config: The run config.
        vocab_size: Input symbols, from `trainer.tasks.vocab_size`; of spectra, wavelengths.
    """
    model = config.model
    if isinstance(model, SpectralConfig):
        return sum(spectral_matrices(model, vocab_size).values())
    if not isinstance(model, DecoderConfig):
        return 3 * (vocab_size - 1) * model.dim
    dim = model.dim
    ffn = (3 if model.ffn == "swiglu" else 2) * dim * model.inner_dim
    norm = 0 if model.norm_type == "none" else dim
    block = 4 * dim * dim + ffn + 2 * norm
    total = model.n_layers * block + vocab_size * dim
    if not model.tie_embeddings:
        total += vocab_size * dim
    if model.position == "learned":
        total += config.seq_len * dim
    if model.norm_type in ("rmsnorm", "layernorm"):
        total += norm  # the last norm; deepnorm has none
    return total


def spectral_matrices(model: SpectralConfig, wavelengths: int) -> dict[str, int]:
    """Return the weights of each matrix of a `spectral` model, the blocks' together."""
    dim, airs = model.dim, wavelengths - 1
    return {
        "query": CLOCK * PHASES,
        "fgs1": PHASES * dim,
        "airs": airs * dim,
        "shape": airs * dim,
        "noise": airs * dim,
        "phases": PHASES * dim * dim,
        "system": len(FEATURES) * dim,
        "blocks": 2 * model.n_layers * 4 * dim * dim,
        "fusion": 3 * dim * dim,
        "readout": ANSWERS * wavelengths * dim,
    }


def vocabulary_of(config: RunConfig, parameters: int) -> int:
    """Return the input symbols with which a config has so many parameters, without its data."""
    few, one_more = parameter_count(config, 2), parameter_count(config, 3)
    return max(2, 2 + (parameters - few) // (one_more - few))

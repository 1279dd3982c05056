"""What a config costs, without building it: parameters and floating-point operations."""

from __future__ import annotations

from trainer.config import DecoderConfig, RunConfig


def parameter_count(config: RunConfig, vocab_size: int) -> int:
    """Return the number of trained parameters, as `build_model` makes them.

    Args:
        config: The run config.
        vocab_size: Input symbols, from `trainer.tasks.vocab_size`.
    """
    model = config.model
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


def step_flops(config: RunConfig, vocab_size: int, tokens_per_step: int) -> float:
    """Estimate the operations of one optimizer step: 6 per parameter and token, plus attention.

    6N is Kaplan et al. 2020 (arXiv 2001.08361); attention adds 12 · layers · dim · time per
    token. Embedding tables are looked up, not multiplied, so they do not count.
    """
    model = config.model
    weights = parameter_count(config, vocab_size)
    if not isinstance(model, DecoderConfig):
        return 6.0 * (vocab_size - 1) * model.dim * tokens_per_step / 3
    if not model.tie_embeddings:
        weights -= vocab_size * model.dim
    attention = 12 * model.n_layers * model.dim * config.seq_len
    return (6.0 * weights + attention) * tokens_per_step

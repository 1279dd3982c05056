"""What other programs call our settings and tables: the hint of a refusal, never read as them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from orchestrator.errors import nearest

SETTINGS: Mapping[str, str] = {
    "model.dim": "hidden_size hidden_dim d_model n_embd embed_dim width",
    "model.n_layers": "num_layers n_layer num_hidden_layers depth layers",
    "model.n_heads": "num_heads n_head num_attention_heads heads",
    "model.vocab_size": "vocabulary_size vocabulary n_vocab",
    "model.ffn": "activation hidden_act activation_function mlp_type",
    "model.ffn_dim": "ff_dim d_ff dim_feedforward mlp_dim ffn_hidden_size",
    "model.norm_type": "norm normalization norm_layer",
    "model.position": "pos_emb position_embedding positional_encoding",
    "model.rope_theta": "rope_base rotary_base theta",
    "model.dropout": "dropout_rate dropout_p resid_pdrop attn_dropout",
    "model.tie_embeddings": "tie_word_embeddings weight_tying tie_weights",
    "model.kind": "model_type architecture arch",
    "data.dataset_path": "dataset data_path train_file data_dir corpus",
    "data.tokenizer_path": "tokenizer_file tokenizer_name",
    "data.val_frac": "val_split valid_frac validation_split val_ratio",
    "training.seed": "random_seed rng_seed",
    "training.steps": "num_epochs max_epochs total_steps num_steps n_steps train_steps "
    "num_train_steps max_iters iterations",
    "training.batch_size": "global_batch_size effective_batch_size train_batch_size",
    "training.seq_len": "context_length block_size sequence_length max_length max_position_embeddings "
    "ctx_len",
    "training.learning_rate": "lr max_lr peak_lr base_lr",
    "training.schedule": "scheduler lr_schedule lr_scheduler lr_scheduler_type",
    "training.warmup_steps": "warmup warmup_ratio warmup_iters num_warmup_steps",
    "training.final_lr_frac": "min_lr min_lr_ratio lr_min final_lr",
    "training.weight_decay": "wd l2",
    "training.beta1": "adam_beta1",
    "training.beta2": "adam_beta2",
    "training.beta1 and training.beta2": "betas adam_betas",
    "training.eps": "epsilon adam_eps adam_epsilon",
    "training.grad_clip": "max_grad_norm gradient_clip gradient_clipping clip_grad gradient_clip_val "
    "grad_clip_norm clip_grad_norm grad_norm_clip",
    "training.eval_interval": "eval_every eval_steps val_interval val_every eval_freq evaluation_interval",
    "checkpoint.interval": "save_every save_interval save_steps ckpt_interval checkpoint_interval "
    "checkpoint_every",
    "checkpoint.keep": "keep_last keep_last_n save_total_limit max_checkpoints",
    "logging.log_interval": "log_every log_steps logging_steps log_freq",
    "logging.enable_tensorboard": "tensorboard use_tensorboard",
    "limits.wall_clock_minutes": "max_minutes time_limit timeout_minutes max_time",
    "tier.precision": "dtype torch_dtype amp use_amp bf16 fp16 autocast",
    "tier.micro_batch": "micro_batch_size per_device_batch_size microbatch per_device_train_batch_size "
    "device_batch_size",
    "tier.attention": "attn_implementation use_flash_attention use_flash_attn sdpa",
    "tier.activation_checkpointing": "grad_checkpointing use_checkpointing",
    "tier.device": "accelerator use_gpu use_cuda",
    "mode": "direction goal",
    "max_trials": "num_samples n_trials num_trials",
}
"""Our setting to its names elsewhere."""

TABLES: Mapping[str, str] = {
    "[space], and [search] for the method": "sweep tune hpo",
    "[space]": "search_space parameters params grid hyperparameters axes",
    "[search]": "sampler strategy method",
    "[objective]": "metric metrics goal",
    "name = … at the top of the file, and --seeds N": "experiment run project meta general metadata",
    "[training]": "train trainer optimizer optim optimization scheduler lr_scheduler schedule",
    "eval_interval and eval_tokens in [training]": "eval validation",
    "[model]": "architecture arch network transformer",
    "[data]": "dataset datasets tokenizer corpus dataloader",
    "[checkpoint]": "checkpointing checkpoints ckpt saving",
    "[logging]": "wandb tensorboard mlflow log tracking",
    "stop_when_generalised in [limits]": "grokking",
    "[limits]": "budget stopping early_stopping limit",
    "[tier], or --tier NAME": "system distributed device compute precision gpu runtime",
}
"""Our table, or where else it is said, to its names elsewhere."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` - did you mean X?` for a setting: what others call so, or the nearest known name."""
    ours = _SETTINGS.get(_plain(name))
    return f" - did you mean {ours}?" if ours else nearest(name, known)


def table_hint(name: str) -> str:
    """Return where what others write in a table is said, or an empty string."""
    return _TABLES.get(_plain(name), "")


def _plain(name: str) -> str:
    """Return a name without the signs in which `numLayers` and `num_layers` differ."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _by_name(table: Mapping[str, str]) -> dict[str, str]:
    return {_plain(name): ours for ours, names in table.items() for name in names.split()}


_SETTINGS, _TABLES = _by_name(SETTINGS), _by_name(TABLES)

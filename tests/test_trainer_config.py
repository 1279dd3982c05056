"""What a run config refuses, and how it says so."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from trainer import RunConfig
from trainer.config import DecoderConfig, QuadraticMLPConfig
from trainer.spectral_config import CompositeConfig

EPOCHS = [("training", "epochs"), ("training", "eval_epochs"), ("checkpoint", "epochs")]
NOT_NUMBERS: list[Any] = [True, False, "1", "1e-3", None, math.nan, math.inf, -math.inf, [1], {}]
OPTIONAL = {
    ("model", "vocab_size"),
    ("model", "ffn_dim"),
    ("training", "epochs"),
    ("training", "eval_epochs"),
    ("checkpoint", "epochs"),
    ("training", "seq_len"),
    ("training", "grad_clip"),
    ("training", "eval_tokens"),
    ("limits", "wall_clock_minutes"),
    ("limits", "max_gpu_memory_gib"),
    ("limits", "max_host_memory_gib"),
    ("limits", "stop_after_steps"),
    ("evaluation", "max_bits_per_byte"),
    ("evaluation", "max_perplexity"),
    ("evaluation", "min_accuracy"),
    ("evaluation", "min_probe_accuracy"),
    ("evaluation", "max_memorisation_gap"),
    ("tier", "micro_batch"),
    ("tier", "gpus"),
}
# Field: the smallest value that is accepted, the largest that is not. Whole numbers.
INTEGERS = {
    ("model", "n_layers"): (1, 0),
    ("model", "n_heads"): (1, 0),
    ("model", "vocab_size"): (2, 1),
    ("model", "ffn_dim"): (1, 0),
    ("training", "seed"): (0, -1),
    ("training", "steps"): (1, 0),
    ("training", "batch_size"): (1, 0),
    ("training", "seq_len"): (2, 1),
    ("training", "warmup_steps"): (0, -1),
    ("training", "eval_interval"): (1, 0),
    ("training", "eval_tokens"): (1, 0),
    ("checkpoint", "interval"): (1, 0),
    ("checkpoint", "keep"): (1, 0),
    ("logging", "log_interval"): (1, 0),
    ("limits", "stop_after_steps"): (1, 0),
    ("evaluation", "tokens"): (1, 0),
    ("evaluation", "prefixes"): (1, 0),
    ("evaluation", "prefix_tokens"): (1, 0),
    ("evaluation", "continuation_tokens"): (1, 0),
    ("evaluation", "windows"): (1, 0),
    ("tier", "micro_batch"): (1, 0),
    ("tier", "cpus"): (1, 0),
    ("tier", "workers"): (1, 0),
}
# Field: values at the edge that are accepted, values that are not.
REALS: dict[tuple[str, str], tuple[list[float], list[float]]] = {
    ("model", "rope_theta"): ([1e-9], [0.0, -1.0]),
    ("model", "dropout"): ([0.0, 0.99], [1.0, -0.1]),
    ("data", "train_frac"): ([1e-9, 0.94], [0.0, 1.0, -1.0]),
    ("data", "val_frac"): ([1e-9, 0.1], [0.0, 1.0, -1.0]),
    ("training", "learning_rate"): ([1e-12, 10.0], [0.0, -1e-3]),
    ("training", "final_lr_frac"): ([0.0, 1.0], [-0.1, 1.1]),
    ("training", "weight_decay"): ([0.0, 9.0], [-1.0]),
    ("training", "beta1"): ([0.0, 0.999], [1.0, -0.1]),
    ("training", "beta2"): ([0.0, 0.999], [1.0, -0.1]),
    ("training", "eps"): ([1e-30], [0.0, -1.0]),
    ("training", "grad_clip"): ([1e-9], [0.0, -1.0]),
    ("limits", "wall_clock_minutes"): ([1e-9], [0.0, -1.0]),
    ("limits", "max_gpu_memory_gib"): ([1e-9], [0.0, -1.0]),
    ("limits", "max_host_memory_gib"): ([1e-9], [0.0, -1.0]),
    ("evaluation", "time_budget_s"): ([1e-9], [0.0, -1.0]),
    ("evaluation", "max_bits_per_byte"): ([1e-9, 9.0], [0.0, -1.0]),
    ("evaluation", "max_perplexity"): ([1.0, 300.0], [0.9, -1.0]),
    ("evaluation", "min_accuracy"): ([0.0, 1.0], [-0.1, 1.1]),
    ("evaluation", "min_probe_accuracy"): ([0.0, 1.0], [-0.1, 1.1]),
    ("evaluation", "max_memorisation_gap"): ([-1.0, 1.0], [-1.1, 1.1]),
    ("tier", "gpus"): ([0.1, 1.0, 2.0], [0.0, -1.0, 1.5]),
}


ARIEL: dict[str, Any] = {"data": {"task": "ariel"}, "model": {"kind": "spectral"}}
TERMS = tuple(CompositeConfig.model_fields)
# Of spectra: dotted key, values at the edge that are accepted, values that are not.
SPECTRA: dict[str, tuple[list[float], list[float]]] = {
    "data.planets": ([5], [2, 4, 5.5]),
    "data.folds": ([3], [2, 3.0]),
    "data.fold": ([0, 4], [-1, 5]),
    "data.frames": ([8], [7]),
    "data.views": ([1], [0]),
    "model.dim": ([2], [1]),
    "model.n_layers": ([1], [0]),
    "model.dropout": ([0.0, 0.99], [1.0, -0.1]),
    "training.epochs": ([1], [0, 1.5]),
    "training.eval_epochs": ([1], [0]),
    "checkpoint.epochs": ([1], [0]),
    "loss.composite.gll.weight": ([0, 2.5], [-1.0]),
    "loss.composite.smoothness.weight": ([0.0], [-1.0]),
    "loss.composite.fft.weight": ([0.0], [-1.0]),
    "loss.composite.fft.cutoff_frac": ([0.5], [0.0, 1.0]),
    "loss.composite.nonnegativity.weight": ([0.0], [-1.0]),
    "loss.composite.asymmetry.weight": ([0.0], [-1.0]),
    "symbolic.molecular_fingerprint.weight": ([1.0], [0.0]),
    "symbolic.gravitational_lensing.weight": ([1.0], [0.0]),
}


def make(section: str, **values: Any) -> RunConfig:
    return RunConfig.model_validate({section: values})


def refusal(**sections: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(sections)
    return str(caught.value)


def bad_numbers(field: tuple[str, str]) -> list[Any]:
    return [x for x in NOT_NUMBERS if not (x is None and field in OPTIONAL)]


@pytest.mark.parametrize("field", INTEGERS, ids=".".join)
def test_whole_numbers_have_a_range_and_are_whole_numbers(field: tuple[str, str]) -> None:
    section, key = field
    smallest, too_small = INTEGERS[field]
    assert getattr(getattr(make(section, **{key: smallest}), section), key) == smallest
    for bad in [too_small, 1.5, 2.0, *bad_numbers(field)]:
        assert key in refusal(**{section: {key: bad}})


@pytest.mark.parametrize("field", REALS, ids=".".join)
def test_real_numbers_have_a_range_and_are_finite_numbers(field: tuple[str, str]) -> None:
    section, key = field
    accepted, refused = REALS[field]
    for value in accepted:
        assert getattr(getattr(make(section, **{key: value}), section), key) == value
    for bad in [*refused, *bad_numbers(field)]:
        assert (key if bad != 1.5 else "gpus") in refusal(**{section: {key: bad}})


@pytest.mark.parametrize("key", SPECTRA)
def test_numbers_of_spectra_have_a_range(key: str) -> None:
    def sections(value: Any) -> dict[str, Any]:
        made: dict[str, Any] = {"data": {"task": "ariel"}, "model": {"kind": "spectral"}}
        table, (*path, leaf) = made, key.split(".")
        for name in path:
            table = table.setdefault(name, {})
        table[leaf] = value
        return made

    accepted, refused = SPECTRA[key]
    for value in accepted:
        found: Any = RunConfig.model_validate(sections(value))
        for name in key.split("."):
            found = getattr(found, name)
        assert found == value
    for bad in [*refused, True, "1", math.nan, math.inf, {}]:
        assert key.rpartition(".")[2] in refusal(**sections(bad))


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"symbolic": {"molecular_fingerprint": {"enabled": True}}}, "task corpus has none"),
        ({"loss": {"composite": {"fft": {"weight": 1.0}}}}, "loss judges spectra"),
        ({"training": {"epochs": 3}}, "training.steps counts steps"),
        ({"checkpoint": {"epochs": 3}}, "checkpoint.interval counts steps"),
        ({"data": {"task": "ariel"}}, 'task ariel needs "spectral"'),
        ({"model": {"kind": "spectral"}}, 'task corpus needs "decoder"'),
        ({**ARIEL, "training": {"seq_len": 8}}, "a visit has data.frames frames"),
        ({**ARIEL, "training": {"batch_size": "full"}}, "needs task modular"),
        ({**ARIEL, "evaluation": {"probes": "kjv"}}, "task ariel has none"),
        (
            {**ARIEL, "loss": {"composite": {key: {"weight": 0.0} for key in TERMS}}},
            "a loss needs a term",
        ),
    ],
)
def test_spectra_and_texts_are_not_mixed(sections: dict[str, Any], expected: str) -> None:
    assert expected in refusal(**sections)


def test_every_number_is_covered_above() -> None:
    covered = set(INTEGERS) | set(REALS) | {("model", "dim")}  # dim: cross-field below
    covered |= set(EPOCHS)
    config = RunConfig()
    for section in RunConfig.model_fields:
        for key, field in type(getattr(config, section)).model_fields.items():
            if any(name in str(field.annotation) for name in ("int", "float")):
                assert (section, key) in covered


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("model", "tie_embeddings"),
        ("checkpoint", "enable"),
        ("logging", "enable_tensorboard"),
        ("logging", "track_grad_norms"),
        ("logging", "track_weight_norms"),
        ("limits", "stop_when_generalised"),
        ("tier", "activation_checkpointing"),
    ],
)
@pytest.mark.parametrize("bad", [0, 1, "true", "no", None])
def test_switches_are_true_or_false(section: str, key: str, bad: Any) -> None:
    assert key in refusal(**{section: {key: bad}})


@pytest.mark.parametrize(
    "section",
    ["model", "data", "training", "checkpoint", "logging", "limits", "evaluation", "tier"],
)
def test_unknown_keys_are_refused(section: str) -> None:
    text = refusal(**{section: {"learning_rte": 1}})
    assert "learning_rte" in text and section in text
    assert "trainng" in refusal(trainng={})


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"model": {"dim": 10, "n_heads": 4}}, "n_heads must divide dim: got n_heads 4 and dim 10"),
        ({"model": {"dim": 6, "n_heads": 2}}, "must be even: got 6 / 2 = 3"),
        ({"data": {"train_frac": 0.8, "val_frac": 0.3}}, "at most 1: got 0.8 + 0.3 = 1.1"),
        ({"data": {"tokenizer_path": "t.json"}}, 'tokenizer_path needs tokenizer "bpe"'),
        ({"data": {"dataset_path": ""}}, "dataset_path"),
        ({"data": {"tokenizer": "bpe"}}, "model.vocab_size is what the bpe tokenizer is trained"),
        ({"data": {"tokenizer": "words"}}, "'byte', 'char' or 'bpe'"),
        ({"data": {"task": "modular", "operation": "divide", "p": 91}}, "prime modulus: got p 91"),
        ({"data": {"task": "modular", "operation": "divide", "p": 9}}, "prime modulus: got p 9"),
        ({"data": {"task": "modular", "p": 2}}, "greater than or equal to 3"),
        ({"data": {"task": "modular", "dataset_path": "kjv"}}, "dataset_path"),
        ({"data": {"task": "modular"}, "training": {"seq_len": 4}}, "training.seq_len has no"),
        ({"data": {"task": "modular"}, "model": {"vocab_size": 9}}, "follows from data.p"),
        ({"data": {"task": "nothing"}}, "'corpus', 'modular'"),
        ({"model": {"kind": "quadratic_mlp"}}, 'task corpus needs "decoder"'),
        ({"model": {"kind": "quadratic_mlp", "n_layers": 1}}, "n_layers"),
        ({"model": {"kind": "mixer"}}, "'decoder', 'quadratic_mlp'"),
        ({"training": {"batch_size": "full"}}, '"full" needs task modular'),
        ({"training": {"batch_size": "half"}}, "'full'"),
        ({"training": {"steps": 5, "warmup_steps": 6}}, "got warmup_steps 6 and steps 5"),
        ({"limits": {"stop_when_generalised": True}}, "needs an accuracy that saturates"),
        ({"data": {"task": "modular"}, "evaluation": {"max_perplexity": 9.0}}, "judges a text"),
        ({"data": {"task": "modular"}, "evaluation": {"probes": "kjv"}}, "questions about a text"),
        ({"evaluation": {"probes": None, "min_probe_accuracy": 0.5}}, "needs probes"),
        ({"evaluation": {"probes": ""}}, "probes"),
        ({"tier": {"gpus": 2.5}}, "expected at most 1, or 2 or 3"),
        ({"tier": {"device": "cuda", "workers": 2}}, "gpus = 2 trains on as many GPUs"),
        ({"tier": {"workers": 2, "compile": "on"}}, "for a model in one process: got 2"),
        ({"tier": {"precision": "fp8"}}, "'fp32', 'bf16' or 'fp16'"),
    ],
)
def test_settings_that_do_not_fit_together(sections: dict[str, Any], expected: str) -> None:
    assert expected in refusal(**sections)


def test_edges_that_do_fit_together() -> None:
    make("data", train_frac=0.7, val_frac=0.3)  # 0.7 + 0.3 as floats
    make("training", steps=5, warmup_steps=5)
    make("model", dim=6, n_heads=2, position="learned")
    make("data", task="modular", operation="divide", p=97)
    make("data", task="modular", operation="multiply", p=91)
    RunConfig.model_validate({"data": {"tokenizer": "bpe", "tokenizer_path": "t.json"}})
    RunConfig.model_validate({"data": {"tokenizer": "bpe"}, "model": {"vocab_size": 300}})


def test_all_errors_come_at_once() -> None:
    text = refusal(model={"n_layers": 0}, training={"steps": 0, "lr": 1}, tier={"cpus": 0})
    assert all(name in text for name in ("n_layers", "steps", "lr", "cpus"))


def test_variants_have_defaults() -> None:
    assert isinstance(RunConfig().model, DecoderConfig)
    assert make("model", dim=64).model == DecoderConfig(dim=64)
    assert make("data", train_frac=0.5).data.task == "corpus"
    both = RunConfig.model_validate(
        {"model": {"kind": "quadratic_mlp"}, "data": {"task": "modular"}}
    )
    assert both.model == QuadraticMLPConfig()
    assert (both.seq_len, RunConfig().seq_len, make("training", seq_len=9).seq_len) == (3, 256, 9)
    assert (DecoderConfig(dim=8).inner_dim, DecoderConfig(dim=8, ffn_dim=5).inner_dim) == (32, 5)


def test_it_survives_its_own_json() -> None:
    config = RunConfig.model_validate(
        {"model": {"kind": "quadratic_mlp"}, "data": {"task": "modular"}, "tier": {"gpus": 2}}
    )
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("section", [None, *RunConfig.model_fields])
def test_it_is_frozen(section: str | None) -> None:
    config: Any = RunConfig()
    target = config if section is None else getattr(config, section)
    key = next(iter(type(target).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(target, key, getattr(target, key))

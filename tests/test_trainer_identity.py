"""Which changes make another trial."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import trainer_help as help
from trainer import RunConfig
from trainer.config import TEXT_GATES
from trainer.identity import deciding_settings, fingerprint, point_id, trial_id
from trainer.tasks import data_hash

BASE: dict[str, dict[str, Any]] = {
    "model": {"kind": "decoder", "dim": 64, "n_heads": 4},
    "data": {"task": "modular", "p": 97},
    "training": {"steps": 100, "learning_rate": 1e-3, "weight_decay": 1.0},
}
ARIEL: dict[str, dict[str, Any]] = {"data": {"task": "ariel"}, "model": {"kind": "spectral"}}
BPE: dict[str, dict[str, Any]] = {
    "model": {"vocab_size": 300},
    "data": {"tokenizer": "bpe"},
}

DECIDES: dict[str, dict[str, Any]] = {
    "model": {
        "kind": "quadratic_mlp",
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "vocab_size": 301,
        "ffn": "relu",
        "ffn_dim": 7,
        "norm_type": "none",
        "position": "learned",
        "rope_theta": 500.0,
        "dropout": 0.1,
        "tie_embeddings": True,
    },
    "data": {
        "task": "modular",
        "operation": "multiply",
        "p": 89,
        "train_frac": 0.4,
        "val_frac": 0.01,
        "tokenizer": "char",
    },
    "training": {
        "seed": 1,
        "steps": 101,
        "batch_size": 17,
        "seq_len": 128,
        "learning_rate": 2e-3,
        "schedule": "linear",
        "warmup_steps": 1,
        "final_lr_frac": 0.2,
        "weight_decay": 0.5,
        "beta1": 0.8,
        "beta2": 0.98,
        "eps": 1e-9,
        "grad_clip": None,
        "eval_interval": 10,
        "eval_tokens": None,
    },
}
DOES_NOT_DECIDE: dict[str, dict[str, Any]] = {
    "model": {"name": "small"},
    "checkpoint": {"enable": False, "interval": 3, "keep": 1},
    "logging": {
        "log_interval": 1,
        "enable_tensorboard": False,
        "track_grad_norms": True,
        "track_weight_norms": True,
    },
    "limits": {
        "wall_clock_minutes": 1.0,
        "max_gpu_memory_gib": 1.0,
        "max_host_memory_gib": 1.0,
        "stop_after_steps": 1,
        "stop_when_generalised": True,
    },
    "evaluation": {
        "time_budget_s": 1.0,
        "tokens": 9,
        "prefixes": 9,
        "prefix_tokens": 9,
        "continuation_tokens": 9,
        "windows": 9,
        "probes": None,
        "max_bits_per_byte": 9.0,
        "max_perplexity": 9.0,
        "min_accuracy": 0.5,
        "min_probe_accuracy": 0.5,
        "max_memorisation_gap": 0.5,
    },
    "tier": {
        "name": "gpu",
        "device": "cuda",
        "micro_batch": 1,
        "precision": "bf16",
        "attention": "math",
        "tf32": True,
        "activation_checkpointing": "selective",
        "compile": "on",
        "cpus": 2,
        "workers": 2,
        "gpus": 2.0,
    },
}
BY_CONTENT = {"dataset_path", "tokenizer_path"}


def make(base: dict[str, dict[str, Any]], **sections: dict[str, Any]) -> RunConfig:
    names = base.keys() | sections.keys()
    return RunConfig.model_validate({n: base.get(n, {}) | sections.get(n, {}) for n in names})


def identify(config: RunConfig) -> str:
    return trial_id(config, "data")


def pairs(table: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    return [(section, key) for section, keys in table.items() for key in keys]


@pytest.mark.parametrize(("section", "key"), pairs(DECIDES))
def test_a_setting_that_decides_the_result_changes_the_id(section: str, key: str) -> None:
    change = {section: {key: DECIDES[section][key]}}
    on_corpus = key in {"vocab_size", "val_frac", "seq_len"} or (section, key) == (
        "data",
        "tokenizer",
    )
    if key in {"kind", "task"}:
        before = make({}, model={"kind": "decoder"}, data={"task": "modular"})
        after = make({}, **{"model": {}, "data": {"task": "modular"}} | change)
        if key == "task":
            before = RunConfig()
    else:
        base = BPE if on_corpus else BASE
        before, after = make(base), make(base, **change)
    assert identify(before) != identify(after)


@pytest.mark.parametrize(("section", "key"), pairs(DOES_NOT_DECIDE))
def test_a_setting_that_only_executes_or_watches_keeps_the_id(section: str, key: str) -> None:
    base = BPE if key in TEXT_GATES else BASE
    after = make(base, **{section: {key: DOES_NOT_DECIDE[section][key]}})
    assert after != make(base)
    assert identify(after) == identify(make(base))


def test_every_setting_is_covered_above() -> None:
    covered = set(pairs(DECIDES)) | set(pairs(DOES_NOT_DECIDE))
    covered |= {("data", key) for key in BY_CONTENT}
    modular, text = make(BASE), RunConfig()
    for config in (modular, text):
        for section in RunConfig.model_fields:
            for key in type(getattr(config, section)).model_fields:
                in_other_tests = section in ("loss", "symbolic") or "epochs" in key
                assert (section, key) in covered or in_other_tests


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("loss", {"composite": {"smoothness": {"weight": 0.2}}}),
        ("loss", {"composite": {"fft": {"cutoff_frac": 0.5}}}),
        ("symbolic", {"molecular_fingerprint": {"enabled": True}}),
        ("data", {"fold": 1}),
        ("data", {"views": 1}),
        ("data", {"edition": "2024"}),
        ("model", {"predicts": "spectrum"}),
    ],
)
def test_what_decides_a_spectrum_changes_the_id(section: str, values: dict[str, Any]) -> None:
    assert identify(make(ARIEL)) != identify(make(ARIEL, **{section: values}))


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("symbolic", {"molecular_fingerprint": {"weight": 0.5}}),
        ("data", {"memory_map": True}),
        ("model", {"name": "other"}),
    ],
)
def test_what_a_spectrum_does_not_depend_on_keeps_the_id(
    section: str, values: dict[str, Any]
) -> None:
    assert make(ARIEL) != make(ARIEL, **{section: values})
    assert identify(make(ARIEL)) == identify(make(ARIEL, **{section: values}))


@given(st.permutations([(s, k) for s, keys in BASE.items() for k in keys]))
def test_the_order_of_keys_does_not_matter(order: list[tuple[str, str]]) -> None:
    shuffled: dict[str, dict[str, Any]] = {}
    for section, key in order:
        shuffled.setdefault(section, {})[key] = BASE[section][key]
    assert identify(RunConfig.model_validate(shuffled)) == identify(make(BASE))


@given(st.floats(1e-12, 1e3), st.integers(0, 1000))
def test_the_spelling_of_a_number_does_not_matter(rate: float, decay: int) -> None:
    spelled = [f"{rate!r}", f"{rate:.17e}", f"{rate:.40f}"]
    ids = {
        identify(make(BASE, training={"learning_rate": float(text), "weight_decay": kind(decay)}))
        for text in spelled[:2] + ([spelled[2]] if float(spelled[2]) == rate else [])
        for kind in (int, float)
    }
    assert len(ids) == 1


@given(st.floats(1e-9, 1e3), st.floats(1e-9, 1e3))
def test_different_numbers_differ(one: float, other: float) -> None:
    ids = {identify(make(BASE, training={"learning_rate": x})) for x in (one, other)}
    assert len(ids) == len({one, other})


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0E-03", "0.0010"])
def test_toml_spellings(text: str) -> None:
    rate = tomllib.loads(f"x = {text}")["x"]
    assert identify(make(BASE, training={"learning_rate": rate})) == identify(make(BASE))


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({"model": {}}, {"model": {"ffn_dim": 512}}),
        ({"model": {"dim": 64}}, {"model": {"ffn_dim": 256}}),
        ({"training": {}}, {"training": {"seq_len": 256}}),
        ({"data": {"tokenizer": "byte"}}, {"model": {"vocab_size": 256}}),
        ({"model": {"position": "learned"}}, {"model": {"rope_theta": 500.0}}),
        ({"training": {"schedule": "constant"}}, {"training": {"final_lr_frac": 0.5}}),
    ],
    ids=lambda sections: " ".join(
        f"{k}={v}" for keys in sections.values() for k, v in keys.items()
    ),
)
def test_a_setting_that_changes_nothing_keeps_the_id(
    settings: dict[str, dict[str, Any]], idle: dict[str, dict[str, Any]]
) -> None:
    plain = make(settings)
    spelled = make(settings, **idle)
    assert spelled != plain
    assert identify(spelled) == identify(plain)
    assert point_id(spelled, "data") == point_id(plain, "data")


def test_content_decides_and_path_does_not(tmp_path: Path) -> None:
    ids = []
    for name, content in (("one", "some text"), ("two", "some text"), ("three", "other text")):
        (tmp_path / name).mkdir()
        config = help.corpus(help.write_text(tmp_path / name, content))
        ids.append(trial_id(config, data_hash(config)))
    assert ids[0] == ids[1] != ids[2]


def test_the_content_of_a_tokenizer_file_decides_and_its_path_does_not(tmp_path: Path) -> None:
    text, ids = help.write_text(tmp_path), []
    for name, content in (("a.json", "{}"), ("b.json", "{}"), ("c.json", "{ }")):
        (tmp_path / name).write_text(content)
        data = {"tokenizer": "bpe", "tokenizer_path": str(tmp_path / name)}
        config = help.corpus(text, data=data)
        ids.append(trial_id(config, data_hash(config)))
    assert ids[0] == ids[1] != ids[2]


def test_seeds_of_a_point_share_the_point_id() -> None:
    points = [make(BASE, training={"seed": seed}) for seed in (0, 1)]
    assert len({point_id(point, "data") for point in points}) == 1
    assert point_id(points[0], "data") != point_id(points[0], "other")
    other = make(BASE, training={"seed": 0, "steps": 7})
    assert point_id(other, "data") != point_id(points[0], "data")


def test_the_id_does_not_move_between_versions() -> None:
    """Written down once: a run directory of last month must be found again.

    It moves with `CODE_VERSION`, and with a setting that is added: then every trial is new.
    """
    assert identify(make(BASE)) == "5efb4f083a"
    assert trial_id(make(BPE), "data") == "81b17a5ae6"


def test_a_fingerprint_is_the_hash_of_canonical_json() -> None:
    assert fingerprint({"b": 1, "a": [1.5, None]}) == fingerprint({"a": [1.5, None], "b": 1})
    assert fingerprint([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
    with pytest.raises(ValueError, match="JSON compliant"):
        fingerprint(float("nan"))
    assert json.dumps(deciding_settings(RunConfig()))

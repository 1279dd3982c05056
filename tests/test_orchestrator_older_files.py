"""Whole files of earlier programs, as a stranger would bring them: what is read, what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.familiar import SETTINGS
from orchestrator.hardware import Hardware
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request
from orchestrator.settings import setting_keys
from orchestrator.spellings import SPELLINGS

CPU = Hardware(cpus=2)
GPU = Hardware(cpus=2, gpus=(24.0,))


def planned(folder: Path, text: str, *overrides: str, name: str = "old.toml", **asked: Any) -> Plan:
    (folder / name).write_bytes(text.encode())
    request = Request(base_config=folder / name, overrides=overrides, **asked)
    return make_plan(request, CPU)


def refused(folder: Path, text: str, *overrides: str, **asked: Any) -> list[str]:
    with pytest.raises(UsageError) as caught:
        planned(folder, text, *overrides, **asked)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def settings(plan: Plan) -> dict[str, Any]:
    (trial,) = plan.trials
    dumped = trial.config.model_dump()
    return {f"{section}.{key}": v for section, keys in dumped.items() for key, v in keys.items()}


GENESIS = """\
name = "genesis"
[model]
name = "theos_small"
dim = 64
n_layers = 2
n_heads = 4
norm_type = "RMSNorm"
rope_theta = 10000
intermediate_size = 128
max_seq_len = 64
bias = false
[data]
dataset_path = "kjv"
shuffle = true
num_workers = 0
[training]
batch_size = 8
learning_rate = 1e-3
weight_decay = 0
max_steps = 20
warmup_steps = 2
optimizer = "AdamW"
compile = false
flash_attention = true
grad_clip = 0.0
eval_interval = 5
mixed_precision = "bfloat16"
gradient_checkpointing = true
grad_accum_steps = 4
[checkpoint]
enable = true
interval = 10
export_format = "safetensors"
[logging]
log_interval = 5
enable_tensorboard = false
wandb = false
track_grad_norms = true
track_weight_norms = true
[parallelism]
fsdp = false
[masking]
enabled = false
ratio = 0.15
[hardware]
activation_checkpointing = true
tier = "auto"
"""
MEANS = {
    "model.norm_type": "rmsnorm",
    "model.ffn_dim": 128,
    "training.seq_len": 64,
    "training.steps": 20,
    "training.grad_clip": None,
    "training.weight_decay": 0,
    "tier.precision": "bf16",
    "tier.activation_checkpointing": "full",
    "tier.micro_batch": 2,
    "tier.attention": "auto",
    "checkpoint.interval": 10,
    "logging.track_grad_norms": True,
    "logging.track_weight_norms": True,
}


@pytest.mark.parametrize(
    "text",
    [
        GENESIS,
        GENESIS.replace("\n", "\r\n"),
        "\ufeff" + GENESIS,
        "# " + "x" * 500_000 + "\n" + GENESIS,
        GENESIS.replace("max_steps", '"max_steps"').replace("[model]", "[ model ]"),
    ],
    ids=["plain", "crlf", "bom", "long", "quoted"],
)
def test_a_whole_file_takes_effect_and_says_what_it_was_read_as(tmp_path: Path, text: str) -> None:
    plan = planned(tmp_path, text)
    assert MEANS.items() <= settings(plan).items()
    said = [note.split(": ", 1)[1] for note in plan.notes]
    for expected in (
        "model.max_seq_len = 64 is read as training.seq_len = 64",
        "training.grad_clip = 0.0 is read as training.grad_clip = none",
        'training.mixed_precision = "bfloat16" is read as tier.precision = "bf16"',
        "training.grad_accum_steps = 4 is read as tier.micro_batch = 2",
        'training.optimizer = "AdamW" changes nothing here',
        "masking.ratio = 0.15 changes nothing here",
        "data.shuffle = true changes nothing here",
    ):
        assert expected in said


def test_the_snapshot_has_our_names_and_plans_the_same_trial(tmp_path: Path) -> None:
    import yaml

    plan = planned(tmp_path, GENESIS)
    snapshot = yaml.safe_dump(plan.trials[0].config.model_dump(mode="json"))
    assert not {f"{name}:" for name in SPELLINGS if name not in str(setting_keys())} & set(
        snapshot.split()
    )
    again = planned(tmp_path, snapshot, name="config.yaml")
    assert [t.id for t in again.trials] == [t.id for t in plan.trials]
    assert settings(again) == settings(plan)


@pytest.mark.parametrize("section", ["model", "training"])
@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ("precision", "mixed_precision", '"bf16"'),
        ("gradient_checkpointing", "activation_checkpointing", "true"),
        ("seq_len", "max_seq_len", "32"),
        ("steps", "max_steps", "7"),
        ("gradient_accumulation_steps", "grad_accum_steps", "4"),
        ("intermediate_size", "ffn_dim", "48"),
    ],
)
def test_a_pair_of_spellings_is_one_setting_wherever_it_stands(
    tmp_path: Path, section: str, one: str, other: str, value: str
) -> None:
    plans = [
        planned(tmp_path, f"[{section}]\n{one} = {value}\n"),
        planned(tmp_path, f"[{section}]\n{other} = {value}\n"),
        planned(tmp_path, "", f"{one}={value}"),
        planned(tmp_path, "", f"{section}.{other}={value}"),
    ]
    assert len({str(settings(plan)) for plan in plans}) == 1
    assert settings(plans[0]) != settings(planned(tmp_path, ""))


def test_a_yaml_file_is_read_as_a_toml_file_is(tmp_path: Path) -> None:
    text = "model:\n  intermediate_size: 48\ntraining:\n  learning_rate: 3e-4\n  max_steps: 7\n"
    found = settings(planned(tmp_path, text, name="old.yaml"))
    assert (found["model.ffn_dim"], found["training.learning_rate"]) == (48, 3e-4)
    assert found["training.steps"] == 7


def test_none_is_written_where_there_is_no_word_for_it(tmp_path: Path) -> None:
    text = "[training]\ngrad_clip = false\nseq_len = 'none'\neval_tokens = 'None'\n"
    found = settings(planned(tmp_path, text + "[model]\nffn_dim = 'null'\nnorm_type = 'none'\n"))
    assert [found[f"training.{key}"] for key in ("grad_clip", "seq_len", "eval_tokens")] == [
        None
    ] * 3
    assert (found["model.ffn_dim"], found["model.norm_type"]) == (None, "none")
    assert refused(tmp_path, "[training]\nsteps = 'none'\n") == [
        "old.toml:2: training.steps: got 'none', expected a whole number"
    ]


def test_a_tier_that_a_file_names_is_that_tier(tmp_path: Path) -> None:
    assert refused(tmp_path, "[tier]\nname = 'low_vram'\n") == [
        "old.toml:2: tier low_vram needs a GPU: none is in use here\n"
        "  hint: --tier cpu trains on the CPU"
    ]
    (tmp_path / "old.toml").write_text("[tier]\nname = 'low_vram'\ncpus = 2\n")
    tier = make_plan(Request(base_config=tmp_path / "old.toml"), GPU).trials[0].config.tier
    assert (tier.name, tier.precision, tier.micro_batch, tier.cpus) == ("low_vram", "fp16", 1, 2)


FOREIGN = """\
[experiment]
name = "x"
[model]
hidden_size = 256
numLayers = 4
N_HEADS = 8
bias = true
attention.heads = 4
[training]
lr = 3e-4
max_grad_norm = 1.0
betas = [0.9, 0.95]
num_epochs = 3
optimizer = "Lion"
steps = 2024-01-01
batch_size = 0
precision = true
[training.scheduler]
warmup_steps = 3
[checkpoint]
dir = "ckpt"
save_every = 10
[parallelism]
tensor_parallel = 8
[hardware]
gpus = 4
[sweep]
lr = [1]
"""


def test_all_that_is_foreign_is_said_at_once_with_our_name_for_it(tmp_path: Path) -> None:
    found = refused(tmp_path, FOREIGN)
    expected = {
        1: ("unknown table [experiment]", "hint: name = … at the top of the file"),
        4: ("unknown key model.hidden_size - did you mean model.dim?", ""),
        5: ("unknown key model.numLayers - did you mean model.n_layers?", ""),
        6: ("unknown key model.N_HEADS - did you mean n_heads?", ""),
        7: ("model.bias: got true, which is not supported", "hint: bias = false"),
        8: ("unknown key model.attention.heads - did you mean model.n_heads?", ""),
        10: ("unknown key training.lr - did you mean training.learning_rate?", ""),
        11: ("unknown key training.max_grad_norm - did you mean training.grad_clip?", ""),
        12: ("unknown key training.betas - did you mean training.beta1 and training.beta2?", ""),
        13: ("unknown key training.num_epochs - did you mean training.steps?", ""),
        14: ('training.optimizer: got "Lion", which is not supported', 'hint: optimizer = "adamw"'),
        15: ("training.steps: got 2024-01-01, expected a whole number", ""),
        16: ("training.batch_size: got 0, expected at least 1 or 'full'", ""),
        17: ("training.precision: got true, which may mean bf16 or fp16", "hint: precision = "),
        19: (
            "unknown key training.scheduler.warmup_steps",
            "hint: here it is training.warmup_steps",
        ),
        21: ('checkpoint.dir: got "ckpt", which is not supported', "hint: leave it out"),
        22: ("unknown key checkpoint.save_every - did you mean checkpoint.interval?", ""),
        24: ("parallelism.tensor_parallel: got 8, which is not supported", "hint: leave it out"),
        26: ("hardware.gpus: got 4, which is not supported", "hint: leave it out; --gpus N"),
        27: ("unknown table [sweep]", "hint: [space], and [search] for the method"),
    }
    assert len(found) == len(expected)
    for line, (message, hint) in expected.items():
        (problem,) = [text for text in found if text.startswith(f"old.toml:{line}: ")]
        assert problem.startswith(f"old.toml:{line}: {message}")
        assert hint in problem


def test_a_setting_without_a_table_is_told_its_table(tmp_path: Path) -> None:
    assert refused(tmp_path, "dim = 64\nmax_steps = 3\noptimizer = 'sgd'\nlr = 1\n") == [
        "old.toml:1: dim stands in no table, it is model.dim\n  hint: [model] dim = …",
        "old.toml:2: max_steps stands in no table, it is training.steps\n"
        "  hint: [training] steps = …",
        "old.toml:3: optimizer: got 'sgd', which is not supported: AdamW is the only optimizer\n"
        '  hint: optimizer = "adamw"; weight_decay = 0 makes it Adam',
        "old.toml:4: unknown key lr - did you mean training.learning_rate?\n"
        "  hint: known: model, data, training, loss, symbolic, checkpoint, logging, limits,"
        " evaluation, tier, name, description",
    ]


def test_what_changes_nothing_is_told_to_go_where_it_stands_in_no_table(tmp_path: Path) -> None:
    assert refused(tmp_path, "bias = false\nfsdp = 4\n") == [
        "old.toml:1: bias stands in no table, and changes nothing here\n  hint: leave it out",
        "old.toml:2: fsdp: got 4, which is not supported: how many GPUs train one model is a setting"
        " of the tier\n  hint: tier.gpus = N in its place, N GPUs for each trial; the model is sharded"
        " over them",
    ]


def test_foreign_names_are_told_ours_on_the_command_line_and_on_an_axis(tmp_path: Path) -> None:
    assert refused(tmp_path, "", "lr=1", "model.hidden_size=3", "d_model=1,2") == [
        "command line: unknown setting lr - did you mean training.learning_rate?",
        "command line: unknown setting model.hidden_size - did you mean model.dim?",
        "command line: unknown setting d_model - did you mean model.dim?",
    ]


def test_the_names_that_are_told_exist_and_are_not_themselves_ours() -> None:
    ours = {key.rpartition(".")[2] for key in setting_keys()} | SPELLINGS.keys()
    for key, names in SETTINGS.items():
        assert set(key.split(" and ")) <= {*setting_keys(), "mode", "max_trials"}
        assert not set(names.split()) & ours


def test_a_placeholder_for_accumulation_is_refused_as_one(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "[training]\ngrad_accum_steps = {{ACCUM}}\n")
    assert problem == (
        "old.toml:2: training.grad_accum_steps: got the placeholder {{ACCUM}}, expected a value\n"
        "  hint: tier.micro_batch takes one, or grad_accum_steps=… on the command line"
    )


def test_a_vocabulary_that_bytes_cannot_use_is_told(tmp_path: Path) -> None:
    said = 'model.vocab_size = 512: data.tokenizer = "byte" uses 256 of them'
    text = "[model]\nvocab_size = 512\n"
    assert any(note.startswith(said) for note in planned(tmp_path, text).notes)
    for override in ("model.vocab_size=256", "data.tokenizer=bpe"):
        assert not any("uses 256" in note for note in planned(tmp_path, text, override).notes)


def test_a_precision_that_the_chosen_tier_replaces_is_told(tmp_path: Path) -> None:
    text = '[training]\nmixed_precision = "fp16"\n'
    plan = planned(tmp_path, text, tier="cpu")
    assert plan.trials[0].config.tier.precision == "fp32"
    assert any(n.startswith("tier=cpu sets tier.precision fp32; ") for n in plan.notes), plan.notes
    kept = planned(tmp_path, text)
    assert kept.trials[0].config.tier.precision == "fp16"
    assert not any("sets tier.precision" in note for note in kept.notes)

"""Older files: every spelling means one setting, and what has no counterpart is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.hardware import Hardware
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request
from orchestrator.spellings import FOREIGN_SECTIONS, SPELLINGS
from trainer.tasks.corpus.tokenizer import train_bpe

CPU = Hardware(cpus=2)
GPU = Hardware(cpus=2, gpus=(24.0,))
SECTIONS = ("training", "model", "hardware", "tier", "data")
TINY = "[training]\nbatch_size = 8\n[model]\ndim = 16\nn_layers = 1\n"


def planned(
    folder: Path, base: str = "", *overrides: str, hardware: Hardware = CPU, **asked: Any
) -> Plan:
    (folder / "base.toml").write_text(base)
    request = Request(base_config=folder / "base.toml", overrides=overrides, **asked)
    return make_plan(request, hardware)


def template(folder: Path, text: str) -> str:
    (folder / "t.toml").write_text(text)
    return str(folder / "t.toml")


def refused(folder: Path, base: str = "", *overrides: str, **asked: Any) -> str:
    with pytest.raises(UsageError) as caught:
        planned(folder, base, *overrides, **asked)
    return str(caught.value).replace(f"{folder}/", "")


def config(plan: Plan) -> dict[str, Any]:
    (trial,) = plan.trials
    return trial.config.model_dump()


def notes(plan: Plan, folder: Path) -> list[str]:
    return [note.replace(f"{folder}/", "") for note in plan.notes if not note.startswith("tier ")]


# Spellings

RENAMED = {
    "precision": ("bf16", "bf16"),
    "mixed_precision": ("bf16", "bf16"),
    "gradient_checkpointing": (True, "full"),
    "activation_checkpointing": (True, "full"),
    "compile": (True, "on"),
    "seq_len": (32, 32),
    "max_seq_len": (32, 32),
    "steps": (40, 40),
    "max_steps": (40, 40),
    "intermediate_size": (48, 48),
    "ffn_dim": (48, 48),
}


def toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | int) else f'"{value}"'


def test_every_spelling_is_tried() -> None:
    assert RENAMED.keys() == SPELLINGS.keys()


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("name", RENAMED)
def test_a_spelling_means_its_setting_in_any_section(
    tmp_path: Path, name: str, section: str
) -> None:
    given, expected = RENAMED[name]
    plan = planned(tmp_path, f"[{section}]\n{name} = {toml(given)}\n")
    ours = SPELLINGS[name]
    table, leaf = ours.split(".")
    assert config(plan)[table][leaf] == expected
    note = f"base.toml:2: {section}.{name} = {toml(given)} is read as {ours} = {toml(expected)}"
    unchanged = f"{section}.{name}" == ours and given == expected
    assert notes(plan, tmp_path) == ([] if unchanged else [note])


@pytest.mark.parametrize("name", RENAMED)
def test_a_spelling_means_its_setting_on_the_command_line(tmp_path: Path, name: str) -> None:
    given, expected = RENAMED[name]
    table, leaf = SPELLINGS[name].split(".")
    for key in (name, f"training.{name}"):
        plan = planned(tmp_path, "", f"{key}={toml(given)}")
        assert config(plan)[table][leaf] == expected
        if key not in (leaf, SPELLINGS[name]):
            assert plan.notes[0].startswith(f"command line: {key} = ")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('"bfloat16"', "bf16"),
        ('"BF16"', "bf16"),
        ('"bf16-mixed"', "bf16"),
        ('"float16"', "fp16"),
        ('"16-mixed"', "fp16"),
        ("16", "fp16"),
        ('"float32"', "fp32"),
        ("32", "fp32"),
        ("false", "fp32"),
    ],
)
def test_the_usual_names_of_a_precision_are_read(tmp_path: Path, given: str, expected: str) -> None:
    plan = planned(tmp_path, f"[tier]\nprecision = {given}\n")
    assert config(plan)["tier"]["precision"] == expected
    (note,) = notes(plan, tmp_path)
    assert note == f'base.toml:2: tier.precision = {given} is read as tier.precision = "{expected}"'


def test_a_precision_that_is_not_clear_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, "[training]\nmixed_precision = true\n")
    assert message == (
        "base.toml:2: training.mixed_precision: got true, which may mean bf16 or fp16\n"
        '  hint: mixed_precision = "bf16", or "fp16"'
    )
    message = refused(tmp_path, '[training]\nmixed_precision = "int8"\n')
    assert message.startswith("base.toml:2: tier.precision: got 'int8', expected 'fp32'")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("rms_norm", "rmsnorm"),
        ("RMSNorm", "rmsnorm"),
        ("layer_norm", "layernorm"),
        ("LayerNorm", "layernorm"),
        ("deep_norm", "deepnorm"),
        ("DeepNorm", "deepnorm"),
    ],
)
def test_the_usual_names_of_a_norm_are_read(tmp_path: Path, given: str, expected: str) -> None:
    plan = planned(tmp_path, f'[model]\nnorm_type = "{given}"\n')
    assert config(plan)["model"]["norm_type"] == expected
    assert len(notes(plan, tmp_path)) == 1


@pytest.mark.parametrize("name", ["gradient_accumulation_steps", "grad_accum_steps"])
@pytest.mark.parametrize("section", ["training", "hardware", "tier"])
def test_accumulation_splits_the_effective_batch(tmp_path: Path, name: str, section: str) -> None:
    text = f"[{section}]\n{name} = 4\n"
    plan = planned(tmp_path, text, "training.batch_size=12")
    assert config(plan)["tier"]["micro_batch"] == 3
    assert config(plan)["training"]["batch_size"] == 12
    (note,) = notes(plan, tmp_path)
    assert note == f"base.toml:2: {section}.{name} = 4 is read as tier.micro_batch = 3"
    assert config(planned(tmp_path, text))["tier"]["micro_batch"] == 4  # of the default, 16
    plan = planned(tmp_path, "", f"{section}.{name}=2")
    assert config(plan)["tier"]["micro_batch"] == 8


def test_accumulation_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    text = "[training]\nbatch_size = 10\ngrad_accum_steps = 4\n"
    assert refused(tmp_path, text) == (
        "base.toml:3: training.grad_accum_steps: got 4, expected a divisor of training.batch_size"
        " 10\n  hint: tier.micro_batch = sequences a pass, in its place"
    )
    text = "[training]\ngrad_accum_steps = 4\n"
    asked = template(tmp_path, "[space]\nbatch_size = [8, 16]\n")
    assert "training.batch_size [8, 16]" in refused(tmp_path, text, strategy=asked)
    for wrong in ("0", "-1", "true", '"4"', "1.5"):
        message = refused(tmp_path, f"[training]\ngrad_accum_steps = {wrong}\n")
        assert "expected a whole number of at least 1" in message


def test_accumulation_yields_to_a_later_word(tmp_path: Path) -> None:
    text = "[training]\nbatch_size = 16\ngrad_accum_steps = 4\n"
    plan = planned(tmp_path, text, "tier.micro_batch=2")
    assert config(plan)["tier"]["micro_batch"] == 2
    plan = planned(tmp_path, text, hardware=GPU, tier="low_vram")
    assert config(plan)["tier"]["micro_batch"] == 1
    expected = "tier=low_vram sets tier.micro_batch 1; base.toml:3 training.grad_accum_steps"
    assert expected in notes(plan, tmp_path)
    asked = template(tmp_path, "[tier]\nmicro_batch = 8\n")
    assert config(planned(tmp_path, text, strategy=asked))["tier"]["micro_batch"] == 8
    asked = template(tmp_path, "[training]\ngrad_accum_steps = 2\n")
    assert config(planned(tmp_path, text, strategy=asked))["tier"]["micro_batch"] == 8


def test_an_axis_in_another_spelling(tmp_path: Path) -> None:
    text = '[space]\nmax_seq_len = [8, 16]\n"model.intermediate_size" = [32]\n'
    text += 'norm_type = ["RMSNorm", "layer_norm"]\n'
    plan = planned(tmp_path, TINY, strategy=template(tmp_path, text))
    assert plan.axes == ("training.seq_len", "model.ffn_dim", "model.norm_type")
    norms = [trial.changed["model.norm_type"] for trial in plan.trials]
    assert sorted(norms) == ["layernorm"] * 2 + ["rmsnorm"] * 2
    assert notes(plan, tmp_path)[-3:] == [
        "t.toml:2: axis max_seq_len is read as training.seq_len",
        "t.toml:3: axis model.intermediate_size is read as model.ffn_dim",
        't.toml:4: axis norm_type is read as norm_type = ["rmsnorm", "layernorm"]',
    ]
    plan = planned(
        tmp_path, TINY, "max_steps=4,8", strategy=template(tmp_path, "[space]\nseeds = 1\n")
    )
    assert plan.axes == ("training.steps",)
    assert "command line: axis max_steps is read as training.steps" in plan.notes


def test_a_template_over_a_base_config_in_another_spelling(tmp_path: Path) -> None:
    asked = template(tmp_path, "[training]\nsteps = 9\nmax_seq_len = 16\n")
    plan = planned(tmp_path, "[training]\nmax_steps = 5\nseq_len = 32\n", strategy=asked)
    (trial,) = plan.trials
    assert (trial.config.training.steps, trial.config.training.seq_len) == (9, 16)


def test_the_same_axis_in_two_spellings_is_refused(tmp_path: Path) -> None:
    asked = template(tmp_path, "[space]\nmax_seq_len = [8]\nseq_len = [16]\n")
    assert "t.toml:3: axis training.seq_len is given twice" in refused(tmp_path, strategy=asked)


def test_a_scale_in_another_spelling(tmp_path: Path) -> None:
    text = "[scale.smoke.training]\nmax_steps = 7\n[scale.smoke.space]\nmax_seq_len = [8, 16]\n"
    plan = planned(tmp_path, TINY, strategy=template(tmp_path, text), scale="smoke")
    assert [t.config.training.seq_len for t in plan.trials] == [8, 16]
    assert plan.trials[0].config.training.steps == 7


# One setting in two spellings


def test_two_spellings_with_two_values_are_refused_with_both_places(tmp_path: Path) -> None:
    text = "[model]\nmax_seq_len = 32\n[training]\nseq_len = 64\n"
    assert refused(tmp_path, text) == (
        "base.toml:4: training.seq_len: got 64, and model.max_seq_len = 32 (base.toml:2);"
        " both mean training.seq_len\n  hint: keep one of them: training.seq_len"
    )


def test_two_spellings_with_one_value_are_noted(tmp_path: Path) -> None:
    text = '[tier]\nprecision = "bf16"\n[training]\nmixed_precision = "bfloat16"\n'
    plan = planned(tmp_path, text)
    assert config(plan)["tier"]["precision"] == "bf16"
    assert notes(plan, tmp_path) == [
        "base.toml:4: training.mixed_precision says what tier.precision says (base.toml:2)"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[training]\nmax_steps = 5\nsteps = 6\n",
        "[training]\ngrad_accum_steps = 2\ngradient_accumulation_steps = 4\n",
        "[training]\ngrad_accum_steps = 2\n[tier]\nmicro_batch = 4\n",
        '[training]\nflash_attention = true\n[tier]\nattention = "math"\n',
        "[model]\nffn_dim = 8\nintermediate_size = 9\n",
        "[training]\ngradient_checkpointing = true\nactivation_checkpointing = false\n",
    ],
)
def test_every_pair_can_be_in_conflict(tmp_path: Path, text: str) -> None:
    message = refused(tmp_path, text)
    assert "both mean" in message
    assert "base.toml:" in message.partition("both mean")[0].partition("and")[2]


def test_two_spellings_on_the_command_line(tmp_path: Path) -> None:
    message = refused(tmp_path, "", "training.max_steps=5", "training.steps=6")
    assert "both mean training.steps" in message
    assert "given twice" in refused(tmp_path, "", "training.max_steps=5", "steps=6")


# What has no counterpart


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[parallelism]\nfsdp = 4", "parallelism.fsdp: got 4, which is not supported: how many"),
        ("[parallelism]\ntensor_parallel = 2", "parallelism.tensor_parallel: got 2, which is"),
        ('[training]\noptimizer = "lion"', 'training.optimizer: got "lion", which is not'),
        ('[checkpoint]\nexport_format = "gguf"', 'checkpoint.export_format: got "gguf", which'),
        ('[checkpoint]\ndir = "ckpt"', 'checkpoint.dir: got "ckpt", which is not supported'),
        ("[masking]\nmask_ratio = 0.15", "masking.mask_ratio: got 0.15, which is not supported"),
        ('[masking]\ntype = "span"', 'masking.type: got "span", which is not supported'),
        ("[hardware]\nnum_gpus = 4", "hardware.num_gpus: got 4, which is not supported"),
        ("[masking.span]\nlength = 3", "masking.span.length: got 3, which is not supported"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, text: str, expected: str) -> None:
    message = refused(tmp_path, f"{text}\n")
    assert message.startswith(f"base.toml:2: {expected}")
    assert "\n  hint: " in message


@pytest.mark.parametrize(
    "line",
    [
        "parallelism.fsdp=4",
        "training.optimizer=lion",
        "optimizer=lion",
        "checkpoint.dir=x",
        "masking.ratio=0.1",
    ],
)
def test_it_is_refused_on_the_command_line_too(tmp_path: Path, line: str) -> None:
    message = refused(tmp_path, "", line)
    assert message.startswith(f"command line: {line.partition('=')[0]}: got ")
    assert "which is not supported" in message


def test_it_is_refused_as_an_axis(tmp_path: Path) -> None:
    asked = template(
        tmp_path, '[space]\noptimizer = ["adamw", "lion"]\ngrad_accum_steps = [1, 2]\n'
    )
    message = refused(tmp_path, strategy=asked)
    assert "t.toml:2: optimizer: got an axis, which is not supported: AdamW is the only" in message
    assert "tier.micro_batch decides nothing of the result" in message


def test_all_that_is_not_supported_is_said_at_once(tmp_path: Path) -> None:
    text = '[parallelism]\nfsdp = 4\n[training]\noptimizer = "lion"\nbias = true\nstepz = 3\n'
    message = refused(tmp_path, text)
    assert message.count("which is not supported") == 3


@pytest.mark.parametrize(
    "text",
    [
        "[parallelism]\nfsdp = false",
        "[parallelism]\nworld_size = 1",
        '[training]\noptimizer = "AdamW"',
        '[checkpoint]\nexport_format = "safetensors"',
        "[masking]\ncausal = true",
        "[masking]\nmask_ratio = 0.0",
    ],
)
def test_what_asks_for_nothing_is_accepted_with_a_note(tmp_path: Path, text: str) -> None:
    plan = planned(tmp_path, f"{text}\n")
    (note,) = notes(plan, tmp_path)
    assert note.startswith("base.toml:2: ")
    assert note.endswith(" changes nothing here")
    assert plan.trials[0].id == planned(tmp_path).trials[0].id


@pytest.mark.parametrize("text", ["fsdp = true", 'strategy = "FULL_SHARD"', 'fsdp = "auto"'])
def test_sharding_is_what_is_done_on_several_gpus(tmp_path: Path, text: str) -> None:
    plan = planned(tmp_path, f"[parallelism]\n{text}\n")
    (note,) = notes(plan, tmp_path)
    assert f"base.toml:2: parallelism.{text} is what is done with a model that trains on" in note
    assert plan.trials[0].id == planned(tmp_path).trials[0].id


def test_a_section_that_is_switched_off_asks_for_nothing(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[masking]\nenabled = false\nmask_ratio = 0.15\n")
    assert len(notes(plan, tmp_path)) == 2


def test_a_spelling_that_is_misspelt_in_an_older_section_gets_the_nearest(tmp_path: Path) -> None:
    message = refused(tmp_path, '[hardware]\nmixed_precison = "bf16"\n')
    assert "did you mean mixed_precision?" in message
    assert set(FOREIGN_SECTIONS) == {"parallelism", "masking", "hardware"}


# What takes effect


def test_flash_attention_follows_the_device(tmp_path: Path) -> None:
    text = "[training]\nflash_attention = true\n"
    plan = planned(tmp_path, text, hardware=GPU)
    assert config(plan)["tier"]["attention"] == "flash"
    plan = planned(tmp_path, text)
    assert config(plan)["tier"]["attention"] == "auto"
    (note,) = notes(plan, tmp_path)
    assert note.startswith("base.toml:2: training.flash_attention = true is read as tier.attention")
    assert note.endswith("= auto: the device is a CPU")
    plan = planned(tmp_path, "[training]\nflash_attention = false\n", hardware=GPU)
    assert config(plan)["tier"]["attention"] == "math"
    assert "expected true or false" in refused(tmp_path, "[training]\nflash_attention = 2\n")


def test_a_tokenizer_file_needs_no_kind(tmp_path: Path) -> None:
    train_bpe("to be or not to be", 300).save(str(tmp_path / "tok.json"))
    text = f'[model]\nvocab_size = 300\n[data]\ntokenizer_path = "{tmp_path}/tok.json"\n'
    plan = planned(tmp_path, text)
    assert config(plan)["data"]["tokenizer"] == "bpe"
    assert notes(plan, tmp_path) == [
        'base.toml:4: data.tokenizer_path is read with data.tokenizer = "bpe"'
    ]


# Whole files

GENESIS = """
name = "genesis_deep"
[model]
name = "theos_small"
dim = 1024
n_layers = 80
n_heads = 16
intermediate_size = 4096
vocab_size = 8192
max_seq_len = 4096
norm_type = "rms_norm"
rope_theta = 10000.0

[training]
batch_size = 16
gradient_accumulation_steps = 4
learning_rate = 3e-4
weight_decay = 0.1
max_steps = 200_000
warmup_steps = 2_000
optimizer = "adamw"
mixed_precision = "bf16"
gradient_checkpointing = true
flash_attention = true
compile = false
grad_clip = 1.0
eval_interval = 2_000

[parallelism]
fsdp = false

[data]
dataset_path = "kjv"

[checkpoint]
enable = true
interval = 5_000
export_format = "safetensors"

[logging]
log_interval = 10
enable_tensorboard = true
track_grad_norms = true
track_weight_norms = true
"""

CANONICAL = """
[model]
name = "theos_small"
dim = 1024
n_layers = 80
n_heads = 16
ffn_dim = 4096
vocab_size = 8192
norm_type = "rmsnorm"
rope_theta = 10000.0

[training]
batch_size = 16
seq_len = 4096
learning_rate = 3e-4
weight_decay = 0.1
steps = 200_000
warmup_steps = 2_000
grad_clip = 1.0
eval_interval = 2_000

[data]
dataset_path = "kjv"

[tier]
precision = "bf16"
activation_checkpointing = "full"
compile = "off"
micro_batch = 4
attention = "auto"

[checkpoint]
enable = true
interval = 5_000

[logging]
log_interval = 10
enable_tensorboard = true
track_grad_norms = true
track_weight_norms = true
"""

LOW_VRAM = """
[hardware]
precision = "16-mixed"
activation_checkpointing = true

[model]
dim = 768
n_layers = 12
n_heads = 12
ffn_dim = 3072
norm_type = "LayerNorm"

[training]
max_seq_len = 1024
steps = 50_000
batch_size = 32
grad_accum_steps = 32
learning_rate = 6e-4
optimizer = "AdamW"

[masking]
enabled = false
mask_ratio = 0.15

[parallelism]
fsdp = false
tensor_parallel = 1
"""

BASELINE = """
[model]
name = "baseline"
dim = 2048
n_layers = 32
n_heads = 16
norm_type = "deep_norm"

[training]
seq_len = 2048
max_seq_len = 2048
max_steps = 100_000
precision = "bfloat16"
mixed_precision = "bf16"
gradient_checkpointing = false
learning_rate = 3e-4
weight_decay = 0.01

[masking]
type = "causal"

[space]
max_seq_len = [1024, 2048]
"training.weight_decay" = [0.01, 0.1]
"""


def test_an_older_file_is_the_canonical_one(tmp_path: Path) -> None:
    (older,) = planned(tmp_path, GENESIS).trials
    (ours,) = planned(tmp_path, CANONICAL).trials
    assert older.id == ours.id
    assert older.config == ours.config


@pytest.mark.parametrize("text", [GENESIS, LOW_VRAM], ids=["genesis", "low_vram"])
def test_an_older_base_config_plans_small(tmp_path: Path, text: str) -> None:
    plan = planned(tmp_path, text, scale="smoke")
    assert config(plan)["training"]["steps"] == 150
    assert plan.notes


def test_an_older_template_plans_small(tmp_path: Path) -> None:
    plan = planned(tmp_path, "", strategy=template(tmp_path, BASELINE), scale="smoke")
    assert plan.axes == ("training.seq_len", "training.weight_decay")
    assert len(plan.trials) == 4
    assert plan.trials[0].config.tier.precision == "bf16"

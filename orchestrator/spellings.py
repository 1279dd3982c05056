"""Read the names that older files have for our settings, and refuse by name what we have not.

The tables come first. `respell` turns the settings of one file, or of the command line, into
canonical ones; `respell_axis` does the same for an axis.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import Problem, UsageError
from orchestrator.familiar import suggestion
from orchestrator.placeholders import names_in
from orchestrator.settings import may_be_none, setting_keys

Settings = Mapping[str, tuple[Any, str]]
"""Dotted key to (value, place)."""

MICRO_BATCH = "tier.micro_batch"
ATTENTION = "tier.attention"

SPELLINGS: Mapping[str, str] = {
    "precision": "tier.precision",
    "mixed_precision": "tier.precision",
    "gradient_checkpointing": "tier.activation_checkpointing",
    "activation_checkpointing": "tier.activation_checkpointing",
    "compile": "tier.compile",
    "seq_len": "training.seq_len",
    "max_seq_len": "training.seq_len",
    "steps": "training.steps",
    "max_steps": "training.steps",
    "intermediate_size": "model.ffn_dim",
    "ffn_dim": "model.ffn_dim",
}
"""Last part of a key, in whichever section it stands, to the setting it means."""

DEFERRED: Mapping[str, str] = {
    "gradient_accumulation_steps": MICRO_BATCH,
    "grad_accum_steps": MICRO_BATCH,
    "flash_attention": ATTENTION,
}
"""What means a setting only once the batch and the device of the run are known."""

OFF: Mapping[str, tuple[Any, ...]] = {"training.grad_clip": (False, 0)}
"""Values that say of a setting that there is none; the text "none" says it of every one."""

VALUES: Mapping[str, Mapping[str, Any]] = {
    "tier.precision": {
        "fp32": "fp32",
        "float32": "fp32",
        "32": "fp32",
        "32true": "fp32",
        "false": "fp32",
        "no": "fp32",
        "none": "fp32",
        "bf16": "bf16",
        "bfloat16": "bf16",
        "bf16mixed": "bf16",
        "fp16": "fp16",
        "float16": "fp16",
        "16": "fp16",
        "16mixed": "fp16",
        "fp16mixed": "fp16",
    },
    "tier.activation_checkpointing": {
        "true": "full",
        "full": "full",
        "selective": "selective",
        "false": "off",
        "off": "off",
        "none": "off",
    },
    "tier.compile": {"true": "on", "on": "on", "false": "off", "off": "off", "auto": "auto"},
    "model.norm_type": {
        "rmsnorm": "rmsnorm",
        "rms": "rmsnorm",
        "layernorm": "layernorm",
        "ln": "layernorm",
        "deepnorm": "deepnorm",
        "none": "none",
    },
}
"""Values by setting, as `_plain` writes them, to ours."""


@dataclass(frozen=True)
class Foreign:
    """A setting of other programs that has no counterpart here.

    Args:
        why: The reason it is refused.
        hint: What to type instead.
        accepted: Values, as `_plain` writes them, that ask for nothing or for what is done anyway.
        done: Those that ask for what is done where it is needed; `note` then says when.
        note: Follows such a setting in a note.
    """

    why: str
    hint: str
    accepted: tuple[str, ...] = ("false", "none", "no")
    done: tuple[str, ...] = ()
    note: str = ""


FOREIGN: Mapping[str, Foreign] = {
    **dict.fromkeys(
        ("fsdp", "parallelism.strategy"),
        Foreign(
            "how many GPUs train one model is a setting of the tier",
            "tier.gpus = N in its place, N GPUs for each trial; the model is sharded over them",
            ("false", "none", "no", "1", "single"),
            ("true", "auto", "fsdp", "fsdp2", "fullshard"),
            "is what is done with a model that trains on several GPUs: those of tier.gpus, or as"
            " many as it needs where that has no value",
        ),
    ),
    "optimizer": Foreign(
        "AdamW is the only optimizer",
        'optimizer = "adamw"; weight_decay = 0 makes it Adam',
        ("adamw", "adamwtorch", "adamwfused", "adamwtorchfused"),
    ),
    "export_format": Foreign(
        "checkpoints are written as safetensors and nothing else",
        'export_format = "safetensors"',
        ("safetensors",),
    ),
    "bias": Foreign("linear layers have no bias", "bias = false"),
    "shuffle": Foreign(
        "the order of the data is random, and follows from the seed", "shuffle = true", ("true",)
    ),
    "num_workers": Foreign("the data is read once, into memory", "num_workers = 0"),
    "pin_memory": Foreign("the data is read once, into memory", "pin_memory = false"),
    **dict.fromkeys(
        ("wandb", "use_wandb", "enable_wandb"),
        Foreign("a run is recorded in its ledger and in TensorBoard", "wandb = false"),
    ),
    "hardware.tier": Foreign(
        "the tier is chosen on the command line", "leave it out; --tier NAME", ("auto",)
    ),
    **dict.fromkeys(
        ("hardware.gpus", "hardware.num_gpus", "hardware.n_gpus"),
        Foreign("how many to use is said on the command line", "leave it out; --gpus N", ("auto",)),
    ),
    "checkpoint.dir": Foreign(
        "checkpoints lie with their trial, in the directory of the run",
        "leave it out; ARBITER_RUNS=FOLDER moves all runs",
        (),
    ),
}
"""Dotted key, or the last part of one in whichever section it stands."""

FOREIGN_SECTIONS: Mapping[str, Foreign] = {
    "parallelism": Foreign(
        "a model is sharded over the GPUs that its tier gives it, and split in no other way",
        "leave it out; tier.gpus = N trains one model on N GPUs",
        ("false", "none", "no", "1", "single"),
    ),
    "masking": Foreign(
        "the decoder predicts the next token under a causal mask and has no other",
        "leave it out",
        ("false", "none", "no", "causal"),
    ),
    "hardware": Foreign(
        "how a run is executed is said by its tier",
        "leave it out; --tier NAME, or a key of [tier]",
        ("auto",),
    ),
}
"""Sections of other programs: the keys in them that are no spelling of ours."""

OLDER_SECTIONS = tuple(FOREIGN_SECTIONS)
SECTIONS = ("", "model", "data", "training", "checkpoint", "logging", "limits", "tier")
"""Where a spelling is looked for; "" is a short key, without a section."""


@dataclass
class Respelled:
    """Settings in our names.

    Args:
        settings: Dotted (or short) key to (value, place).
        deferred: Setting to (key as it was given, value, place), see `DEFERRED`.
        notes: What was read as what.
        problems: What is refused.
    """

    settings: dict[str, tuple[Any, str]] = field(default_factory=dict)
    deferred: dict[str, tuple[str, Any, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def respell(given: Settings) -> Respelled:
    """Return the settings of one file, or of the command line, in our names.

    A setting that is given in two spellings must have one value.
    """
    read = Respelled()
    first: dict[str, tuple[str, Any, str]] = {}
    for key, (value, place) in given.items():
        found = foreign(key)
        if found is not None:
            if _plain(value) in found.done:
                read.notes.append(f"{place}: {key} = {_shown(value)} {found.note}")
            elif asks_nothing(key, value, given, found):
                read.notes.append(f"{place}: {key} = {_shown(value)} changes nothing here")
            else:
                read.problems.append(refusal(key, f"got {_shown(value)}", place, found))
            continue
        ours = canonical(key)
        deferred = _leaf(key) in DEFERRED and ours != key
        if not deferred:
            try:
                meant = _value(ours, key, value, place)
            except UsageError as error:
                read.problems += error.problems
                continue
        else:
            meant = value
            wrong = _deferred_problem(key, value, place)
            if wrong is not None:
                read.problems.append(wrong)
                continue
        if ours in first:
            _settle_twice(read, ours, first[ours], (key, meant, place), deferred)
            continue
        first[ours] = (key, meant, place)
        if deferred:
            read.deferred[ours] = (key, meant, place)
            continue
        read.settings[ours] = (meant, place)
        if ours != key or type(meant) is not type(value) or meant != value:
            read.notes.append(
                f"{place}: {key} = {_shown(value)} is read as {ours} = {_shown(meant)}"
            )
    return read


def respell_axis(key: str, values: Any, place: str) -> tuple[str, Any, list[str]]:
    """Return the key and the values of an axis in our names, and a note where they differ.

    Raises:
        UsageError: It is a setting of other programs.
    """
    found = foreign(key)
    if found is not None:
        raise UsageError(refusal(key, "got an axis", place, found))
    ours = canonical(key)
    meant = values
    if isinstance(values, list):
        meant = [_value(ours, key, value, place) for value in values]
    notes = []
    if ours != key or meant != values:
        shown = f" = {_shown(meant)}" if meant != values else ""
        notes.append(f"{place}: axis {key} is read as {ours}{shown}")
    return ours, meant, notes


def canonical(key: str) -> str:
    """Return our name of a setting; a key that is no spelling of ours as it is.

    A short key stays short where it is ours already, so that it is looked up as any other.
    """
    section, _, leaf = key.rpartition(".")
    if section not in (*SECTIONS, *OLDER_SECTIONS):
        return key
    ours = SPELLINGS.get(leaf) or DEFERRED.get(leaf) or key
    return key if not section and _leaf(ours) == leaf else ours


def foreign(key: str) -> Foreign | None:
    """Return what is known of a setting of other programs; None for one of ours."""
    section, _, leaf = key.rpartition(".")
    if canonical(key) != key:
        return None
    if section in (*SECTIONS, *OLDER_SECTIONS) and (key in FOREIGN or leaf in FOREIGN):
        return FOREIGN.get(key) or FOREIGN[leaf]
    return FOREIGN_SECTIONS.get(key.partition(".")[0]) if section else None


def refusal(key: str, got: str, place: str, found: Foreign) -> Problem:
    """Return why a setting of other programs is refused."""
    section, _, leaf = key.rpartition(".")
    close = suggestion(leaf, (*SPELLINGS, *DEFERRED)) if section in OLDER_SECTIONS else ""
    return Problem(f"{key}: {got}, which is not supported: {found.why}{close}", place, found.hint)


def micro_batch(deferred: tuple[str, Any, str], batch: Any) -> int:
    """Return the micro-batch that a number of accumulation steps means.

    The batch is the effective one; accumulation only says in how many passes it is computed.

    Args:
        deferred: (key as it was given, steps, place).
        batch: `training.batch_size` of the run.

    Raises:
        UsageError: The batch is no number, or cannot be split into so many equal parts.
    """
    key, steps, place = deferred
    if type(batch) is int and batch >= 1 and batch % steps == 0:
        return int(batch // steps)
    message = f"{key}: got {steps}, expected a divisor of training.batch_size {_shown(batch)}"
    raise UsageError(Problem(message, place, f"{MICRO_BATCH} = sequences a pass, in its place"))


def attention(deferred: tuple[str, Any, str], device: str) -> str:
    """Return the attention kernel that `flash_attention` means on a device."""
    if not deferred[1]:
        return "math"
    return "flash" if device == "cuda" else "auto"


def asks_nothing(key: str, value: Any, given: Settings, found: Foreign) -> bool:
    """Return whether a setting of other programs asks for what is done anyway."""
    section, _, leaf = key.partition(".")
    if value is None or value == [] or value == {}:
        return True
    if section in FOREIGN_SECTIONS and found is FOREIGN_SECTIONS[section]:
        switches = (f"{section}.enable", f"{section}.enabled")
        if any(name in given and given[name][0] is False for name in switches):
            return True
    if leaf in ("causal", "use_causal_mask"):
        return value is True
    return _plain(value) in (*found.accepted, *found.done) or (
        type(value) in (int, float) and value == 0 and "false" in found.accepted
    )


def _settle_twice(
    read: Respelled,
    ours: str,
    before: tuple[str, Any, str],
    after: tuple[str, Any, str],
    deferred: bool,
) -> None:
    """Accept a setting in two spellings where they say the same."""
    keys = {before[0], after[0]}
    alike = deferred == (ours in read.deferred)
    same = alike and type(before[1]) is type(after[1]) and before[1] == after[1]
    if not alike and ours == ATTENTION:
        same = {before[1], after[1]} == {True, "flash"}
    if same:
        read.notes.append(f"{after[2]}: {after[0]} says what {before[0]} says ({before[2]})")
        return
    message = (
        f"{after[0]}: got {_shown(after[1])}, and {before[0]} = {_shown(before[1])}"
        f" ({before[2]}); both mean {ours}"
    )
    keep = ours if ours in keys or not deferred else before[0]
    read.problems.append(Problem(message, after[2], f"keep one of them: {keep}"))


def _value(ours: str, key: str, value: Any, place: str) -> Any:
    """Return a value in our words; what is in no table is left to the schema.

    Raises:
        UsageError: It does not say which of our values is meant.
    """
    leaf = _leaf(ours)
    full = ours if "." in ours else next((k for k in setting_keys() if _leaf(k) == leaf), ours)
    if _says_none(full, value):
        return None
    table = VALUES.get(full, {})
    if not table or type(value) not in (str, int, bool):
        return value
    if leaf == "precision" and value is True:
        message = f"{key}: got true, which may mean bf16 or fp16"
        raise UsageError(Problem(message, place, f'{_leaf(key)} = "bf16", or "fp16"'))
    return value if value in table.values() else table.get(_plain(value), value)


def _says_none(key: str, value: Any) -> bool:
    """Return whether a value, in a language without one, stands for none."""
    if isinstance(value, str):
        return value.lower() in ("none", "null") and may_be_none(key)
    return value in OFF.get(key, ())


def _deferred_problem(key: str, value: Any, place: str) -> Problem | None:
    if found := names_in(value):
        message = f"{key}: got the placeholder {{{{{found[0]}}}}}, expected a value"
        hint = f"{DEFERRED[_leaf(key)]} takes one, or {_leaf(key)}=… on the command line"
        return Problem(message, place, hint)
    if DEFERRED[_leaf(key)] == ATTENTION:
        if type(value) is not bool:
            return Problem(f"{key}: got {_shown(value)}, expected true or false", place)
    elif type(value) is not int or value < 1:
        message = f"{key}: got {_shown(value)}, expected a whole number of at least 1"
        return Problem(message, place)
    return None


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _plain(value: Any) -> str:
    """Return a value as lower-case letters and digits, so that `RMS_Norm` is `rmsnorm`."""
    return re.sub(r"[^a-z0-9]", "", str(value).lower())


def _shown(value: Any) -> str:
    """Return a value as a TOML file has it."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_shown(item) for item in value)}]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    return "none" if value is None else str(value)

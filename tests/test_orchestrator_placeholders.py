"""Placeholders: who may fill one, and what is said of one that nobody fills."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.hardware import Hardware
from orchestrator.placeholders import quoted, unquoted
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request

CPU = Hardware(cpus=2)

PUBLISHED = """
name = "deep_narrow"
description = "placeholders {{DIM}} as published"  # {{NOT_READ}}

[model]
name = "deep_{{DIM}}x{{N_LAYERS}}"
dim = {{DIM}}
n_layers = {{N_LAYERS}}
n_heads = {{ N_HEADS }}
vocab_size = "{{VOCAB_SIZE}}"

[training]
weight_decay = {{WEIGHT_DECAY}}
learning_rate = {{LEARNING_RATE}}
warmup_steps = {{WARMUP_STEPS}}
steps = 2_000
"""

FILLING = (
    "model.dim=512",
    "n_layers=12",
    "n_heads=8",
    "vocab_size=600",
    "weight_decay=0.1",
    "learning_rate=1e-4",
    "warmup_steps=100",
)


def own(folder: Path, text: str, name: str = "mine.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def planned(folder: Path, base: str, template: str | None, *overrides: str, **asked: Any) -> Plan:
    strategy = None if template is None else str(own(folder, template, "t.toml"))
    request = Request(
        base_config=own(folder, base, "base.toml"), strategy=strategy, overrides=overrides, **asked
    )
    return make_plan(request, CPU)


def refused(folder: Path, base: str, template: str | None, *overrides: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        planned(folder, base, template, *overrides)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_the_command_line_fills_a_single_run(tmp_path: Path) -> None:
    (trial,) = planned(tmp_path, PUBLISHED, None, *FILLING).trials
    model, training = trial.config.model.model_dump(), trial.config.training
    assert model["name"] == "deep_512x12"
    assert (model["dim"], model["n_layers"], model["n_heads"]) == (512, 12, 8)
    assert model["vocab_size"] == 600
    assert (training.weight_decay, training.learning_rate) == (0.1, 1e-4)
    assert training.warmup_steps == 100


def test_a_placeholder_is_filled_by_its_own_name(tmp_path: Path) -> None:
    named = [word.removeprefix("model.").partition("=") for word in FILLING]
    capitals = [f"{key.upper()}={value}" for key, _, value in named]
    (trial,) = planned(tmp_path, PUBLISHED, None, *capitals).trials
    (other,) = planned(tmp_path, PUBLISHED, None, *FILLING).trials
    assert trial.config == other.config
    space = planned(tmp_path, PUBLISHED, "", *capitals[1:], "DIM=256,512")
    assert [trial.changed for trial in space.trials] == [{"model.dim": 256}, {"model.dim": 512}]
    for again in ("dim=256", "model.dim=512", "dim=256,512"):
        (problem,) = refused(tmp_path, PUBLISHED, "", *capitals, again)
        assert problem.startswith("command line: model.dim is given twice")
    *_, problem = refused(tmp_path, PUBLISHED, None, *capitals, "FFN_DIM=64")
    assert problem.startswith("command line: unknown setting FFN_DIM - did you mean ffn_dim?")


def test_the_space_of_the_template_fills_each_trial(tmp_path: Path) -> None:
    space = "[space]\ndim = [64, 128]\nn_layers = [2, 3]\nlearning_rate = [1e-4]\n"
    plan = planned(tmp_path, "", PUBLISHED + space, *FILLING[2:5], "warmup_steps=10")
    names = {trial.config.model.name for trial in plan.trials}
    assert names == {"deep_64x2", "deep_64x3", "deep_128x2", "deep_128x3"}
    for trial in plan.trials:
        model = trial.config.model.model_dump()
        assert model["name"] == f"deep_{model['dim']}x{model['n_layers']}"


def test_an_axis_on_the_command_line_fills(tmp_path: Path) -> None:
    plan = planned(tmp_path, "", PUBLISHED, "model.dim=64,128", *FILLING[1:])
    assert [trial.config.model.name for trial in plan.trials] == ["deep_64x12", "deep_128x12"]


def test_the_files_fill_each_other(tmp_path: Path) -> None:
    base = "[model]\ndim = 64\nn_layers = {{N_LAYERS}}\n[training]\nsteps = {{STEPS}}\n"
    template = "[model]\ndim = {{DIM}}\n[space]\nn_layers = [1, 2]\nsteps = [5]\n"
    plan = planned(tmp_path, base, template)
    shapes = [trial.config.model.model_dump() for trial in plan.trials]
    assert [(shape["dim"], shape["n_layers"]) for shape in shapes] == [(64, 1), (64, 2)]
    assert plan.trials[0].config.training.steps == 5


def test_a_filled_file_is_the_written_one(tmp_path: Path) -> None:
    (filled,) = planned(tmp_path, "[model]\ndim = {{DIM}}\n", None, "dim=64").trials
    (written,) = planned(tmp_path, "[model]\ndim = 64\n", None).trials
    assert filled.id == written.id


def test_a_setting_may_follow_another(tmp_path: Path) -> None:
    text = "[model]\nffn_dim = {{DIM}}\n[space]\ndim = [16, 32]\n"
    plan = planned(tmp_path, "", text)
    assert [trial.config.model.model_dump()["ffn_dim"] for trial in plan.trials] == [16, 32]


def test_older_names_may_stand_in_the_braces(tmp_path: Path) -> None:
    text = "[training]\nmax_steps = {{MAX_STEPS}}\nmax_seq_len = {{SEQ_LEN}}\n"
    (trial,) = planned(tmp_path, text, None, "steps=9", "max_seq_len=16").trials
    assert (trial.config.training.steps, trial.config.training.seq_len) == (9, 16)


def test_one_that_nobody_fills_is_named_with_its_line(tmp_path: Path) -> None:
    found = refused(tmp_path, "", PUBLISHED, *FILLING[2:])
    assert found == [
        "t.toml:3: placeholder {{DIM}} is not filled: model.dim has no value\n"
        "  hint: model.dim=VALUE on the command line, or dim = [VALUE, …] in [space]",
        "t.toml:6: placeholder {{N_LAYERS}} is not filled: model.n_layers has no value\n"
        "  hint: model.n_layers=VALUE on the command line, or n_layers = [VALUE, …] in [space]",
    ]
    (problem,) = refused(tmp_path, "[training]\n\nweight_decay = {{WEIGHT_DECAY}}\n", None)
    assert problem == (
        "base.toml:3: placeholder {{WEIGHT_DECAY}} is not filled: training.weight_decay has no"
        " value\n  hint: training.weight_decay=VALUE on the command line"
    )


def test_a_default_fills_nothing_and_a_chosen_group_does(tmp_path: Path) -> None:
    text = "[model]\ndim = {{DIM}}\n"
    (trial,) = planned(tmp_path, text, None, "model=theos_small").trials
    assert trial.config.model.model_dump()["dim"] == 1024
    assert len(refused(tmp_path, text, None)) == 1


def test_an_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    text = "[model]\nn_layers = {{N_LAYER}}\nname = '{{NAME}}'\n"
    unknown, ambiguous = refused(tmp_path, text, None)
    assert unknown.startswith(
        "base.toml:2: unknown placeholder {{N_LAYER}} - did you mean N_LAYERS?\n  hint: "
    )
    assert ambiguous.startswith(
        "base.toml:3: placeholder {{NAME}} is ambiguous: model.name and tier.name"
    )


@pytest.mark.parametrize(
    "table",
    [
        "[space]\nn_layers = [{{N_LAYERS}}]",
        "[search]\nmethod = '{{DIM}}'",
        "[scale.smoke.model]\ndim = {{DIM}}",
    ],
)
def test_a_placeholder_outside_of_the_settings_is_refused(tmp_path: Path, table: str) -> None:
    found = refused(tmp_path, "", f"{table}\n")
    assert any("t.toml:2: " in line and "got the placeholder {{" in line for line in found)


def test_what_does_not_fit_is_refused_by_its_type(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "[model]\ndim = 'a{{N_LAYERS}}'\n", None, "n_layers=2")
    assert problem.startswith("base.toml:2: model.dim: got 'a2', expected a whole number")
    (problem,) = refused(tmp_path, "", None, "model.dim='{{DIM}}'")
    assert problem.startswith("command line: model.dim: got '{{DIM}}', expected a whole number")


def test_the_sweep_is_named_by_what_all_trials_share(tmp_path: Path) -> None:
    text = 'name = "d{{DIM}}"\n[model]\ndim = {{DIM}}\n'
    assert planned(tmp_path, "", text, "dim=64").name == "d64"
    (problem,) = refused(tmp_path, "", text, "dim=64,128")
    assert problem.startswith("t.toml:1: name: got {{DIM}}, which is not one value: model.dim is")


def test_a_continuous_range_fills_each_trial(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(
        "[training]\nlearning_rate = {{LEARNING_RATE}}\nfinal_lr_frac = {{LEARNING_RATE}}\n"
        "[space]\nlearning_rate = { log_uniform = [1e-4, 1e-2] }\n"
    )
    asked = Request(strategy=str(tmp_path / "t.toml"), search="random", max_trials=3)
    trials = make_plan(asked, CPU).trials
    assert len({t.config.training.learning_rate for t in trials}) == 3
    for trial in trials:
        assert trial.config.training.final_lr_frac == trial.config.training.learning_rate


def test_one_that_nobody_fills_is_named_with_the_other_mistakes(tmp_path: Path) -> None:
    text = "[model]\ndim = {{DIM}}\ndmi = 3\n[training]\nsteps = 0\n"
    assert [line.split(": ", 1)[0] for line in refused(tmp_path, text, None)] == [
        "base.toml:2",
        "base.toml:3",
        "base.toml:5",
    ]


def test_a_template_with_placeholders_runs_small(tmp_path: Path) -> None:
    space = "[space]\ndim = [768, 1024]\nn_layers = [60, 80]\nlearning_rate = [1e-4, 3e-4]\n"
    given = ("n_heads=4", "vocab_size=300", "weight_decay=0.1", "warmup_steps=10")
    plan = planned(tmp_path, "", PUBLISHED + space, *given, scale="smoke")
    assert len(plan.trials) == 8
    assert plan.trials[0].config.model.name == "deep_48x6"
    text = "[model]\nffn_dim = {{DIM}}\n[space]\ndim = [768, 1024]\n"
    plan = planned(tmp_path, "", text, scale="smoke")
    for trial in plan.trials:
        model = trial.config.model.model_dump()
        assert model["dim"] == model["ffn_dim"] <= 64


# Reading


def test_lines_and_columns_of_a_mistake_stay_those_of_the_file(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "[model]\ndim = {{DIM}} = 3\n", None)
    place, text, caret = problem.split("\n")
    assert place.startswith("base.toml:2:15: not valid TOML")
    assert text == "    dim = {{DIM}} = 3"
    assert text[caret.index("^")] == "="


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = {{DIM}}", "{{DIM}}"),
        ("a = {{ DIM }} # {{X}}", "{{ DIM }}"),
        ("a = '{{DIM}}'", "{{DIM}}"),
        ('a = "x{{DIM}}y"', "x{{DIM}}y"),
        ('a = "x\\"{{DIM}}"', 'x"{{DIM}}'),
        ('a = """\n"{{DIM}}"\n"""', '"{{DIM}}"\n'),
        ("a = '''\n'{{DIM}}'\n'''", "'{{DIM}}'\n"),
        ("a = [1, {{DIM}}]", [1, "{{DIM}}"]),
        ("# it's {{X}}\na = {{DIM}}", "{{DIM}}"),
        ("a = {b = {c = 1}}", {"b": {"c": 1}}),
        ("a = '{{ not one }}'", "{{ not one }}"),
    ],
)
def test_only_bare_placeholders_are_quoted(text: str, expected: Any) -> None:
    assert len(quoted(text)) == len(text)
    assert unquoted(tomllib.loads(quoted(text)))["a"] == expected

"""Axes over the options of a Hydra group, and patterns, from the command line to the leaderboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.forecast import make_forecast
from orchestrator.hardware import Hardware
from orchestrator.plan import Plan, make_plan, sources_of
from orchestrator.plan_table import render_plan
from orchestrator.request import Request
from tests.sweeps import run_plan, trials_of

CPU = Hardware(cpus=2)
MODULAR = "[data]\ntask = 'modular'\np = 13\n"
TWO = "model=small_decoder,quadratic_mlp"


def planned(folder: Path, text: str, *overrides: str, **asked: Any) -> Plan:
    (folder / "t.toml").write_text(text)
    return make_plan(Request(strategy=str(folder / "t.toml"), overrides=overrides, **asked), CPU)


def refused(folder: Path, text: str, *overrides: str, **asked: Any) -> str:
    with pytest.raises(UsageError) as caught:
        planned(folder, text, *overrides, **asked)
    return str(caught.value).replace(f"{folder}/", "")


def changed(plan: Plan) -> list[dict[str, Any]]:
    return [trial.changed for trial in plan.trials]


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        (MODULAR, [TWO]),
        (MODULAR, ["model=choice(small_decoder,quadratic_mlp)"]),
        (MODULAR, ["model=glob([small*,q*])"]),
        (MODULAR, ["model=glob(*,exclude=[theos*,deep*,tower*,wide*,base*,micro*,high*])"]),
        (MODULAR + "[space]\nmodel = ['small_decoder', 'quadratic_mlp']\n", []),
        (MODULAR + "[space.model]\nvalues = ['small_decoder', 'quadratic_mlp']\n", []),
    ],
)
def test_each_option_is_what_it_sets(tmp_path: Path, text: str, overrides: list[str]) -> None:
    plan = planned(tmp_path, text, *overrides)
    assert plan.axes == ("model",)
    configs = {t.changed["model"]: t.config.model for t in plan.trials}
    assert configs.keys() == {"small_decoder", "quadratic_mlp"}
    for name, model in configs.items():
        alone = planned(tmp_path, MODULAR, f"model={name}")
        assert alone.trials[0].config.model == model
        assert alone.trials[0].id in [t.id for t in plan.trials]
    forecast = make_forecast(plan.trials, CPU, free_bytes=10**12)
    for output in ("table", "md", "csv", "json"):
        assert "quadratic_mlp" in render_plan(plan, forecast, output)


def test_an_option_decides_over_the_files_and_yields_to_the_command_line(tmp_path: Path) -> None:
    text = MODULAR + "[model]\ndim = 64\nffn = 'relu'\n"
    small, mlp = planned(tmp_path, text, TWO).trials
    assert (small.config.model.dim, small.config.model.ffn, mlp.config.model.dim) == (
        128,
        "relu",
        128,
    )
    plan = planned(tmp_path, text, TWO, "dim=32")
    assert [t.config.model.dim for t in plan.trials] == [32, 32]
    assert "model.dim is set on the command line, not by model" in plan.notes
    assert 'model.kind = "quadratic_mlp" has no model.ffn' in plan.notes
    assert sources_of(plan)["model.n_layers"] == (2, "configs/model/small_decoder.yaml")
    assert sources_of(plan)["model.dim"] == (32, "command line")


def test_an_axis_over_a_setting_decides_over_an_option(tmp_path: Path) -> None:
    plan = planned(tmp_path, MODULAR, TWO, "dim=16,32", seeds=2)
    assert len(plan.trials) == 8
    assert all(t.config.model.dim == t.changed["model.dim"] for t in plan.trials)


def test_an_option_that_is_typed_alone_fixes_the_axis(tmp_path: Path) -> None:
    text = MODULAR + "[space]\nmodel = ['small_decoder', 'quadratic_mlp']\np = [11, 13]\n"
    plan = planned(tmp_path, text, "model=quadratic_mlp")
    assert plan.axes == ("data.p",)
    assert {t.config.model.kind for t in plan.trials} == {"quadratic_mlp"}


def test_a_condition_asks_for_an_option_or_for_what_it_sets(tmp_path: Path) -> None:
    for condition in ("model = 'small_decoder'", "'model.kind' = 'decoder'", "n_layers = 2"):
        text = (
            f"{MODULAR}[space]\nffn = {{ values = ['gelu', 'relu'], when = {{ {condition} }} }}\n"
        )
        plan = planned(tmp_path, text, TWO)
        assert sorted(changed(plan), key=str) == [
            {"model": "quadratic_mlp"},
            {"model.ffn": "gelu", "model": "small_decoder"},
            {"model.ffn": "relu", "model": "small_decoder"},
        ]
    never = f"{MODULAR}[space]\nffn = {{ values = ['gelu'], when = {{ model = 'theos_small' }} }}\n"
    assert "axis model.ffn never takes a value: model is 'small_decoder', 'quadratic_mlp'" in (
        refused(tmp_path, never, TWO)
    )
    chosen = f"{MODULAR}[space]\nffn = {{ values = ['gelu'], when = {{ task = 'corpus' }} }}\n"
    assert "task is 'modular'" in refused(tmp_path, chosen, "task=modular")


def test_a_rule_asks_for_an_option_or_for_what_it_sets(tmp_path: Path) -> None:
    text = f"{MODULAR}[space]\nweight_decay = [0.1, 1.0]\n"
    for rule in (
        "model == 'quadratic_mlp' or weight_decay < 1",
        "n_layers < 2 or weight_decay < 1",
    ):
        guarded = rule if "n_layers" not in rule else f"model.kind != 'decoder' or {rule}"
        plan = planned(tmp_path, f'{text}require = ["{guarded}"]\n', TWO)
        assert sorted((p["model"], p["training.weight_decay"]) for p in changed(plan)) == [
            ("quadratic_mlp", 0.1),
            ("quadratic_mlp", 1.0),
            ("small_decoder", 0.1),
        ]


def test_an_option_fills_placeholders(tmp_path: Path) -> None:
    text = f"{MODULAR}[model]\ndim = {{{{DIM}}}}\n[training]\nwarmup_steps = {{{{DIM}}}}\n"
    plan = planned(tmp_path, text, TWO)
    assert {t.config.training.warmup_steps for t in plan.trials} == {128}
    named = 'name = "wide_{{DIM}}"\n' + MODULAR
    assert "model.dim is an axis" in refused(tmp_path, named, TWO)


def test_tasks_are_compared(tmp_path: Path) -> None:
    plan = planned(tmp_path, "", "task=glob(*)")
    assert {(t.changed["task"], t.config.data.task) for t in plan.trials} == {
        ("corpus", "corpus"),
        ("modular", "modular"),
        ("ariel", "ariel"),
    }
    assert {t.config.training.batch_size for t in plan.trials} == {16, "full"}
    assert plan.objective.metric == "val/loss"  # what all of them report


def test_a_scale_makes_options_small_and_keeps_their_ratios(tmp_path: Path) -> None:
    plan = planned(tmp_path, "", "model=theos_small,wide_shallow", scale="smoke")
    assert {
        (t.changed["model"], t.config.model.dim, t.config.model.n_layers)  # type: ignore[union-attr]
        for t in plan.trials
    } == {("theos_small", 64, 8), ("wide_shallow", 128, 3)}
    own = (
        f"{MODULAR}[space]\nmodel = ['theos_small', 'wide_shallow']\n"
        "[scale.tiny.space]\nmodel = ['small_decoder', 'quadratic_mlp']\n"
    )
    assert [p["model"] for p in changed(planned(tmp_path, own, scale="tiny"))] == [
        "small_decoder",
        "quadratic_mlp",
    ]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("tier=cpu,low_vram", "axis tier: a tier decides nothing of the result"),
        ("tier=glob(*)", "axis tier: a tier decides nothing of the result"),
        ("trainer=ci_fast,defaults", "option ci_fast makes a run small, which is for all trials"),
        ("trainer=kaggle_safe,defaults", "its options decide nothing of the result"),
        ("model=theos_smal,small_decoder", "no model 'theos_smal' - did you mean theos_small?"),
        ("model=range(1,3)", "axis model: "),
        ("model=glob(x*)", "model=glob(x*): matches nothing, expected one of baseline_standard, "),
        ("dim=glob(*)", "model.dim=glob(*): a pattern chooses among names"),
        ("batch_size=glob(*)", "training.batch_size=glob(*): a pattern chooses among names"),
        ("nrom_type=glob(*)", "unknown setting nrom_type - did you mean"),
        ("optimizer=glob(*)", "AdamW is the only optimizer"),
    ],
)
def test_what_is_no_axis_is_refused(tmp_path: Path, argument: str, said: str) -> None:
    message = refused(tmp_path, MODULAR, argument)
    assert message.startswith("command line: ")
    assert said in message
    assert "hint: " in message or "did you mean" in message


def test_a_single_run_takes_one_option() -> None:
    with pytest.raises(UsageError, match="model: got 2 values, a single run takes one"):
        make_plan(Request(overrides=(TWO,)), CPU)


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("norm_type=glob(*)", ["rmsnorm", "layernorm", "postnorm", "deepnorm", "none"]),
        ("norm_type=glob('[!n]*')", ["rmsnorm", "layernorm", "postnorm", "deepnorm"]),
        ("model.norm_type=glob(*,exclude=[n*,*p*])", ["rmsnorm", "layernorm"]),
        ("tie_embeddings=glob(*)", [False, True]),
        ("tokenizer=glob([b*,c*],exclude=bpe)", ["byte", "char"]),
    ],
)
def test_a_pattern_tries_the_words_of_a_setting(
    tmp_path: Path, argument: str, values: list[Any]
) -> None:
    (tried,) = {key for point in changed(planned(tmp_path, "", argument)) for key in point}
    assert [p[tried] for p in changed(planned(tmp_path, "", argument))] == values


def test_a_sweep_over_options_ends_with_their_names_on_the_leaderboard(tmp_path: Path) -> None:
    text = MODULAR + (
        "[training]\nsteps = 4\neval_interval = 2\n[logging]\nenable_tensorboard = false\n"
    )
    run_plan(planned(tmp_path, text, TWO, "dim=16"), tmp_path / "run")
    assert {t.changed["model"] for t in trials_of(tmp_path / "run")} == {
        "small_decoder",
        "quadratic_mlp",
    }
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    assert {entry["changed"]["model"] for entry in board["entries"]} == {
        "small_decoder",
        "quadratic_mlp",
    }

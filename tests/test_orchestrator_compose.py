"""Layers of settings: which one wins, where each value came from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.compose import (
    Composition,
    Layer,
    check,
    check_fields,
)
from orchestrator.errors import UsageError
from orchestrator.groups import compose_groups
from orchestrator.hardware import Hardware
from orchestrator.plan import make_plan, sources_of
from orchestrator.request import Request

CPU = Hardware(cpus=2)


def composed(**settings: Any) -> dict[str, tuple[Any, str]]:
    return {key.replace("__", "."): (value, f"a.toml:{key}") for key, value in settings.items()}


def problems(settings: dict[str, tuple[Any, str]]) -> list[str]:
    with pytest.raises(UsageError) as caught:
        check(settings)
    return [str(problem) for problem in caught.value.problems]


def planned(folder: Path, base: str = "", template: str = "", *overrides: str, **asked: Any) -> Any:
    (folder / "base.toml").write_text(base)
    (folder / "t.toml").write_text(template)
    request = Request(
        base_config=folder / "base.toml",
        strategy=str(folder / "t.toml"),
        overrides=overrides,
        **asked,
    )
    return make_plan(request, CPU)


# Who wins


def test_each_layer_wins_over_the_ones_before_and_the_source_says_so(tmp_path: Path) -> None:
    """One key, `limits.wall_clock_minutes`, given by one more layer each time."""
    key = "limits.wall_clock_minutes"
    base, template = "", ""
    overrides: list[str] = []

    def value_and_source() -> tuple[Any, str]:
        text = f"{template}\n[scale.tiny.limits]\n{scaled}"
        plan = planned(tmp_path, base, text, *overrides, scale="tiny")
        value, source = sources_of(plan)[key]
        return value, source.replace(f"{tmp_path}/", "")

    scaled = ""
    assert value_and_source() == (None, "default")
    overrides = ["trainer=kaggle_safe"]
    assert value_and_source() == (540, "configs/trainer/kaggle_safe.yaml")
    base = "[limits]\nwall_clock_minutes = 1\n"
    assert value_and_source() == (1, "base.toml:2")
    template = "\n[limits]\nwall_clock_minutes = 2\n"
    assert value_and_source() == (2, "t.toml:3")
    scaled = "wall_clock_minutes = 3\n"
    assert value_and_source() == (3, "t.toml:6")
    overrides.append(f"{key}=4")
    assert value_and_source() == (4, "command line")


def test_the_point_wins_over_every_layer(tmp_path: Path) -> None:
    text = "[training]\neps = 2.0\n[space]\neps = [3.0, 4.0]\n[scale.tiny.training]\neps = 5.0\n"
    plan = planned(tmp_path, "[training]\neps = 1.0\n", text, scale="tiny")
    assert [t.config.training.eps for t in plan.trials] == [3.0, 4.0]
    assert sources_of(plan)["training.eps"] == (3.0, "axis")
    typed = planned(tmp_path, "", text, "training.eps=6.0", scale="tiny")
    assert [t.config.training.eps for t in typed.trials] == [6.0]


def test_a_group_that_a_file_overrules_is_noted(tmp_path: Path) -> None:
    plan = planned(tmp_path, "[limits]\nwall_clock_minutes = 1\n", "", "trainer=kaggle_safe")
    (note,) = [note for note in plan.notes if "kaggle_safe" in note]
    assert note == (
        f"trainer=kaggle_safe sets limits.wall_clock_minutes 540; {tmp_path}/base.toml:2 1"
    )


def test_a_tier_that_is_asked_for_wins_over_the_one_in_a_file(tmp_path: Path) -> None:
    base = '[tier]\nname = "mine"\ndevice = "cpu"\nprecision = "bf16"\n'
    assert planned(tmp_path, base).trials[0].config.tier.precision == "bf16"
    tier = planned(tmp_path, base, tier="cpu").trials[0].config.tier
    assert (tier.name, tier.precision) == ("cpu", "fp32")


def test_another_kind_starts_its_section_anew_and_says_what_was_dropped() -> None:
    base = Composition({"model.dim": (1024, "base"), "model.n_layers": (80, "base")})
    over = base.over(
        Layer({"model.kind": ("quadratic_mlp", "template"), "model.dim": (64, "template")})
    )
    assert over.settings == {
        "model.kind": ("quadratic_mlp", "template"),
        "model.dim": (64, "template"),
    }
    assert over.notes == [
        'model.kind = "quadratic_mlp" (template) starts [model] anew: dropped model.dim,'
        " model.n_layers"
    ]
    assert base.notes == []
    data = Composition({"data.dataset_path": ("x", "base")})
    assert data.over(Layer({"data.task": ("modular", "t")})).settings == {
        "data.task": ("modular", "t")
    }


def test_naming_the_kind_that_is_there_drops_nothing() -> None:
    base = Composition({"model.dim": (1024, "base")})
    over = base.over(Layer({"model.kind": ("decoder", "template")}))
    assert over.settings["model.dim"] == (1024, "base")
    assert over.notes == []


# What is refused


def test_all_that_is_wrong_is_said_at_once_with_its_place_and_the_nearest_name() -> None:
    found = problems(
        composed(
            model__dmi=3,
            training__steps="10",
            training__learning_rate=0.0,
            training__weight_decay=float("nan"),
            training__batch_size="half",
            training__schedule="cosin",
            checkpoint__enable=1,
            training__seed=True,
            training__seq_len=4.5,
            data__dataset_path="",
            logging__interval=3,
        )
    )
    assert sorted(found) == sorted(
        [
            "a.toml:model__dmi: unknown key model.dmi - did you mean dim?",
            "a.toml:training__steps: training.steps: got '10', expected a whole number",
            "a.toml:training__learning_rate: training.learning_rate: got 0.0, expected more than 0",
            "a.toml:training__weight_decay: training.weight_decay: got nan,"
            " expected a finite number",
            "a.toml:training__batch_size: training.batch_size: got 'half',"
            " expected a whole number or 'full'",
            "a.toml:training__schedule: training.schedule: got 'cosin',"
            " expected 'cosine', 'linear' or 'constant' - did you mean cosine?",
            "a.toml:checkpoint__enable: checkpoint.enable: got 1, expected true or false",
            "a.toml:training__seed: training.seed: got true, expected a whole number",
            "a.toml:training__seq_len: training.seq_len: got 4.5, expected a whole number",
            "a.toml:data__dataset_path: data.dataset_path: got '', expected text that is not empty",
            "a.toml:logging__interval: unknown key logging.interval - did you mean log_interval?\n"
            "  hint: it is a setting of another section: checkpoint.interval",
        ]
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("training__seed", 2**31, "got 2147483648, expected less than 2.14748e+09"),
        ("training__final_lr_frac", 1.5, "got 1.5, expected at most 1"),
        ("training__steps", 0, "got 0, expected at least 1"),
        (
            "data__task",
            "modlar",
            "expected one of 'corpus', 'modular', 'ariel' - did you mean modular?",
        ),
        ("model__kind", "mlp", "model.kind: got 'mlp', expected one of 'decoder', 'quadratic_mlp'"),
        ("model__dim", [1, 2], "got [1, 2], expected a whole number\n  hint: model.dim=1,2 on"),
        ("model__foo", {}, "unknown key model.foo"),
        ("tier__gpus", float("inf"), "got inf, expected a finite number"),
    ],
)
def test_types_and_ranges(key: str, value: Any, expected: str) -> None:
    (problem,) = problems(composed(**{key: value}))
    assert problem.startswith(f"a.toml:{key}: ")
    assert expected in problem


def test_a_key_of_another_section_or_kind_says_which() -> None:
    (problem,) = problems(composed(model__learning_rate=1.0))
    assert "hint: it is a setting of another section: training.learning_rate" in problem
    (problem,) = problems(composed(model__kind="quadratic_mlp", model__n_layers=2))
    assert "hint: model.n_layers belongs to another kind of [model]" in problem


def test_a_check_over_several_settings_names_where_they_came_from() -> None:
    settings = {"model.dim": (10, "base.toml:2"), "model.n_heads": (3, "t.toml:4")}
    (problem,) = problems(settings)
    assert problem == "base.toml:2, t.toml:4: n_heads must divide dim: got n_heads 3 and dim 10"
    check_fields(settings)  # a later layer may mend it


def test_a_value_used_as_a_table_is_refused_with_its_place() -> None:
    (problem,) = problems({"model.dim": (3, "a.toml:1"), "model.dim.x": (4, "b.toml:2")})
    assert problem == "b.toml:2: model.dim.x: model.dim is a value, not a table"


def test_a_user_cannot_name_code(tmp_path: Path) -> None:
    for key in ("_target_", "_partial_"):
        (problem,) = problems(composed(**{f"model__{key}": "os.system"}))
        assert f"unknown key model.{key}" in problem
        with pytest.raises(UsageError, match=f"unknown setting model.{key}"):
            planned(tmp_path, "", "", f"model.{key}=os.system")
    value = planned(tmp_path, "", "", "model.name='${oc.env:HOME}'").trials[0].config.model.name
    assert value == "${oc.env:HOME}"


def test_mistakes_of_every_layer_come_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        planned(
            tmp_path,
            "[model]\ndmi = 3\n",
            "[training]\nsteps = 'a'\n",
            "foo",
            "model.bar=1",
            "trainer=fast",
            "training.eps=0",
        )
    text = str(caught.value)
    for expected in (
        f"{tmp_path}/base.toml:2: unknown key model.dmi - did you mean dim?",
        f"{tmp_path}/t.toml:2: training.steps: got 'a', expected a whole number",
        "command line: got 'foo', expected key=value",
        "command line: unknown setting model.bar",
        "command line: no trainer 'fast'",
        "command line: training.eps: got 0, expected more than 0",
    ):
        assert expected in text
    assert len(caught.value.problems) == 6


def test_both_files_and_the_command_line_are_read_before_anything_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        planned(tmp_path, "[modle]\n", "[space]\ndmi = [1]\n", "model.dmi=3")
    assert [problem.place.rpartition("/")[2] for problem in caught.value.problems] == [
        "base.toml:1",
        "t.toml:2",
        "command line",
    ]


# Hydra's groups


def test_a_group_option_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(UsageError) as caught:
        compose_groups({"trainer": "ci_fats", "tier": "tpus"}, set())
    assert [str(p) for p in caught.value.problems] == [
        "command line: no trainer 'ci_fats' - did you mean ci_fast?\n"
        "  hint: trainer is one of ablation, ci_fast, defaults, kaggle_safe",
        "command line: no tier 'tpus'\n  hint: tier is one of auto, cpu, datacenter, high_vram, low_vram",
    ]


def test_a_tier_sets_the_effective_batch_only_where_a_person_chose_it() -> None:
    chosen = compose_groups({"tier": "low_vram"}, {"tier"})
    picked = compose_groups({"tier": "low_vram"}, set())
    assert chosen.layer.settings["training.batch_size"] == (32, "configs/tier/low_vram.yaml")
    assert "training.batch_size" not in picked.layer.settings
    assert picked.layer.settings["tier.micro_batch"][0] == 1


def test_a_short_and_a_full_name_are_the_same_setting(tmp_path: Path) -> None:
    assert planned(tmp_path, "", "", "n_layers=2").trials[0].config.model.n_layers == 2
    for pair in (("n_layers=2", "model.n_layers=3"), ("n_layers=2", "model.n_layers=3,4")):
        with pytest.raises(UsageError, match=r"model\.n_layers is given twice"):
            planned(tmp_path, "", "", *pair)

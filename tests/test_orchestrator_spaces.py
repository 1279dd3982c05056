"""Structured spaces, from a template to the trials that they mean."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.forecast import make_forecast
from orchestrator.hardware import Hardware
from orchestrator.plan import Plan, make_plan
from orchestrator.plan_table import render_plan
from orchestrator.request import Request

CPU = Hardware(cpus=2)


def planned(folder: Path, text: str, *overrides: str, **asked: Any) -> Plan:
    (folder / "mine.toml").write_text(text)
    request = Request(strategy=str(folder / "mine.toml"), overrides=overrides, **asked)
    return make_plan(request, CPU)


def refused(folder: Path, text: str, *overrides: str, **asked: Any) -> str:
    with pytest.raises(UsageError) as caught:
        planned(folder, text, *overrides, **asked)
    return str(caught.value).replace(f"{folder}/", "")


def changed(plan: Plan) -> list[dict[str, Any]]:
    return [
        {key.rpartition(".")[2]: value for key, value in t.changed.items()} for t in plan.trials
    ]


RATES = "[space]\nlearning_rate = { log_uniform = [1e-5, 1e-3] }\n"


def test_a_grid_refuses_a_continuum_and_says_what_to_type(tmp_path: Path) -> None:
    assert refused(tmp_path, RATES, max_trials=9) == (
        "mine.toml:2: axis training.learning_rate: got a continuous range, a grid needs values to"
        " list\n  hint: --search random --max-trials 100, or give learning_rate points = 5"
    )
    message = refused(tmp_path, "[space]\nweight_decay = { uniform = [0, 1] }\n")
    assert "or give weight_decay a step, or points = 5" in message
    plan = planned(tmp_path, RATES.replace(" }", ", points = 3 }"))
    assert [point["learning_rate"] for point in changed(plan)] == [1e-5, 1e-4, 1e-3]


@pytest.mark.parametrize("search", ["random", "sobol"])
def test_a_continuum_is_sampled_for_as_many_trials_as_are_asked(
    tmp_path: Path, search: str
) -> None:
    message = refused(tmp_path, RATES, search=search)
    assert "no number of trials" in message
    assert "hint: --max-trials 100, or max_trials = 100 in [search]" in message
    plan = planned(tmp_path, RATES, search=search, max_trials=20, seeds=2)
    rates = [t.config.training.learning_rate for t in plan.trials]
    assert len(rates) == 20
    assert len(set(rates)) == 10
    assert all(1e-5 <= rate <= 1e-3 for rate in rates)
    assert [t.changed["training.learning_rate"] for t in plan.trials] == rates
    assert plan.hash == planned(tmp_path, RATES, search=search, max_trials=20, seeds=2).hash
    in_file = f"{RATES}[search]\nmethod = '{search}'\nmax_trials = 20\n"
    assert planned(tmp_path, in_file, seeds=2).hash == plan.hash


def test_zipped_axes_move_together(tmp_path: Path) -> None:
    zipped = "[space]\nseeds = 1\n[[space.zip]]\ndim = [16, 32]\nn_heads = [1, 2]\n"
    plan = planned(tmp_path, zipped, "n_layers=1,2,3")
    assert len(plan.trials) == 6
    assert {(p["dim"], p["n_heads"]) for p in changed(plan)} == {(16, 1), (32, 2)}
    fixed = planned(tmp_path, zipped, "dim=64")
    assert changed(fixed) == [{"n_heads": 1}, {"n_heads": 2}]
    assert "model.dim has 3 values and model.n_heads 2 values" in refused(
        tmp_path, zipped, "dim=16,32,64"
    )


CONDITIONAL = (
    "[space]\nffn = ['swiglu', 'gelu']\n"
    "ffn_dim = { values = [32, 64, 96], when = { 'model.ffn' = 'gelu' } }\n"
)


def test_a_conditional_axis_takes_a_value_where_its_condition_holds(tmp_path: Path) -> None:
    plan = planned(tmp_path, CONDITIONAL, "ffn_dim=32,64", seeds=2)
    points = changed(plan)[::2]
    assert sorted(points, key=str) == [
        {"ffn": "gelu", "ffn_dim": 32},
        {"ffn": "gelu", "ffn_dim": 64},
        {"ffn": "swiglu"},
    ]
    (plain,) = [t for t in plan.trials[::2] if t.config.model.ffn == "swiglu"]
    assert plain.config.model.ffn_dim is None
    assert plan.duplicates == 0
    forecast = make_forecast(plan.trials, Hardware(cpus=2), free_bytes=10**12)
    for output in ("table", "md", "csv", "json"):
        assert "gelu" in render_plan(plan, forecast, output)


def test_a_condition_that_never_holds_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, CONDITIONAL, "ffn=relu") == (
        "mine.toml:3: axis model.ffn_dim never takes a value: model.ffn is 'relu', its condition"
        " wants 'gelu'\n  hint: leave the axis out, or let model.ffn be 'gelu'"
    )
    circle = (
        "[space]\nffn = { values = ['gelu', 'relu'], when = { n_layers = 2 } }\n"
        "n_layers = { values = [1, 2], when = { ffn = 'gelu' } }\n"
    )
    assert "conditions wait for each other: " in refused(tmp_path, circle)


def test_a_condition_may_name_the_kind_of_a_section(tmp_path: Path) -> None:
    text = (
        "[data]\ntask = 'modular'\n[space]\nmodel.kind = ['decoder', 'quadratic_mlp']\n"
        "n_layers = { values = [1, 2], when = { model.kind = 'decoder' } }\n"
        "require = ['model.kind != \"decoder\" or n_layers * 64 <= dim']\n"
    )
    plan = planned(tmp_path, text)
    assert sorted(changed(plan), key=str) == [
        {"kind": "decoder", "n_layers": 1},
        {"kind": "decoder", "n_layers": 2},
        {"kind": "quadratic_mlp"},
    ]


def test_another_kind_keeps_what_both_kinds_have_and_says_what_it_has_not(tmp_path: Path) -> None:
    text = (
        "[data]\ntask = 'modular'\n[model]\ndim = 64\nffn = 'relu'\n"
        "[space]\nmodel.kind = ['decoder', 'quadratic_mlp']\n"
    )
    plan = planned(tmp_path, text)
    assert [t.config.model.dim for t in plan.trials] == [64, 64]
    assert 'model.kind = "quadratic_mlp" has no model.ffn' in plan.notes
    assert "unknown key model.dmi - did you mean dim?" in refused(
        tmp_path, text.replace("ffn = 'relu'", "dmi = 3")
    )


REQUIRED = (
    "[model]\nposition = 'learned'\n"
    "[space]\ndim = [16, 24, 36]\nn_heads = [2, 8, 9]\nrequire = ['model.dim % n_heads == 0']\n"
)


def test_points_that_break_a_rule_are_left_out_and_counted(tmp_path: Path) -> None:
    plan = planned(tmp_path, REQUIRED)
    assert {(p["dim"], p["n_heads"]) for p in changed(plan)} == {
        (dim, heads) for dim in (16, 24, 36) for heads in (2, 8, 9) if dim % heads == 0
    }
    assert "3 points were left out: model.dim % n_heads == 0 does not hold" in plan.notes
    for search in ("random", "sobol"):
        drawn = planned(tmp_path, REQUIRED, search=search)
        assert {t.id for t in drawn.trials} == {t.id for t in plan.trials}


def test_a_rule_is_asked_over_settings_defaults_and_the_command_line(tmp_path: Path) -> None:
    text = "[space]\nn_layers = [1, 2, 3]\nrequire = ['n_layers * 100 <= steps', 'n_heads == 4']\n"
    assert [p["n_layers"] for p in changed(planned(tmp_path, text, "steps=200"))] == [1, 2]


def test_a_space_without_a_point_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, "[space]\ndim = [16, 24]\nrequire = ['dim > 99']\n")
    assert message == (
        "mine.toml:3: no point keeps 'dim > 99': 2 of 2 tried break it\n"
        "  hint: other values, or leave the rule out"
    )
    endless = f"{RATES}require = ['learning_rate > 1']\n"
    assert "no point keeps 'learning_rate > 1'" in refused(
        tmp_path, endless, search="random", max_trials=3
    )


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("model.dmi > 3", "unknown setting model.dmi - did you mean model.dim?"),
        ("dim / (n_layers - 4) > 3", "require 'dim / (n_layers - 4) > 3': cannot be answered: "),
        ("ffn_dim > 3", "require 'ffn_dim > 3': cannot be answered: "),
    ],
)
def test_a_rule_that_cannot_be_answered_is_refused(tmp_path: Path, rule: str, said: str) -> None:
    text = f"[space]\ndim = [16, 24]\nrequire = ['{rule}']\n"
    assert refused(tmp_path, text).startswith(f"mine.toml:3: {said}")


def test_a_space_beyond_all_plans_is_counted_not_built(tmp_path: Path) -> None:
    text = (
        "[space]\nsteps = { integer = [1, 1000] }\nwarmup_steps = { integer = [1, 1000] }\n"
        "dropout = { uniform = [0.0, 0.9], step = 0.1, when = { ffn = ['swiglu'] } }\n"
        "require = ['dim % n_heads == 0']\n[[space.zip]]\n"
        "dim = [16, 32, 48, 64, 80, 96, 112, 128, 144, 160]\n"
        "n_heads = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n"
    )
    planned(tmp_path, "")  # what is loaded once is not what is measured
    tracemalloc.start()
    message = refused(tmp_path, text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000  # bytes: the points of such a space would take gigabytes
    assert (
        "got up to 100,000,000 trials (training.steps 1000 x training.warmup_steps 1000" in message
    )
    assert "model.dim = model.n_heads 10" in message
    assert "--search random --max-trials 100" in message


@pytest.mark.parametrize("search", ["random", "sobol", "grid"])
def test_a_part_of_a_huge_space_is_planned(tmp_path: Path, search: str) -> None:
    text = "[space]\nsteps = { integer = [10, 1_000_000_000_000] }\nwarmup_steps = [1, 2, 3]\n"
    plan = planned(tmp_path, text, search=search, max_trials=5)
    assert len({t.id for t in plan.trials}) == 5
    assert any(note.startswith("5 of 2,999,999,999,973 trials") for note in plan.notes)


def test_ranges_are_typed_on_the_command_line(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        "",
        "learning_rate=tag(log,interval(1e-4,1e-2))",
        "n_layers=int(interval(2,12))",
        "dropout=range(0,0.5,0.1)",
        search="sobol",
        max_trials=32,
    )
    assert len(plan.trials) == 32
    for point in changed(plan):
        assert 1e-4 <= point["learning_rate"] <= 1e-2
        assert point["n_layers"] in range(2, 13)
        assert point["dropout"] in (0.0, 0.1, 0.2, 0.3, 0.4)
    grid = planned(tmp_path, "", "n_layers=range(2,9,3)")
    assert [p["n_layers"] for p in changed(grid)] == [2, 5, 8]


def test_a_single_run_takes_no_range() -> None:
    with pytest.raises(UsageError, match=r"model\.dim: got a range, a single run takes one"):
        make_plan(Request(overrides=("model.dim=int(interval(2,12))",)), CPU)


def test_smoke_scales_both_ends_of_a_range(tmp_path: Path) -> None:
    text = (
        "[model]\ndim = 1024\nn_heads = 16\n[space]\n"
        "learning_rate = { log_uniform = [1e-4, 1e-3] }\nn_layers = { integer = [20, 80] }\n"
        "weight_decay = { uniform = [0.0, 0.2], step = 0.1 }\n"
        "ffn_dim = { values = [1024, 4096], when = { dim = 1024 } }\n"
    )
    plan = planned(tmp_path, text, scale="smoke", search="sobol", max_trials=40)
    points = changed(plan)
    assert {p["n_layers"] for p in points} == set(range(2, 9))
    assert {p["weight_decay"] for p in points} == {0.0, 0.1, 0.2}
    assert {p["ffn_dim"] for p in points} == {64, 256}
    assert all(16e-4 <= p["learning_rate"] <= 16e-3 for p in points)
    assert max(p["learning_rate"] for p in points) > 8e-3
    assert "axis model.dim: --scale smoke makes 1000 to 1024 into 64 to 64" in refused(
        tmp_path, "[space]\ndim = { integer = [1000, 1024] }\n", scale="smoke"
    )

"""The plan: which trials a request means, and which requests mean none."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.forecast import make_forecast
from orchestrator.hardware import Hardware
from orchestrator.plan import Plan, make_plan, sources_of
from orchestrator.plan_table import render_config, render_plan
from orchestrator.request import Request
from orchestrator.space_table import make_axis
from trainer.config import RunConfig
from trainer.identity import deciding_settings

ROOT = Path(__file__).parent.parent
BASE = ROOT / "sweep_templates" / "base_config.toml"
CPU = Hardware(cpus=2)
ONE_GPU = Hardware(cpus=2, gpus=(80.0,))


def planned(strategy: str | None, *overrides: str, hardware: Hardware = CPU, **asked: Any) -> Plan:
    return make_plan(Request(strategy=strategy, overrides=overrides, **asked), hardware)


def shown(plan: Plan, output: str) -> str:
    return render_plan(plan, make_forecast(plan.trials, CPU, free_bytes=10**12), output)


def own(folder: Path, text: str, name: str = "mine.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def refused(strategy: str | None, *overrides: str, **asked: Any) -> str:
    with pytest.raises(UsageError) as caught:
        planned(strategy, *overrides, **asked)
    return str(caught.value)


# The templates that ship


def test_deep_narrow_is_the_published_36_points() -> None:
    plan = planned("deep_narrow")
    assert sorted(tuple(t.changed.values()) for t in plan.trials) == [
        (layers, dim, decay, rate)
        for layers in (60, 80, 100)
        for dim in (768, 1024)
        for decay in (0.05, 0.1, 0.2)
        for rate in (1e-4, 3e-4)
    ]
    assert plan.axes == (
        "model.n_layers",
        "model.dim",
        "training.weight_decay",
        "training.learning_rate",
    )
    sizes = {(t.config.model.dim, t.config.model.n_layers): t.parameters for t in plan.trials}
    assert sizes[768, 60] == pytest.approx(0.58e9, rel=0.01)
    assert sizes[1024, 80] == pytest.approx(1.36e9, rel=0.01)
    assert sizes[1024, 100] == pytest.approx(1.69e9, rel=0.01)


def test_grid_is_the_full_product_over_the_base_config() -> None:
    plan = planned("grid", base_config=BASE)
    assert sorted(tuple(t.changed.values()) for t in plan.trials) == [
        (layers, decay, rate)
        for layers in (40, 80)
        for decay in (0.05, 0.2)
        for rate in (1e-4, 3e-4)
    ]
    model, training = plan.trials[0].config.model, plan.trials[-1].config.training
    assert (model.name, model.dim, model.n_heads, model.vocab_size) == (
        "theos_small",
        1024,
        16,
        8192,
    )
    assert (training.seq_len, training.batch_size, training.steps) == (4096, 16, 200_000)
    assert (training.warmup_steps, plan.trials[0].config.checkpoint.interval) == (2000, 5000)
    assert plan.trials[0].config.logging.log_interval == 10


def test_grokking_regime_is_as_documented() -> None:
    trials = planned("grokking_regime").trials
    training, logging = trials[0].config.training, trials[0].config.logging
    assert (training.weight_decay, training.steps) == (0.2, 500_000)
    assert (training.learning_rate, training.warmup_steps) == (1e-4, 5000)
    assert training.eval_interval == 2000
    assert (logging.track_grad_norms, logging.track_weight_norms) == (True, True)
    assert [t.seed for t in trials] == [0, 1, 2]
    assert len({t.point_id for t in trials}) == 1


def test_baseline_standard_is_as_documented() -> None:
    (trial,) = planned("baseline_standard").trials
    model, training = trial.config.model, trial.config.training
    assert (model.dim, model.n_layers, model.n_heads) == (2048, 32, 16)
    assert (training.weight_decay, training.learning_rate) == (0.01, 3e-4)
    assert (training.warmup_steps, training.steps) == (2000, 100_000)
    assert (training.batch_size, training.seq_len) == (32, 2048)
    assert trial.parameters == pytest.approx(2.18e9, rel=0.01)


# Identity


def test_the_same_request_is_the_same_plan_wherever_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be " * 400)
    path = own(tmp_path, '[data]\ndataset_path = "text.txt"\n[space]\nn_layers = [1, 2]\n')
    monkeypatch.chdir(tmp_path)
    here = planned("mine.toml")
    monkeypatch.chdir("/")
    elsewhere = planned(path, f"data.dataset_path={tmp_path}/text.txt")
    assert [t.id for t in here.trials] == [t.id for t in elsewhere.trials]
    assert (
        here.hash == elsewhere.hash == planned(path, f"data.dataset_path={tmp_path}/text.txt").hash
    )


def test_the_hash_follows_the_trials_and_what_ranks_them(tmp_path: Path) -> None:
    text = "[space]\nn_layers = [1, 2]\n"
    plan = planned(own(tmp_path, text))
    assert planned(own(tmp_path, "name = 'x'\n" + text)).hash == plan.hash
    assert planned(own(tmp_path, text + "[objective]\nmode = 'max'\n")).hash != plan.hash
    assert planned(own(tmp_path, text), "training.eps=1e-7").hash != plan.hash
    assert planned(own(tmp_path, text), "logging.log_interval=3").hash == plan.hash


@pytest.mark.parametrize("tier", ["cpu", "high_vram", "datacenter"])
@pytest.mark.parametrize("name", ["deep_narrow", "weight_decay_grokking", "baseline_standard"])
def test_a_tier_decides_nothing_that_is_learned(name: str, tier: str) -> None:
    plan = planned(name, tier=tier, hardware=ONE_GPU)
    assert plan.trials[0].config.tier.name == tier
    assert [t.id for t in plan.trials] == [t.id for t in planned(name).trials]


def test_a_picked_tier_keeps_the_effective_batch_and_a_chosen_one_sets_it() -> None:
    small = Hardware(cpus=2, gpus=(6.0,))
    picked, chosen = planned(None, hardware=small), planned(None, tier="low_vram", hardware=small)
    assert picked.trials[0].config.tier.name == chosen.trials[0].config.tier.name == "low_vram"
    assert picked.trials[0].id == planned(None).trials[0].id
    assert picked.trials[0].config.training.batch_size == 16
    assert chosen.trials[0].config.training.batch_size == 32
    given = planned(None, "training.batch_size=16", "tier=low_vram", hardware=small)
    assert given.trials[0].id == planned(None).trials[0].id
    assert planned(None, tier="auto", hardware=small).notes == [
        "tier low_vram: 6 GiB a GPU; micro-batch 16, 1.2 GiB predicted"
    ]


# Duplicates, limits, seeds


def test_duplicates_are_left_out_with_a_note(tmp_path: Path) -> None:
    plan = planned(own(tmp_path, '[space]\n"training.weight_decay" = [1, 1.0, 2, 1]\n'))
    assert [t.changed["training.weight_decay"] for t in plan.trials] == [1, 2]
    assert [t.position for t in plan.trials] == [0, 1]
    assert plan.duplicates == 2
    assert "2 duplicate trials were left out" in plan.notes


def test_an_absurd_grid_is_counted_not_built(tmp_path: Path) -> None:
    values = list(range(1, 101))
    axes = "".join(f"{key} = {values}\n" for key in ("n_layers", "warmup_steps", "steps", "dim"))
    path = own(tmp_path, f"[space]\n{axes}")
    tracemalloc.start()
    message = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "got 100,000,000 trials (model.n_layers 100 x training.warmup_steps 100 x" in message
    assert "expected at most 10,000" in message
    assert "hint: fewer values, or --search random --max-trials 100" in message
    assert path in message
    assert peak < 50e6


def test_a_random_search_draws_as_many_as_it_may(tmp_path: Path) -> None:
    steps = list(range(1, 1001))
    path = own(tmp_path, f"[space]\nsteps = {steps}\nn_layers = {steps}\nseeds = 2\n")
    plan = planned(path, search="random", max_trials=6)
    assert len(plan.trials) == 6
    assert [t.seed for t in plan.trials] == [0, 1] * 3
    assert len({t.point_id for t in plan.trials}) == 3
    assert plan.hash == planned(path, search="random", max_trials=6).hash
    assert "6 of 2,000,000 trials are planned" in plan.notes
    reseeded = own(
        tmp_path, Path(path).read_text() + "[search]\nseed = 1\nmethod = 'random'\n", "b.toml"
    )
    assert planned(reseeded, max_trials=6).hash != plan.hash


def test_a_grid_that_is_cut_says_so() -> None:
    plan = planned("grid", max_trials=3)
    assert [t.id for t in plan.trials] == [t.id for t in planned("grid").trials[:3]]
    assert "3 of 8 trials are planned" in plan.notes
    assert planned("grid", max_trials=8).notes == planned("grid").notes


def test_seeds_are_given_by_template_and_command_line(tmp_path: Path) -> None:
    path = own(tmp_path, "[training]\nseed = 7\n[space]\nseeds = [3, 5]\n")
    assert [t.seed for t in planned(path).trials] == [3, 5]
    assert [t.seed for t in planned(path, seeds=3).trials] == [0, 1, 2]
    assert [t.seed for t in planned(path, "training.seed=9").trials] == [9]
    assert [t.seed for t in planned(own(tmp_path, "[training]\nseed = 7\n")).trials] == [7]
    assert "got --seeds 3 and training.seed=9, expected one of them" in refused(
        path, "training.seed=9", seeds=3
    )


def test_the_seed_is_no_axis(tmp_path: Path) -> None:
    path = own(tmp_path, '[space]\n"training.seed" = [1, 2]\n')
    message = refused(path)
    assert message.startswith(f"{path}:2: the seed is no axis")
    assert "--seeds 3" in message
    assert refused("grid", "seed=1,2").startswith("command line: the seed is no axis")


def test_an_axis_set_on_the_command_line_is_none_any_more() -> None:
    plan = planned("grid", "training.weight_decay=0.3")
    assert plan.axes == ("model.n_layers", "training.learning_rate")
    assert {t.config.training.weight_decay for t in plan.trials} == {0.3}
    assert "axis training.weight_decay is set to 0.3 on the command line" in plan.notes


def test_axes_listed_on_the_command_line_are_added_or_replace() -> None:
    plan = planned("grid", "weight_decay=0.3", "n_layers=1,2,3", "model.dim=16,32")
    assert plan.axes == ("model.n_layers", "training.learning_rate", "model.dim")
    assert len(plan.trials) == 3 * 2 * 2


# Refusals


@pytest.mark.parametrize(
    ("metric", "near"), [("val/losss", " - did you mean val/loss?"), ("throughput", "")]
)
def test_an_objective_that_is_never_reported_is_refused(
    tmp_path: Path, metric: str, near: str
) -> None:
    path = own(tmp_path, f"[objective]\nmetric = '{metric}'\n")
    assert refused(path) == (
        f"{path}:2: objective.metric: got '{metric}', which task corpus does not report{near}\n"
        "  hint: one of val/loss, val/perplexity, val/bits_per_byte, val/accuracy,"
        " grok/memorised_step, grok/generalised_step, grok/delay"
    )


def test_a_time_that_may_not_come_is_judged_by_its_median(tmp_path: Path) -> None:
    table = "[objective]\nmetric = 'grok/generalised_step'\n"
    plan = planned(own(tmp_path, table))
    assert plan.objective.statistic == "median"
    path = own(tmp_path, f"{table}statistic = 'mean'\n")
    assert refused(path) == (
        f'{path}:3: objective.statistic: got "mean", which grok/generalised_step has not: a run may'
        " end before it is reached\n"
        '  hint: statistic = "median", or leave it out'
    )


def test_a_streak_needs_its_evaluations(tmp_path: Path) -> None:
    table = "[training]\nsteps = 60\neval_interval = 30\n[objective]\nmetric = 'grok/delay'\n"
    path = own(tmp_path, table)
    assert refused(path) == (
        f"{path}:5: objective.metric: grok/delay takes 3 evaluations in a row, the run has 2:"
        " training.eval_interval is 30 of 60 steps\n  hint: training.eval_interval=3"
    )
    assert planned(path, "training.eval_interval=29").trials


def test_a_single_run_takes_no_axis() -> None:
    message = refused(None, "model.dim=16,32")
    assert message.startswith("command line: model.dim: got 2 values, a single run takes one")
    assert "arbiter sweep" in message


def test_a_tier_that_does_not_fit_is_refused_once() -> None:
    assert refused("grid", tier="high_vram") == (
        "configs/tier/high_vram.yaml: tier high_vram needs a GPU: none is in use here\n"
        "  hint: --tier cpu trains on the CPU"
    )
    assert refused("grid", "tier.gpus=2.0", tier="high_vram", hardware=ONE_GPU) == (
        "command line: tier.gpus 2 is more than the 1 in use\n  hint: --tier cpu trains on the CPU"
    )
    assert refused("grid", "tier.cpus=3") == (
        "command line: tier.cpus 3 is more than the 2 cores here\n  hint: tier.cpus=2"
    )
    assert refused("grid", "tier.workers=2", "tier.cpus=2") == (
        "command line: tier.workers 2 of tier.cpus 2 takes 4 cores, more than the 2 here\n"
        "  hint: tier.workers=2 tier.cpus=1"
    )
    assert "gpus is a share of one GPU or a whole number" in refused("grid", "tier.gpus=1.5")
    assert "expected one of them" in refused("grid", "tier=cpu", tier="cpu")


@pytest.mark.parametrize("key", ["tier.cpus", "limits.stop_after_steps", "model.name", "keep"])
def test_what_decides_no_result_is_no_axis(tmp_path: Path, key: str) -> None:
    path = own(tmp_path, f"[space]\n{key} = [1, 2]\n")
    message = refused(path)
    assert message.startswith(f"{path}:2: axis {key}: ")
    assert "decides nothing of the result" in message


def test_every_section_that_decides_may_be_an_axis() -> None:
    settings = deciding_settings(RunConfig())
    for section, values in settings.items():
        for leaf in values.keys() - {"seed"}:
            make_axis(f"{section}.{leaf}", [1], "here")


def test_wrong_values_on_an_axis_are_said_at_once(tmp_path: Path) -> None:
    path = own(tmp_path, "[space]\nn_layers = [0, 1, -2]\nlearning_rate = [0.0, 1e-3, 'a']\n")
    lines = refused(path).split("\n")
    assert sorted(lines) == sorted(
        [
            f"{path}:2: model.n_layers: got 0, expected at least 1",
            f"{path}:2: model.n_layers: got -2, expected at least 1",
            f"{path}:3: training.learning_rate: got 0.0, expected more than 0",
            f"{path}:3: training.learning_rate: got 'a', expected a number",
        ]
    )


def test_a_missing_text_is_refused_with_its_place(tmp_path: Path) -> None:
    path = own(tmp_path, "[data]\ndataset_path = 'nowhere.txt'\n")
    message = refused(path)
    assert message.startswith(f"{path}:2: data.dataset_path: no file 'nowhere.txt'")
    assert "hint: " in message


@pytest.mark.parametrize(
    "override", ["model.n_layers=1" + "0" * 20, "training.steps=1" + "0" * 400]
)
def test_a_model_or_a_run_beyond_all_numbers_is_refused(override: str) -> None:
    assert "expected fewer than 1e+15 parameters" in refused("grid", override)


def test_templates_are_found_by_name_and_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid").write_text("not TOML")
    assert planned("grid").hash == planned(str(ROOT / "sweep_templates" / "grid.toml")).hash
    assert "no sweep template 'grd' - did you mean grid?" in refused("grd")
    assert "deep_narrow" in refused("grd")
    assert refused("").startswith("--strategy: no sweep template ''")
    assert "No such file" in refused("mine.toml")
    assert "expected a TOML file" in refused(str(tmp_path))
    assert refused("x" * 300).startswith("--strategy: no sweep template")


# What is shown of it


def test_values_are_only_text_in_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "=a|b\x1b[2J<i>").write_text("to be or not to be " * 400)
    plan = planned(own(tmp_path, '[space]\ndataset_path = ["=a|b\\u001b[2J<i>", "kjv"]\n'))
    table, md, text = (shown(plan, output) for output in ("table", "md", "csv"))
    assert "\x1b" not in table + md + text
    assert "<i>" not in md
    lines = [line for line in md.splitlines() if line.startswith("|")]
    assert [line.replace("\\|", "").count("|") for line in lines[:4]] == [10] * 4
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[1][1] == "'=a|b?[2J<i>"
    assert json.loads(shown(plan, "json"))["trials"][0]["changed"] == {
        "data.dataset_path": "=a|b\x1b[2J<i>"
    }


def test_json_and_csv_hold_every_trial() -> None:
    plan = planned("grid")
    data = json.loads(shown(plan, "json"))
    assert data["hash"] == plan.hash
    assert [t["id"] for t in data["trials"]] == [t.id for t in plan.trials]
    rows = list(csv.DictReader(io.StringIO(shown(plan, "csv"))))
    assert [row["trial"] for row in rows] == [t.id for t in plan.trials]
    assert int(rows[0]["parameters"]) == plan.trials[0].parameters
    assert "8 trials, ranked by val/loss (min): 8 new" in shown(plan, "table")
    assert [int(row["tokens"]) for row in rows] == [t["tokens"] for t in data["trials"]]
    assert data["trials"][0]["tokens"] == 1000 * 16 * 256
    assert data["forecast"]["wall_s"] > 0


def test_a_long_table_is_folded_and_says_so() -> None:
    plan = planned("grid", seeds=20)
    table, md = shown(plan, "table"), shown(plan, "md")
    assert "… 100 more" in table and "--format md, csv and json have every trial" in table
    folded = [trial.id for trial in plan.trials if trial.id not in table]
    assert folded == [trial.id for trial in plan.trials[50:-10]]
    assert all(trial.id in md for trial in plan.trials)


def test_an_axis_that_is_a_column_already_has_its_full_name() -> None:
    heading, *_ = shown(planned("grid", "steps=10,20"), "table").splitlines()
    assert "training.steps" in heading and " steps " in heading


def test_every_setting_is_shown_with_its_source() -> None:
    plan = planned("grid", "training.eps=1e-7", base_config=BASE, seeds=2)
    settings = sources_of(plan)
    assert settings["training.eps"] == (1e-7, "command line")
    assert settings["model.dim"] == (1024, f"{BASE}:7")
    assert settings["model.n_layers"] == (40, "axis")
    assert settings["training.seed"] == (0, "seeds")
    assert settings["training.beta1"] == (0.9, "default")
    for output in ("table", "md", "csv", "json"):
        shown = render_config(settings, output)
        assert all(key in shown and source in shown for key, (_, source) in settings.items())
    document = json.loads(render_config(settings, "json"))
    assert document["model.ffn_dim"] == {"value": None, "source": "default"}
    rows = list(csv.DictReader(io.StringIO(render_config(settings, "csv"))))
    assert [row["setting"] for row in rows] == [*settings]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[model]\nposition = "learned"\nrope_theta = 500.0\n',
            'mine.toml:3: model.rope_theta: got 500.0, which has no effect: model.position is "learned"',
        ),
        (
            '[training]\nschedule = "constant"\nfinal_lr_frac = 0.2\n',
            "mine.toml:3: training.final_lr_frac: got 0.2, which has no effect:"
            ' training.schedule is "constant"',
        ),
    ],
)
def test_a_setting_without_effect_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        make_plan(Request(strategy=str(path)), Hardware(2))
    key = said.split(": ")[1]
    assert str(caught.value) == f"{tmp_path}/{said}\n  hint: leave {key} out"
    # Where some trial has a use for it, and as a snapshot has it, it stands.
    swept = ("model.position=rope,learned", "training.schedule=constant,cosine")
    assert len(make_plan(Request(strategy=str(path), overrides=swept), Hardware(2)).trials) == 4
    path.write_text('[model]\nposition = "learned"\nrope_theta = 10_000.0\n')
    assert len(make_plan(Request(strategy=str(path)), Hardware(2)).trials) == 1

"""`--scale smoke` keeps the shape of a sweep and makes it small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.hardware import Hardware
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request
from orchestrator.scale import smoke_dim

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted(path.stem for path in (ROOT / "sweep_templates").glob("*.toml"))
CPU = Hardware(cpus=2)
WRITTEN_FOR = {"weight_decay_grokking"}
"""Templates whose own `[scale.smoke.space]` tries other values."""


def planned(strategy: str, *overrides: str, scale: str | None = "smoke", **asked: Any) -> Plan:
    request = Request(strategy=strategy, overrides=overrides, scale=scale, **asked)
    return make_plan(request, CPU)


def own(folder: Path, text: str) -> str:
    (folder / "mine.toml").write_text(text)
    return str(folder / "mine.toml")


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_keeps_its_axes_and_points(name: str) -> None:
    full, small = planned(name, scale=None), planned(name)
    assert small.axes == full.axes
    assert small.duplicates == 0
    if name not in WRITTEN_FOR:
        assert len(small.trials) == len(full.trials)
        for axis in full.axes:
            assert len({t.changed[axis] for t in small.trials}) == len(
                {t.changed[axis] for t in full.trials}
            )
    assert {t.id for t in small.trials}.isdisjoint(t.id for t in full.trials)
    assert len({t.id for t in small.trials}) == len(small.trials)
    assert max(t.flops for t in small.trials) < 1e13


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_trainer_preset_for_ci_is_the_same_thing(name: str) -> None:
    assert planned(name, "trainer=ci_fast", scale=None).hash == planned(name).hash


def test_the_grid_over_the_base_config_worked_by_hand() -> None:
    """1024 wide becomes 64: a sixteenth, so the learning rate is 16 times as high."""
    plan = planned("grid", base_config=ROOT / "sweep_templates" / "base_config.toml")
    first, last = plan.trials[0].config, plan.trials[-1].config
    assert (first.model.dim, first.model.n_layers, last.model.n_layers) == (64, 4, 8)
    assert (first.model.n_heads, first.model.vocab_size) == (4, 512)
    assert first.training.learning_rate == pytest.approx(16e-4)
    assert last.training.learning_rate == pytest.approx(48e-4)
    assert first.training.steps == 150
    assert first.training.warmup_steps == 2  # 2,000 of 200,000 steps are 1.5 of 150
    assert first.training.eval_interval == 30
    assert first.training.seq_len == 64
    assert first.training.batch_size == 8
    assert first.checkpoint.interval == 50
    assert first.logging.log_interval == 10
    assert first.training.weight_decay == 0.05


@pytest.mark.parametrize(
    ("dim", "widest", "small"),
    [
        (16, 64, 16),  # small ones stay
        (128, 128, 64),
        (1024, 1024, 64),
        (768, 1024, 48),
        (2048, 2048, 128),
        (1024, 2048, 64),
        (64, 512, 8),
        (512, 512, 64),
    ],
)
def test_widths(dim: int, widest: int, small: int) -> None:
    assert smoke_dim(dim, widest) == small


def test_where_widths_are_an_axis_the_widest_sets_the_learning_rate() -> None:
    plan = planned("deep_narrow")
    assert {t.changed["model.dim"] for t in plan.trials} == {48, 64}
    rates = sorted({t.changed["training.learning_rate"] for t in plan.trials})
    assert rates == pytest.approx([16e-4, 48e-4])


def test_the_command_line_has_the_last_word() -> None:
    base = {"base_config": ROOT / "sweep_templates" / "base_config.toml"}
    config = planned("grid", "training.seq_len=48", "model.n_layers=3", **base).trials[0].config
    assert (config.training.seq_len, config.model.n_layers) == (48, 3)
    plan = planned("grid", "model.n_layers=5,6", **base)
    assert [t.changed["model.n_layers"] for t in plan.trials[:1] + plan.trials[-1:]] == [5, 6]


def test_what_is_not_given_is_made_to_fit_what_is() -> None:
    base = {"base_config": ROOT / "sweep_templates" / "base_config.toml"}
    training = planned("grid", "training.steps=1500", **base).trials[0].config.training
    assert (training.steps, training.warmup_steps, training.eval_interval) == (1500, 15, 300)
    wider = planned("grid", "model.dim=256", **base).trials[0].config
    assert (wider.model.dim, wider.training.learning_rate) == (256, pytest.approx(4e-4))


def test_a_template_that_was_not_written_for_it_is_shrunk_too(tmp_path: Path) -> None:
    path = own(
        tmp_path,
        "[model]\ndim = 512\nn_layers = 24\nffn_dim = 2048\nn_heads = 8\n"
        "[training]\nsteps = 50_000\nwarmup_steps = 500\nseq_len = 1024\n"
        "[space]\nn_heads = [4, 8, 16]\nbatch_size = [16, 64]\nseed = [1]\n".replace(
            "seed = [1]\n", "seeds = 2\n"
        ),
    )
    plan = planned(path)
    assert len(plan.trials) == 12
    config = plan.trials[0].config
    assert (config.model.dim, config.model.n_layers, config.model.ffn_dim) == (64, 2, 256)
    assert (config.training.steps, config.training.warmup_steps) == (150, 2)
    assert sorted({t.changed["model.n_heads"] for t in plan.trials}) == [1, 2, 4]
    assert sorted({t.changed["training.batch_size"] for t in plan.trials}) == [2, 8]


def test_values_that_would_become_one_are_refused(tmp_path: Path) -> None:
    path = own(tmp_path, "[space]\ndim = [1000, 1024]\n")
    with pytest.raises(UsageError) as caught:
        planned(path)
    assert str(caught.value) == (
        f"{path}:2: axis model.dim: --scale smoke makes 1000, 1024 into 64, 64,"
        " expected values that differ\n"
        "  hint: [scale.smoke.space] dim = […], or model.dim=… on the command line"
    )
    assert len(planned(path, "model.dim=16,24").trials) == 2
    mended = own(tmp_path, "[space]\ndim = [1000, 1024]\n[scale.smoke.space]\ndim = [8, 16]\n")
    assert [t.changed["model.dim"] for t in planned(mended).trials] == [8, 16]


def test_a_wrong_value_is_not_made_right(tmp_path: Path) -> None:
    for line in ("seq_len = [-1]", "n_layers = [60.5]", "batch_size = [0]", "steps = [true]"):
        with pytest.raises(UsageError, match=line.partition("[")[2].rstrip("]")):
            planned(own(tmp_path, f"[space]\n{line}\n"))
    with pytest.raises(UsageError, match="got -3, expected at least 1"):
        planned(own(tmp_path, "[model]\ndim = 1024\n[space]\nn_heads = [-3]\n"))


def test_a_templates_own_scale_wins_over_the_rules(tmp_path: Path) -> None:
    path = own(
        tmp_path,
        "[model]\ndim = 1024\n[training]\nsteps = 10_000\nwarmup_steps = 100\n[space]\nn_layers = [1, 2]\n"
        "[scale.smoke.training]\nsteps = 500\n[scale.smoke.model]\ndim = 128\n"
        "[scale.smoke.space]\nn_layers = [1, 2, 3]\nseeds = 2\n"
        "[scale.half.model]\ndim = 512\n",
    )
    small, half = planned(path), planned(path, scale="half")
    config = small.trials[0].config
    assert len(small.trials) == 6
    assert (config.training.steps, config.training.warmup_steps) == (500, 5)
    assert (config.model.dim, config.training.learning_rate) == (128, pytest.approx(8 * 3e-4))
    assert half.trials[0].config.model.dim == 512
    assert half.trials[0].config.training.learning_rate == 3e-4
    assert small.sources["model.dim"] == f"{path}:11"


def test_what_only_the_command_line_completes_can_be_scaled(tmp_path: Path) -> None:
    path = own(tmp_path, "[data]\ntokenizer = 'bpe'\n")
    with pytest.raises(UsageError, match="vocab_size"):
        planned(path)
    assert planned(path, "model.vocab_size=600").trials[0].config.model.vocab_size == 600


def test_an_unknown_scale_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        planned(own(tmp_path, "[scale.half.model]\ndim = 64\n"), scale="haf")
    assert str(caught.value) == (
        "--scale: no scale 'haf' - did you mean half?\n  hint: one of half, smoke"
    )

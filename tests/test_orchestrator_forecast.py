"""What a plan will cost: seconds, wall time, disk; by a rule of thumb or from timed steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from orchestrator.calibration import MOST_SHAPES, Calibration, Sample, calibrate
from orchestrator.cohort import predicted_s
from orchestrator.durations import parse_duration
from orchestrator.errors import UsageError
from orchestrator.forecast import STARTS, Forecast, disk_problem, make_forecast
from orchestrator.hardware import Hardware
from orchestrator.ledger import State
from orchestrator.plan import Plan, make_plan
from orchestrator.plan_table import render_plan
from orchestrator.request import Request
from tests.sweeps import CPU_ONLY, run_plan, tiny_plan
from trainer.reporting import Reason


def forecast_of(plan: Plan, **given: Any) -> Forecast:
    return make_forecast(plan.trials, CPU_ONLY, **{"free_bytes": 10**12, **given})


# Seconds


def test_without_a_calibration_it_is_the_rule_that_cohorts_are_sized_by(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path)
    forecast = forecast_of(plan)
    assert [o.left_s for o in forecast.outlooks] == [predicted_s(t.record()) for t in plan.trials]
    assert forecast.states == {"new": 4}
    assert forecast.tokens_left == sum(trial.tokens for trial in plan.trials)
    assert forecast.to_dict()["calibration"] is None


def test_only_what_is_left_is_counted(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path)
    a, b, c, d = plan.trials
    begun = dataclasses.replace(a.record(), state=State.ENDED, reason=Reason.INTERRUPTED, step=45)
    ended = dataclasses.replace(b.record(), state=State.ENDED, reason=Reason.DIVERGED, step=3)
    forecast = forecast_of(plan, own={a.id: begun, b.id: ended}, reused={c.id: "there-1"})
    assert [o.state for o in forecast.outlooks] == ["interrupted", "diverged", "reused", "new"]
    assert [o.run for o in forecast.outlooks] == [None, None, "there-1", None]
    whole_s = predicted_s(d.record())
    assert [o.left_s for o in forecast.outlooks] == pytest.approx([whole_s / 4, 0, 0, whole_s])
    assert forecast.tokens_left == a.tokens // 4 + d.tokens
    assert forecast.cohorts == 2


@pytest.mark.parametrize(
    ("limit", "share"),
    [("stop_after_steps = 15", 0.25), ("stop_after_steps = 600", 1), ("wall_clock_minutes = 1", 1)],
)
def test_a_limit_shortens_the_forecast(tmp_path: Path, limit: str, share: float) -> None:
    plan = tiny_plan(tmp_path, extra=f"\n[limits]\n{limit}\n")
    trial = plan.trials[0]
    assert forecast_of(plan).outlooks[0].left_s == pytest.approx(
        share * predicted_s(trial.record())
    )


def test_the_clock_is_the_longest_a_trial_takes(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, steps=10**6, extra="\n[limits]\nwall_clock_minutes = 0.5\n")
    assert forecast_of(plan).outlooks[0].left_s == 30


@pytest.mark.parametrize("executor", STARTS)
def test_the_wall_time_is_that_of_the_fullest_worker(tmp_path: Path, executor: str) -> None:
    plan = tiny_plan(tmp_path, steps=100_000, weight_decays=(0.1, 0.2, 0.3), seeds=1)
    trial_s = predicted_s(plan.trials[0].record())
    forecast = forecast_of(plan, executor=executor, cohort_size=1)
    start = STARTS[executor]
    workers, in_turn = (1, 3) if executor == "inline" else (2, 2)
    assert (forecast.workers, forecast.cohorts) == (workers, 3)
    expected_s = start.sweep_s + start.worker_s + (in_turn - 1) * start.cohort_s
    assert forecast.wall_s == pytest.approx(expected_s + in_turn * trial_s)


def test_nothing_left_costs_nothing(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path)
    forecast = forecast_of(plan, reused=dict.fromkeys([t.id for t in plan.trials], "there-1"))
    assert (forecast.wall_s, forecast.cohorts, forecast.checkpoint_bytes) == (0, 0, 0)


# Calibration


def sample(step_flops: float, rule_step_s: float, step_s: float) -> Sample:
    return Sample("id", 1, step_flops, rule_step_s, 2.0, step_s, 9, 5.0, True, 0)


def test_a_timed_shape_gives_its_own_seconds(tmp_path: Path) -> None:
    trial = tiny_plan(tmp_path).trials[0]  # 60 steps, an evaluation every 20
    rule_s = predicted_s(trial.record())
    own = sample(trial.flops / 60, rule_s / 60, 0.5)
    far = sample(trial.flops, rule_s, 99.0)
    found_s = Calibration((own, far), 2, (), 1.0).run_s(trial, rule_s)
    assert found_s == pytest.approx(2 + 60 * 0.5 + (3 + 1) * 5)


def test_a_shape_that_was_not_timed_is_scaled_by_the_rule(tmp_path: Path) -> None:
    trial = tiny_plan(tmp_path).trials[0]
    rule_s = predicted_s(trial.record())
    near = sample(trial.flops / 60 / 2, rule_s / 60 / 2, 0.5)
    far = sample(trial.flops / 60 * 9, rule_s / 60 * 9, 99.0)
    found_s = Calibration((near, far), 3, (), 1.0).run_s(trial, rule_s)
    assert found_s == pytest.approx(2 + 2 * (60 * 0.5 + (3 + 1) * 5))


def test_the_ends_and_some_shapes_between_are_timed(tmp_path: Path) -> None:
    dims = [8 * n for n in range(1, 8)]
    plan = tiny_plan(tmp_path, extra=f"dim = {dims}\n")
    calibration = calibrate(plan.trials, CPU_ONLY, budget_s=1.0)
    assert calibration.shapes == len(dims)
    assert len(calibration.samples) + len(calibration.left_out) == MOST_SHAPES
    counts = [s.parameters for s in calibration.samples]
    assert counts == sorted(set(counts))
    assert counts[0] == min(trial.parameters for trial in plan.trials)
    assert all(s.step_s > 0 and s.steps >= 1 and s.evaluation_s > 0 for s in calibration.samples)
    forecast = forecast_of(plan, calibration=calibration)
    trial = plan.trials[0]
    assert forecast.outlooks[0].left_s == calibration.run_s(trial, predicted_s(trial.record()))
    assert forecast.to_dict()["calibration"]["shapes"] == len(dims)


@pytest.mark.parametrize(
    ("hardware", "budget_s", "why"),
    [
        (CPU_ONLY, 30.0, "two steps take about"),
        (Hardware(cpus=2, gpus=(0.5,)), 1e9, "was not timed: it needs"),
    ],
    ids=["too slow", "too large"],
)
def test_what_is_beyond_this_machine_is_not_begun(
    hardware: Hardware, budget_s: float, why: str
) -> None:
    plan = make_plan(Request(strategy="deep_narrow"), hardware)
    calibration = calibrate(plan.trials, hardware, budget_s)
    assert calibration.samples == ()
    assert len(calibration.left_out) == MOST_SHAPES
    assert all(why in line for line in calibration.left_out)
    by_rule = forecast_of(plan)
    assert forecast_of(plan, calibration=calibration).outlooks == by_rule.outlooks
    shown = render_plan(plan, forecast_of(plan, calibration=calibration), "table")
    assert "a rule of thumb" in shown and "--calibrate" not in shown


def test_data_that_no_task_can_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("to be or not to be " * 400)
    request = Request(
        overrides=(f"data.dataset_path={tmp_path}/short.txt", "model.dim=8", "model.n_layers=1"),
        max_trials=1,
    )
    plan = make_plan(request, CPU_ONLY)
    (tmp_path / "short.txt").write_text("to be or not to be ")
    with pytest.raises(UsageError) as caught:
        calibrate(plan.trials, CPU_ONLY)
    assert plan.trials[0].id in str(caught.value)
    assert "hint: training.seq_len=" in str(caught.value)


# Disk


def test_checkpoints_take_what_was_predicted(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, seeds=1, steps=4, checkpoint=1, extra="dim = [512]\n")
    run_plan(plan, tmp_path / "run")
    files = (tmp_path / "run").glob("trials/*/checkpoints/*/*.safetensors")
    kept = sum(path.stat().st_size for path in files)
    writing = 12 * plan.trials[0].parameters  # one by each of two workers
    forecast = forecast_of(plan, executor="ray_tune")
    assert forecast.checkpoint_bytes == pytest.approx(kept + 2 * writing, rel=0.02)


@pytest.mark.parametrize(
    ("checkpoint", "kept"),
    [
        ("interval = 60", 1),
        ("interval = 59", 2),
        ("interval = 20\nkeep = 9", 3),
        ("enable = false", 0),
    ],
)
def test_no_more_checkpoints_are_counted_than_are_written(
    tmp_path: Path, checkpoint: str, kept: int
) -> None:
    path = tmp_path / "one.toml"
    path.write_text(f"[training]\nsteps = 60\n[checkpoint]\n{checkpoint}\n")
    plan = make_plan(Request(strategy=str(path)), CPU_ONLY)
    assert forecast_of(plan).checkpoint_bytes == kept * 12 * plan.trials[0].parameters


@pytest.mark.parametrize(("eval_interval", "kept"), [(30, 1), (29, 2)])
def test_the_checkpoint_at_the_transition_is_counted_where_there_may_be_one(
    tmp_path: Path, eval_interval: int, kept: int
) -> None:
    path = tmp_path / "one.toml"
    training = f"[training]\nsteps = 60\neval_interval = {eval_interval}\n"
    path.write_text(f"{training}[checkpoint]\ninterval = 60\n")
    plan = make_plan(Request(strategy=str(path)), CPU_ONLY)
    assert forecast_of(plan).checkpoint_bytes == kept * 12 * plan.trials[0].parameters


def test_more_than_is_free_is_a_problem(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path)
    need = forecast_of(plan).checkpoint_bytes
    assert disk_problem(forecast_of(plan, free_bytes=need), "here") is None
    problem = disk_problem(forecast_of(plan, free_bytes=need - 1), "here")
    assert problem is not None
    assert str(problem).startswith("here: checkpoints will take up to ")
    assert "checkpoint.keep=1" in problem.hint


# Durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28_800), ("30m", 1800), ("90s", 90), ("1d12h", 129_600), ("1.5H", 5400)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text, "--fail-over") == seconds


@pytest.mark.parametrize(
    "text", ["", "8", "h", "0s", "-1h", "12h1d", "8 hours", "nan", "9" * 400 + "d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--fail-over: got .*\n.*1d12h"):
        parse_duration(text, "--fail-over")


def test_a_gpu_has_a_process_for_each_cohort() -> None:
    gpu = Hardware(cpus=2, gpus=(80.0,))
    whole = ("tier.gpus=1",)
    plan = make_plan(
        Request(strategy="grid", scale="smoke", tier="high_vram", overrides=whole), gpu
    )
    given: dict[str, Any] = {"free_bytes": 10**12, "cohort_size": 1}
    forecast = make_forecast(plan.trials, gpu, **given)
    trained_s = sum(outlook.left_s for outlook in forecast.outlooks)
    start = STARTS["ray_tune"]
    assert forecast.workers == 1
    assert forecast.wall_s == pytest.approx(start.sweep_s + 8 * start.worker_s + trained_s)

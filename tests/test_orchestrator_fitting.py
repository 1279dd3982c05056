"""What fits where: the automatic tier, shares of GPUs, and trials that fit nowhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import hardware as machines
from orchestrator.cli import console
from orchestrator.cli.app import run
from orchestrator.cohort import pack, share_of, workers_for
from orchestrator.errors import Exit, UsageError
from orchestrator.executors import Execution
from orchestrator.fitting import SHARES, best_fit, fits, gpu_share, memory_of
from orchestrator.hardware import Hardware
from orchestrator.layout import RunDirectory
from orchestrator.plan import Plan, make_plan, sources_of
from orchestrator.request import Request
from orchestrator.sweep import run as run_sweep
from orchestrator.tier_memory import shapes_of
from tests.sweeps import tiny_plan
from trainer.config import TierConfig
from trainer.units import GIB

H100 = Hardware(cpus=16, gpus=(79.1,))
DEEP = ("model.n_layers=80", "model.dim=1024", "model.n_heads=16", "training.seq_len=2048")


def planned(*overrides: str, hardware: Hardware = H100, **asked: Any) -> Plan:
    return make_plan(Request(overrides=overrides, **asked), hardware)


def tier_of(plan: Plan) -> TierConfig:
    return plan.trials[0].config.tier


# The automatic tier


def test_the_largest_micro_batch_that_fits_is_taken_before_anything_is_computed_again() -> None:
    small = tier_of(planned())
    assert (small.micro_batch, small.activation_checkpointing, small.gpus) == (16, "off", None)
    deep = planned(*DEEP)
    tier = tier_of(deep)
    assert (tier.name, tier.activation_checkpointing, tier.gpus) == ("datacenter", "off", None)
    assert tier.micro_batch is not None and 1 <= tier.micro_batch < 16
    assert 16 % tier.micro_batch == 0
    assert fits(deep.trials[0].config, 256, H100)
    more = tier.model_copy(update={"micro_batch": 2 * tier.micro_batch})
    assert not fits(deep.trials[0].config.model_copy(update={"tier": more}), 256, H100)


def test_on_less_memory_it_computes_again_and_then_takes_more_gpus() -> None:
    choices = []
    for memory_gib in (79.1, 39.5, 23.6):
        tier = tier_of(planned(*DEEP, hardware=Hardware(16, (memory_gib,) * 4)))
        choices.append((tier.activation_checkpointing, tier.ranks))
    assert choices[0] == ("off", 1)
    assert choices[-1][1] > 1
    assert [ranks for _, ranks in choices] == sorted(ranks for _, ranks in choices)


def test_it_decides_nothing_that_is_learned() -> None:
    machine = [Hardware(2), Hardware(2, (6.0,)), H100, Hardware(16, (23.6,) * 8)]
    plans = [planned(*DEEP, hardware=hardware) for hardware in machine]
    assert len({plan.trials[0].id for plan in plans}) == 1
    assert {plan.trials[0].config.training.batch_size for plan in plans} == {16}


def test_what_somebody_set_stays() -> None:
    tier = tier_of(planned(*DEEP, "tier.micro_batch=1", "tier.activation_checkpointing=full"))
    assert (tier.micro_batch, tier.activation_checkpointing) == (1, "full")
    assert tier_of(planned("tier.gpus=0.5")).gpus == 0.5
    chosen = planned(*DEEP, tier="datacenter", hardware=Hardware(16, (79.1,) * 8))
    assert tier_of(chosen).micro_batch == 32  # as the tier has it, where somebody names it
    assert tier_of(chosen).ranks > 1  # but not how many GPUs


def test_on_a_cpu_all_is_at_once_where_it_fits() -> None:
    roomy = Hardware(cpus=2, memory_gib=64.0)
    assert tier_of(planned(hardware=roomy)) == TierConfig()
    tight = planned(
        "model.vocab_size=8192", "training.seq_len=512", hardware=replace(roomy, memory_gib=1.2)
    )
    assert 1 <= (tier_of(tight).micro_batch or 99) < 16
    assert memory_of(tight.trials[0].config, 8192).total <= 1.2 * GIB


def test_the_choice_is_said_with_its_reason_and_place() -> None:
    plan = planned(*DEEP)
    tier = tier_of(plan)
    (note,) = [note for note in plan.notes if note.startswith("tier ")]
    assert note.startswith(f"tier datacenter: 79 GiB a GPU; micro-batch {tier.micro_batch}, ")
    assert note.endswith(" GiB predicted")
    value, place = sources_of(plan)["tier.micro_batch"]
    assert (value, place) == (tier.micro_batch, "automatic, by predicted memory")


# Shares


def test_a_share_is_enough_for_the_memory_and_not_less_than_the_time_it_computes() -> None:
    small, deep = planned().trials[0], planned(*DEEP).trials[0]
    share, all_of_it = (gpu_share(trial.config, 256, 79.1) for trial in (small, deep))
    assert all_of_it == 1.0 > share
    assert share in SHARES
    assert small.memory.total <= share * 79.1 * GIB
    card = small.memory.total / GIB * 2.5
    assert gpu_share(small.config, 256, card) == 1 / 2


def test_trials_together_never_need_more_than_the_gpu() -> None:
    plan = make_plan(Request(strategy="grid", tier="high_vram", seeds=4), Hardware(64, (24.0,) * 2))
    hardware = Hardware(64, (24.0,) * 2)
    records = [trial.record() for trial in plan.trials]
    workers = workers_for(records[0], hardware)
    share = share_of(records[0], hardware)
    assert workers == round(2 / share.gpus) > 2
    for cohort in pack(records, workers, None, "x", hardware):
        trial = plan.trials[0]
        together = memory_of(trial.config, trial.vocab_size, len(cohort.trial_ids))
        assert together.total <= cohort.share.gpus * 24 * GIB


def test_a_stack_holds_as_many_as_fit(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, seeds=20)
    records, trial = [t.record() for t in plan.trials], plan.trials[0]
    least = memory_of(trial.config, trial.vocab_size, 3).total / GIB
    tight = Hardware(cpus=1, memory_gib=least)
    assert {len(c.trial_ids) for c in pack(records, 1, 40, "x")} == {40}
    assert max(len(c.trial_ids) for c in pack(records, 1, 40, "x", tight)) <= 3


def test_on_cpus_no_more_run_at_once_than_fit() -> None:
    record = planned(hardware=Hardware(8)).trials[0].record()
    need = planned(hardware=Hardware(8)).trials[0].memory.total / GIB
    assert workers_for(record, Hardware(8, memory_gib=100 * need)) == 8
    assert workers_for(record, Hardware(8, memory_gib=2.5 * need)) == 2
    assert workers_for(record, Hardware(8, memory_gib=1.1 * need)) == 1


# What fits nowhere


def test_it_is_refused_by_name_with_the_nearest_setting_that_fits(tmp_path: Path) -> None:
    small = Hardware(cpus=2, memory_gib=1.0)
    model = ("model.dim=256", "model.vocab_size=8192", "tier.activation_checkpointing=off")
    plan = planned(*model, "tier.micro_batch=16", hardware=small)
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(UsageError) as caught:
        run_sweep(plan, directory, small, Execution("inline"), command=[], notify=print)
    said = str(caught.value)
    assert f"trial {plan.trials[0].id}: tier cpu is predicted to need" in said
    assert "with micro-batch 16, expected at most 1.0 GiB of memory" in said
    assert "hint: tier.micro_batch=" in said
    assert not directory.path.exists()
    (hint,) = [line.partition("hint: ")[2] for line in said.splitlines() if "hint" in line]
    fitting = planned(*model, hint, hardware=small)
    assert fits(fitting.trials[0].config, 8192, small)


def test_no_setting_helps_what_is_too_large() -> None:
    config = planned("model.dim=4096", hardware=Hardware(2)).trials[0].config
    assert best_fit(config, 256, Hardware(2, memory_gib=1.0)) is None


@pytest.mark.parametrize(
    "command",
    [
        ["train"],
        ["debug"],
        ["sweep", "--strategy", "grid"],
        ["plan", "--strict", "--strategy", "grid"],
    ],
)
def test_commands_refuse_it_before_anything_is_written(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed(monkeypatch, tmp_path, Hardware(cpus=2, memory_gib=0.1))
    assert ended(monkeypatch, command) == Exit.USAGE
    said = capsys.readouterr().err
    assert "is predicted to need" in said and "expected at most 0.1 GiB" in said
    assert not (tmp_path / "runs").exists()


def test_a_full_size_plan_says_what_it_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, tmp_path, Hardware(cpus=2, memory_gib=16.0))
    assert ended(monkeypatch, ["plan", "--strategy", "deep_narrow"]) == Exit.OK
    said = capsys.readouterr()
    assert "1,359,118,336" in said.out and "memory" in said.out
    assert "low_vram (6 GiB)" in said.out and "datacenter (80 GiB)" in said.out
    assert "about " in said.out
    assert "note: does not fit here: 6 trials (" in said.err
    assert "next: arbiter plan --strategy deep_narrow --scale smoke" in said.err


def test_each_shape_has_its_needs_under_each_tier() -> None:
    shapes = shapes_of(make_plan(Request(strategy="deep_narrow"), Hardware(2)).trials)
    assert len(shapes) == 6 and {shape.trials for shape in shapes} == {6}
    assert {*shapes[0].values} == {"model.n_layers", "model.dim"}
    by_size = {tuple(shape.values.values()): shape for shape in shapes}
    small, large = by_size[60, 768], by_size[100, 1024]
    assert [need.tier for need in small.needs] == ["low_vram", "high_vram", "datacenter"]
    for less, more in zip(small.needs, large.needs, strict=True):
        assert less.gpus is None or more.gpus is None or less.gpus <= more.gpus
    assert large.needs[0].gpus is None and large.needs[2].gpus is not None
    assert "1 GPU" in large.needs[2].automatic


def typed(monkeypatch: pytest.MonkeyPatch, folder: Path, machine: Hardware) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(console, "_quiet", False)
    monkeypatch.setenv("ARBITER_RUNS", str(folder / "runs"))
    detect: Callable[[], Hardware] = lambda: machine  # noqa: E731
    monkeypatch.setattr(machines, "detect", detect)
    monkeypatch.setattr("orchestrator.executors.detect", detect)


def ended(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    monkeypatch.setattr("sys.argv", ["arbiter", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run()
    return int(stopped.value.code or 0)

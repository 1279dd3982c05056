"""Out of memory in a sweep: recorded, kept through a resume, and learned from. Fault rows 29, 30."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Exit
from orchestrator.executors import Execution
from orchestrator.executors.oom_killer import OomKiller
from orchestrator.executors.outbox import Outbox
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger
from orchestrator.lessons import shape_of
from orchestrator.plan import Plan
from orchestrator.referee import Referee
from orchestrator.replay import Narrator, train_alone
from orchestrator.revision import read_revision
from orchestrator.status import render_status
from orchestrator.sweep import create, resume
from orchestrator.trial_page import read_trial_page, render_trial
from orchestrator.verify import find_damage
from orchestrator.watch import describe, survey
from tests import trainer_help as help
from tests.small_card import at_most, small_card
from tests.sweeps import CPU_ONLY, events_of, rows_of, run_plan, tiny_plan, trials_of
from trainer import RunConfig, fit
from trainer.reporting import Reason

DIMS = '"model.dim" = [16, 8, 32]\n'


def lowered(directory: Path) -> dict[str, list[str]]:
    """What the events say of each trial's tier."""
    found: dict[str, list[str]] = {}
    for kind in ("stepped_down", "learned"):
        for event in events_of(directory, kind):
            found.setdefault(str(event.trial_id), []).append(event.detail)
    return found


def micro_batches(directory: Path) -> list[int | None]:
    return [trial.config["tier"]["micro_batch"] for trial in trials_of(directory)]


def by_width(most: int) -> Callable[[int, RunConfig, int], bool]:
    """A device that holds so many hidden units of all sequences together."""
    return lambda rows, config, step: rows * config.model.dim <= most


def test_29_a_trial_steps_down_and_the_next_ones_begin_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan(tmp_path)
    small_card(monkeypatch, at_most(50, from_step=11))
    outcome = run_plan(plan, tmp_path / "run", cohort_size=1)
    assert outcome.exit_code is Exit.OK
    first, *later = [trial.id for trial in plan.trials]
    learned = f"begins with micro-batch 84 → 42, learned from trial {first}"
    assert lowered(tmp_path / "run") == {
        first: ["out of memory at step 12: micro-batch 84 → 42"],
        **{trial_id: [learned] for trial_id in later},
    }
    assert micro_batches(tmp_path / "run") == [42] * 4
    assert [trial.id for trial in trials_of(tmp_path / "run")] == [first, *later]
    assert find_damage(RunDirectory(tmp_path / "run")).problems == []


def test_29_a_trial_that_fits_in_no_tier_ends_and_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_plan(tiny_plan(tmp_path, seeds=1, extra='"model.dim" = [8]\n'), tmp_path / "alone")
    plan = tiny_plan(tmp_path, seeds=1, extra='"model.dim" = [16, 8]\n')
    small_card(monkeypatch, lambda rows, config, step: config.model.dim < 16)
    outcome = run_plan(plan, tmp_path / "run", cohort_size=1)
    assert outcome.exit_code is Exit.FAILED_TRIALS
    trials = {trial.id: trial for trial in trials_of(tmp_path / "run")}
    reasons = [(trial.config["model"]["dim"], trial.reason) for trial in trials.values()]
    assert set(reasons) == {(16, Reason.OUT_OF_MEMORY), (8, Reason.FINISHED)}
    expected = rows_of(tmp_path / "alone")
    assert expected.items() <= rows_of(tmp_path / "run").items()
    assert not lowered(tmp_path / "run").keys() & expected.keys()


def test_a_larger_shape_begins_lower_and_a_smaller_one_as_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan(tmp_path, seeds=1, weight_decays=(0.1,), extra=DIMS)
    small_card(monkeypatch, by_width(1000))  # 84 sequences of width 16 or 32 are too much
    assert run_plan(plan, tmp_path / "run", cohort_size=1).exit_code is Exit.OK
    middle, small, large = [trial.id for trial in plan.trials]
    assert micro_batches(tmp_path / "run") == [42, None, 21]
    assert lowered(tmp_path / "run") == {
        middle: ["out of memory at step 1: micro-batch 84 → 42"],
        large: [
            "out of memory at step 1: micro-batch 42 → 21",
            f"begins with micro-batch 84 → 42, learned from trial {middle}",
        ],
    }
    assert small not in lowered(tmp_path / "run")


CORPUS: dict[str, dict[str, Any]] = {
    "model": {"dim": 32, "n_layers": 4, "n_heads": 2},
    "data": {"dataset_path": "kjv"},
    "training": {"batch_size": 8, "seq_len": 64},
    "tier": {},
}


def of(**changes: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate(
        {section: own | changes.get(section, {}) for section, own in CORPUS.items()}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training": {"learning_rate": 1.0, "seed": 5, "weight_decay": 0.0, "steps": 7}},
        {"model": {"name": "another", "rope_theta": 5.0}},
        {"model": {"dim": 36}},
        {"model": {"n_layers": 5}},
        {"model": {"ffn_dim": 200}},
        {"training": {"seq_len": 65}},
        {"training": {"batch_size": 9}},
        {"tier": {"micro_batch": 4, "activation_checkpointing": "full", "cpus": 2}},
    ],
)
def test_the_same_or_a_larger_shape(changes: dict[str, dict[str, Any]]) -> None:
    assert shape_of(of(**changes)).reaches(shape_of(of()))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"dim": 28, "n_layers": 40}},
        {"model": {"n_layers": 3, "dim": 256}},
        {"model": {"ffn_dim": 20}},
        {"model": {"n_heads": 1}},
        {"model": {"ffn": "gelu"}},
        {"model": {"norm_type": "deepnorm"}},
        {"model": {"dropout": 0.1}},
        {"data": {"tokenizer": "char"}},
        {"training": {"seq_len": 63}},
        {"training": {"batch_size": 7}},
        {"tier": {"precision": "bf16"}},
        {"tier": {"workers": 2}},
    ],
)
def test_a_smaller_or_another_shape(changes: dict[str, dict[str, Any]]) -> None:
    assert not shape_of(of(**changes)).reaches(shape_of(of()))
    assert not shape_of(help.modular()).reaches(shape_of(of(**changes)))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return tiny_plan(tmp_path, seeds=1)


@pytest.fixture
def directory(plan: Plan, tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    create(plan, directory, ["test"])
    return directory


@contextlib.contextmanager
def refereeing(directory: RunDirectory) -> Iterator[Referee]:
    with contextlib.closing(Referee(directory.ledger, directory.path / "trials")) as referee:
        yield referee


def step_down(directory: RunDirectory, trial_id: str) -> None:
    """Let a trial train up to step 11 and run out of memory in the next one."""
    with refereeing(directory) as referee:
        (member,) = referee.members([trial_id])
        referee.started(trial_id, 0, "")
        referee.row(trial_id, 10, {"train/loss": 1.0})
        tier = member.config.tier.model_copy(update={"micro_batch": 42})
        referee.stepped_down(trial_id, 11, tier, "out of memory at step 12: micro-batch 84 → 42")


def begun(directory: RunDirectory, *trial_ids: str) -> list[int | None]:
    """The micro-batches that trials would begin with in a process that starts now."""
    with refereeing(directory) as referee:
        return [member.config.tier.micro_batch for member in referee.members(trial_ids)]


def test_it_is_durable_with_the_rows_before_it_and_survives_a_restart(
    plan: Plan, directory: RunDirectory
) -> None:
    first, second = [trial.id for trial in plan.trials]
    step_down(directory, first)
    assert [step for step, _ in rows_of(directory.path)[first]] == [10]
    assert begun(directory, first, second) == [42, 42]
    assert begun(directory, first, second) == [42, 42]
    assert lowered(directory.path)[second] == [
        f"begins with micro-batch 84 → 42, learned from trial {first}"
    ]
    assert "micro_batch: 42" in directory.config(first).read_text()


def test_the_same_command_again_keeps_the_tier_that_was_found(
    plan: Plan, directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_down(directory, plan.trials[0].id)
    small_card(monkeypatch, at_most(50))
    assert run_plan(plan, directory.path).exit_code is Exit.OK
    assert micro_batches(directory.path) == [42, 42]
    assert len(events_of(directory.path, "stepped_down")) == 1
    assert events_of(directory.path, "revised") == []


def test_a_person_who_changes_the_tier_knows_better(plan: Plan, directory: RunDirectory) -> None:
    first = plan.trials[0].id
    step_down(directory, first)
    revision = read_revision(["tier.micro_batch=60"], CPU_ONLY)
    outcome = resume(directory, CPU_ONLY, Execution("inline"), revision, notify=lambda line: None)
    assert outcome.exit_code is Exit.OK
    assert micro_batches(directory.path) == [60, 60]
    assert lowered(directory.path).keys() == {first}


def test_another_setting_that_is_changed_leaves_the_tier_alone(
    plan: Plan, directory: RunDirectory
) -> None:
    step_down(directory, plan.trials[0].id)
    revision = read_revision(["limits.wall_clock_minutes=60"], CPU_ONLY)
    resume(directory, CPU_ONLY, Execution("inline"), revision, notify=lambda line: None)
    assert micro_batches(directory.path) == [42, 42]


def test_people_are_told(plan: Plan, directory: RunDirectory) -> None:
    first, second = [trial.id for trial in plan.trials]
    step_down(directory, first)
    told = "out of memory at step 12: micro-batch 84 → 42"
    assert told in render_trial(read_trial_page(directory, first), "table")
    begun(directory, second)
    assert "learned from trial" in render_trial(read_trial_page(directory, second), "table")
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        progress, events = survey(ledger, at=1e10), ledger.events()
    assert told in render_status(progress, "table", None)
    news = [line for event in events if (line := describe(event, progress))]
    assert len(news) == 1 and told in news[0]


def test_it_reaches_a_referee_in_another_process(
    plan: Plan, directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_card(monkeypatch, at_most(50, from_step=30))
    ids = [trial.id for trial in plan.trials]
    with refereeing(directory) as referee:
        members = referee.members(ids)
        with Outbox(referee.take) as outbox:
            results = fit(members, outbox)
    assert {result.reason for result in results} == {Reason.FINISHED}
    told = ["out of memory at step 31: micro-batch 84 → 42"]
    assert lowered(directory.path) == dict.fromkeys(ids, told)
    assert micro_batches(directory.path) == [42, 42]


def test_30_a_death_is_laid_to_memory_where_the_kernel_killed_for_it(tmp_path: Path) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("nr_free_pages 5\noom_kill 3\nunevictable_pgs 1\n")
    killer = OomKiller(counters)
    assert killer.why_died() == "its process died"
    counters.write_text("nr_free_pages 5\noom_kill 4\nunevictable_pgs 1\n")
    assert "for want of host memory" in killer.why_died()
    assert killer.why_died() == "its process died"
    assert OomKiller(tmp_path / "missing").why_died() == "its process died"


def test_a_trial_that_is_looked_into_tells_it_too(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_card(monkeypatch, at_most(50))
    lines: list[str] = []
    trial = plan.trials[0]
    train_alone(trial.id, trial.config, CPU_ONLY, Narrator(60, lines.append), lambda error: None)
    assert lines[0] == "out of memory at step 1: micro-batch 84 → 42"

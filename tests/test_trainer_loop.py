"""The loop: limits, failures, neighbours, rows and what is left on disk."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests import trainer_help as help
from trainer import FitResult, Member, Reason, RunConfig, Verdict, fit, stopwatch
from trainer import run as running
from trainer.checkpoint import Checkpoint, CheckpointStore
from trainer.reporting import GO_ON
from trainer.schedule import learning_rate
from trainer.tasks.corpus.task import CorpusTask
from trainer.tasks.modular import ModularTask

DECODER = {"kind": "decoder", "dim": 8, "n_layers": 1, "n_heads": 2}


def cohort(folder: Path, **configs: RunConfig) -> tuple[dict[str, FitResult], help.Recorder]:
    reporter = help.Recorder()
    members = [Member(key, config, folder / key) for key, config in configs.items()]
    results = fit(members, reporter)
    assert [result.id for result in results] == list(configs)
    return {result.id: result for result in results}, reporter


def seeded(seed: int, **sections: dict[str, Any]) -> RunConfig:
    sections["training"] = {"seed": seed} | sections.get("training", {})
    return help.modular(**sections)


def test_rows_come_at_their_intervals_and_say_what_is_due(tmp_path: Path) -> None:
    config = help.modular(logging={"track_grad_norms": True, "track_weight_norms": True})
    result, reporter = help.run(config, tmp_path)
    rows = reporter.rows()
    assert list(rows) == [3, 5, 6, 9, 10, 12, 15, 18, 20]
    always = {"train/loss", "optim/learning_rate", "optim/grad_norm", "optim/weight_norm"}
    evaluated = always | {"val/loss", "val/accuracy", "train/accuracy", "grok/state"}
    for step, row in rows.items():
        assert row.keys() == (evaluated if step % 5 == 0 else always)
        assert row["optim/learning_rate"] == learning_rate(config.training, step - 1)
    weights = help.newest(tmp_path).model.values()
    norm = math.sqrt(sum(float((w.double() ** 2).sum()) for w in weights))
    assert rows[20]["optim/weight_norm"] == pytest.approx(norm, rel=1e-5)
    told = reporter.of("row")[0][3]
    assert told["perf/tokens_per_s"] > 0 and "mem/peak_gib" not in told
    assert (result.reason, result.detail, result.step) == (Reason.FINISHED, "", 20)
    assert result.active_s > 0
    assert result.final["val/loss"] == rows[20]["val/loss"]
    assert {"test/loss", "test/accuracy", "baseline/uniform_loss"} <= result.final.keys()


def test_norms_are_left_out_where_nobody_asked(tmp_path: Path) -> None:
    _, reporter = help.run(help.modular(), tmp_path)
    assert not any("norm" in name for row in reporter.rows().values() for name in row)


def test_events_come_in_order(tmp_path: Path) -> None:
    _, reporter = help.run(help.modular(), tmp_path)
    kinds = [event[0] for event in reporter.events]
    assert kinds[0] == "started" and kinds[-2:] == ["ended", "flush"]
    assert kinds.count("started") == kinds.count("ended") == 1


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (7, [(7, [3, 5, 6]), (14, [9, 10, 12]), (20, [15, 18, 20])]),
        (10, [(10, [3, 5, 6, 9, 10]), (20, [12, 15, 18, 20])]),
    ],
)
def test_every_row_is_durable_before_a_checkpoint_is_published(
    interval: int,
    expected: list[tuple[int, list[int]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reporter, save = help.Recorder(), CheckpointStore.save

    def logged(store: CheckpointStore, checkpoint: Checkpoint, mark: str = "") -> Path:
        reporter.events.append(("saves", checkpoint.step, [step for step, _ in checkpoint.rows]))
        return save(store, checkpoint, mark)

    monkeypatch.setattr(CheckpointStore, "save", logged)
    help.run(help.modular(checkpoint={"interval": interval}), tmp_path, reporter)
    saves = [n for n, event in enumerate(reporter.events) if event[0] == "saves"]
    assert [reporter.events[n][1:] for n in saves] == expected
    for n in saves:
        assert reporter.events[n - 1] == ("flush",)
    last_row = [n for n, event in enumerate(reporter.events) if event[0] == "row"][-1]
    assert last_row < saves[-1]


@pytest.mark.parametrize("engine", ["solo"])
def test_neighbours_are_invisible(engine: str, tmp_path: Path) -> None:
    text = help.write_text(tmp_path)
    configs = {
        "a": help.corpus(text, model={"dropout": 0.2}),
        "b": seeded(1, model=DECODER | {"dropout": 0.3}, training={"batch_size": 5, "steps": 11}),
        "c": help.corpus(text, training={"seed": 3}, tier={"micro_batch": 1}),
        "d": seeded(2, data={"p": 11}),
    }
    results, together = cohort(tmp_path / "together", **configs)
    for key, config in configs.items():
        one, alone = cohort(tmp_path / "alone", **{key: config})
        assert alone.rows(key) == together.rows(key)
        assert one[key].final == results[key].final
        weights = (help.newest(tmp_path / f / key, key).model for f in ("alone", "together"))
        assert help.same_tensors(*weights)


def broken_input(tmp_path: Path) -> RunConfig:
    return help.corpus(str(tmp_path / "missing.txt"))


def broken_checkpoint_of_another_trial(tmp_path: Path) -> RunConfig:
    store = CheckpointStore(tmp_path / "run" / "bad" / "checkpoints", 1)
    store.save(Checkpoint("other", 1, {"w": torch.ones(1)}, {}))
    return help.modular()


def broken_directory(tmp_path: Path) -> RunConfig:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "bad").write_text("a file where the run's folder should be")
    return help.modular()


def broken_split(tmp_path: Path) -> RunConfig:
    return help.modular(data={"train_frac": 0.999})


@pytest.mark.parametrize(
    ("make", "detail"),
    [
        (broken_input, "no file"),
        (broken_checkpoint_of_another_trial, "belongs to trial other: expected bad (hint: move"),
        (broken_directory, "Error: "),
        (broken_split, "expected at least 1 of each"),
    ],
)
def test_a_member_that_cannot_start_fails_alone(
    make: Callable[[Path], RunConfig], detail: str, tmp_path: Path
) -> None:
    results, reporter = cohort(
        tmp_path / "run", a=seeded(1), bad=make(tmp_path), z=seeded(2, training={"steps": 9})
    )
    assert results["bad"].reason is Reason.FAILED and detail in results["bad"].detail
    assert (results["bad"].step, reporter.of("row", "bad")) == (0, [])
    assert [event[2] for event in reporter.of("ended", "bad")] == [results["bad"]]
    _, alone = cohort(tmp_path / "alone", a=seeded(1))
    assert reporter.rows("a") == alone.rows("a")
    assert results["z"].reason is Reason.FINISHED


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (RuntimeError("boom"), Reason.FAILED, "RuntimeError: boom"),
        (MemoryError("no room"), Reason.OUT_OF_MEMORY, "MemoryError: no room"),
        (torch.cuda.OutOfMemoryError("card"), Reason.OUT_OF_MEMORY, "OutOfMemoryError: card"),
    ],
)
@pytest.mark.parametrize("method", ["batch", "evaluate", "baselines"])
def test_a_member_that_breaks_on_its_way_fails_alone(
    error: Exception,
    reason: Reason,
    detail: str,
    method: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    working = getattr(ModularTask, method)

    def breaks(task: ModularTask, *args: Any) -> Any:
        if task.seed == 5 and args[:1] != (0,):
            raise error
        return working(task, *args)

    monkeypatch.setattr(ModularTask, method, breaks)
    results, reporter = cohort(tmp_path, a=seeded(1), bad=seeded(5), z=seeded(2))
    assert (results["bad"].reason, results["bad"].detail) == (reason, detail)
    assert "Traceback" in (tmp_path / "bad" / "log.txt").read_text()
    assert [results[key].reason for key in "az"] == [Reason.FINISHED] * 2
    assert reporter.rows("a").keys() == reporter.rows("z").keys()
    assert results["bad"].step == {"batch": 1, "evaluate": 5, "baselines": 20}[method]


def test_a_full_disk_stops_all_and_fails_no_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CheckpointStore, "save", full)
    with pytest.raises(OSError, match="No space left on device"):
        help.run(help.modular(), tmp_path)
    monkeypatch.undo()
    result, _ = help.run(help.modular(), tmp_path)
    assert result.reason is Reason.FINISHED


def test_a_directory_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOCK_WAIT_S", 0)
    with FileLock(tmp_path / ".lock"):
        result, _ = help.run(help.modular(), tmp_path)
    assert result.reason is Reason.FAILED and "another process trains in" in result.detail
    assert help.steps_on_disk(tmp_path) == []
    assert help.run(help.modular(), tmp_path)[0].reason is Reason.FINISHED


@pytest.mark.parametrize("rate", [1e18, 1e30, 1e39])
def test_divergence_ends_the_member_alone_and_is_never_checkpointed(
    rate: float, tmp_path: Path
) -> None:
    diverges = {"learning_rate": rate, "warmup_steps": 0, "weight_decay": 0.0}
    results, reporter = cohort(
        tmp_path,
        bad=seeded(1, training=diverges, checkpoint={"interval": 1, "keep": 99}),
        z=seeded(2),
    )
    bad = results["bad"]
    assert bad.reason is Reason.DIVERGED and not bad.reason.resumable
    assert f"at step {bad.step}" in bad.detail and ("nan" in bad.detail or "inf" in bad.detail)
    assert bad.step < 6 and "test/loss" not in bad.final
    for path in (tmp_path / "bad").glob("checkpoints/step-*"):
        state = CheckpointStore(path.parent, 99)._read(path, "bad")
        assert all(bool(w.isfinite().all()) for w in state.model.values()), path.name
    for row in reporter.rows("bad").values():
        assert all(math.isfinite(value) for value in row.values())
    assert results["z"].reason is Reason.FINISHED


def ticking(monkeypatch: pytest.MonkeyPatch, tick_s: float) -> None:
    """Let a clock run that moves by `tick_s` whenever the loop looks at it."""
    clock = itertools.count(0.0, tick_s)
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: next(clock)))


@pytest.mark.parametrize(
    ("limits", "tick_s", "reason", "detail", "latest"),
    [
        ({"wall_clock_minutes": 1.0}, 2.0, Reason.WALL_CLOCK, "wall_clock_minutes is 1", 15),
        ({"stop_after_steps": 8}, 2.0, Reason.BUDGET, "limits.stop_after_steps 8 reached", 8),
        ({"max_host_memory_gib": 1e-6}, 1e-9, Reason.BUDGET, "host_memory_gib is 1e-06", 0),
    ],
)
def test_a_limit_ends_with_a_checkpoint_and_a_reason_and_leaves_the_schedule(
    limits: dict[str, float],
    tick_s: float,
    reason: Reason,
    detail: str,
    latest: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, unbroken = help.run(help.modular(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        ticking(patch, tick_s)
        result, limited = help.run(help.modular(limits=limits), tmp_path / "b")
    assert result.reason is reason and detail in result.detail and reason.resumable
    assert result.step <= latest and help.newest(tmp_path / "b").step == result.step
    assert latest == 0 or result.step > 0
    assert limited.rows().items() <= unbroken.rows().items()
    help.run(help.modular(), tmp_path / "b", limited)
    assert limited.rows() == unbroken.rows()


def test_memory_is_looked_at_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = itertools.chain([0.0] * 3, itertools.repeat(5.0))
    monkeypatch.setattr("trainer.limits.resident_host_gib", lambda: next(used))
    ticking(monkeypatch, 0.3)
    config = help.modular(limits={"max_host_memory_gib": 1.0})
    result, _ = help.run(config, tmp_path)
    assert result.detail == "5.00 GiB used: limits.max_host_memory_gib is 1"
    assert 0 < result.step < 20 and help.newest(tmp_path).step == result.step


def test_a_limit_counts_only_the_members_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticking(monkeypatch, 1.0)
    limits = {"wall_clock_minutes": 2.0}
    (alone,) = cohort(tmp_path / "one", a=seeded(1, limits=limits))[0].values()
    together, _ = cohort(
        tmp_path / "four", **{key: seeded(1, limits=limits) for key in ("a", "b", "c", "d")}
    )
    assert {result.step for result in together.values()} == {alone.step}
    assert {result.reason for result in together.values()} == {alone.reason}


@pytest.mark.parametrize(("polls", "step"), [(0, 0), (5, 4), (7, 6)])
def test_an_interruption_is_taken_between_two_steps(polls: int, step: int, tmp_path: Path) -> None:
    result, _ = help.run(help.modular(), tmp_path, interrupted=help.after(polls))
    assert (result.reason, result.detail) == (
        Reason.INTERRUPTED,
        f"asked to stop at step {result.step}",
    )
    assert abs(result.step - step) <= 1 and help.newest(tmp_path).step == result.step


def test_an_interruption_reaches_every_member(tmp_path: Path) -> None:
    members = [Member(key, seeded(1), tmp_path / key) for key in "abc"]
    results = fit(members, help.Recorder(), interrupted=help.after(20))
    assert {result.reason for result in results} == {Reason.INTERRUPTED}
    assert all(help.newest(tmp_path / r.id, r.id).step == r.step for r in results)


def test_without_checkpoints_none_is_left(tmp_path: Path) -> None:
    config = help.modular(checkpoint={"enable": False})
    _, unbroken = help.run(config, tmp_path / "whole")
    result, broken = help.run(config, tmp_path / "b", interrupted=help.after(15))
    assert result.reason is Reason.INTERRUPTED and result.step > 7
    help.run(config, tmp_path / "b", broken)
    assert broken.of("started")[-1][2] == 0 and broken.rows() == unbroken.rows()
    assert not list(tmp_path.rglob("*.safetensors"))
    assert unbroken.rows() == help.run(help.modular(), tmp_path / "c")[1].rows()


def prune_at(step: int) -> Callable[[str, int], Verdict]:
    def answer(key: str, at: int) -> Verdict:
        return Verdict(Reason.PRUNED, "worst of 4") if key == "a" and at >= step else GO_ON

    return answer


def test_a_verdict_prunes_one_member(tmp_path: Path) -> None:
    reporter = help.Recorder(prune_at(10))
    members = [Member(key, seeded(1), tmp_path / key) for key in "ab"]
    pruned, finished = fit(members, reporter)
    assert (pruned.reason, pruned.detail, pruned.step) == (Reason.PRUNED, "worst of 4", 10)
    assert finished.reason is Reason.FINISHED and reporter.rows("b").keys() > reporter.rows().keys()
    assert help.newest(tmp_path / "a").step == 10
    assert pruned.final == {k: v for k, v in reporter.rows()[10].items() if k in pruned.final}
    assert "val/loss" in pruned.final


def test_a_verdict_on_the_last_row_does_not_unmake_a_finished_run(tmp_path: Path) -> None:
    result, _ = help.run(help.modular(), tmp_path, help.Recorder(prune_at(20)))
    assert result.reason is Reason.FINISHED


def test_a_verdict_on_a_row_that_is_told_again_counts(tmp_path: Path) -> None:
    """Its process died between the checkpoint of the rung and the end."""
    help.run(help.modular(limits={"stop_after_steps": 10}), tmp_path)
    result, reporter = help.run(help.modular(), tmp_path, help.Recorder(prune_at(10)))
    assert (result.reason, result.step) == (Reason.PRUNED, 10)
    assert max(reporter.rows()) == 10


@pytest.mark.parametrize("task", ["modular", "corpus"])
@pytest.mark.parametrize(
    "tier", [{"micro_batch": 1}, {"micro_batch": 3}, {"activation_checkpointing": True}]
)
def test_how_a_run_is_executed_does_not_change_what_is_learned(
    task: str, tier: dict[str, Any], tmp_path: Path
) -> None:
    text = help.write_text(tmp_path)

    def make(tier: dict[str, Any]) -> RunConfig:
        if task == "corpus":
            return help.corpus(text, tier=tier)
        return help.modular(model=DECODER, tier=tier)

    _, whole = help.run(make({}), tmp_path / "whole")
    _, other = help.run(make(tier), tmp_path / "other")
    for step, row in whole.rows().items():
        assert other.rows()[step] == pytest.approx(row, rel=1e-5)


def test_dropout_with_activation_checkpointing_draws_the_same_units(tmp_path: Path) -> None:
    model = DECODER | {"dropout": 0.3}
    tiers = ({}, {"activation_checkpointing": True})
    one, other = (
        help.run(help.modular(model=model, tier=tier), tmp_path / str(n))[1].rows()
        for n, tier in enumerate(tiers)
    )
    assert one[20] == pytest.approx(other[20], abs=1e-5)
    plain = help.run(help.modular(model=DECODER), tmp_path / "plain")[1].rows()
    assert abs(plain[3]["train/loss"] - one[3]["train/loss"]) > 1e-4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_resumes(precision: str, tmp_path: Path) -> None:
    config = help.modular(
        model=DECODER | {"dim": 16},
        tier={"precision": precision},
        logging={"track_grad_norms": True, "log_interval": 1},
    )
    result, unbroken = help.run(config, tmp_path / "whole")
    assert result.reason is Reason.FINISHED, result.detail
    assert all(w.dtype == torch.float32 for w in help.newest(tmp_path / "whole").model.values())
    _, broken = help.run(config, tmp_path / "b", interrupted=help.after(9))
    help.run(config, tmp_path / "b", broken)
    assert broken.rows() == unbroken.rows()


def test_a_step_that_the_loss_scaler_leaves_out_is_no_divergence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(
        "trainer.precision.torch.amp.GradScaler",
        lambda device, enabled: scaler(device, init_scale=2.0**40, enabled=enabled),
    )
    config = help.modular(
        model=DECODER,
        tier={"precision": "fp16"},
        training={"steps": 60},
        logging={"track_grad_norms": True, "log_interval": 1},
    )
    result, reporter = help.run(config, tmp_path / "whole")
    assert result.reason is Reason.FINISHED, result.detail
    rows = reporter.rows()
    assert "optim/grad_norm" not in rows[1] and "optim/grad_norm" in rows[60]
    assert rows[60]["train/loss"] != rows[1]["train/loss"]
    skipped = [rows[step]["optim/skipped_steps"] for step in rows]
    assert skipped[0] == 1 and skipped == sorted(skipped) and 10 < skipped[-1] < 60
    _, broken = help.run(config, tmp_path / "b", interrupted=help.after(9))
    help.run(config, tmp_path / "b", broken)  # the scaler's scale and counts are in the state
    assert broken.rows() == rows
    plain = help.run(help.modular(), tmp_path / "fp32")[1].rows()
    assert not any("optim/skipped_steps" in row for row in plain.values())


def test_a_step_whose_loss_overflows_is_left_out_of_the_mean_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abcdefgh ijklmnop\n" * 60)
    config = help.corpus(str(text), tier={"precision": "fp16"}, logging={"log_interval": 1})
    loss = CorpusTask.loss
    calls = itertools.count()

    def overflows(
        task: CorpusTask, model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        value = loss(task, model, inputs, targets)
        return value * math.inf if torch.is_grad_enabled() and next(calls) in (1, 3) else value

    monkeypatch.setattr(CorpusTask, "loss", overflows)
    result, reporter = help.run(config, tmp_path / "run")
    assert result.reason is Reason.FINISHED, result.detail
    rows = reporter.rows()
    assert rows[5]["optim/skipped_steps"] == 2 and "train/loss" not in rows[2]
    done = [rows[step]["train/loss"] for step in (1, 3, 5)]
    assert rows[5]["train/mean_loss"] == pytest.approx(sum(done) / 3, rel=1e-12)


def test_a_run_whose_every_step_is_left_out_has_diverged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(
        "trainer.precision.torch.amp.GradScaler",
        lambda device, enabled: scaler(device, backoff_factor=0.9, init_scale=2.0**60),
    )
    config = help.modular(
        model=DECODER,
        tier={"precision": "fp16"},
        training={"steps": 60},
        checkpoint={"interval": 9},
    )
    result, reporter = help.run(config, tmp_path)
    assert result.reason is Reason.DIVERGED
    assert result.detail.startswith(
        "the gradients overflow fp16: 30 steps in a row were left out before step 30"
    )
    assert reporter.rows()[27]["optim/skipped_steps"] == 27
    result, _ = help.run(config, tmp_path)  # from step 27: three more are enough
    assert "before step 30" in result.detail


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(folder / "tb"))
    board.Reload()
    return {
        tag: [(event.step, event.value) for event in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
    }


def test_tensorboard_shows_every_row_once_also_after_a_kill(tmp_path: Path) -> None:
    config = help.modular(logging={"enable_tensorboard": True})
    assert help.killed_run(config, tmp_path, tmp_path / "rows.jsonl", at_row=4)
    (killed,) = (tmp_path / "tb").iterdir()  # files are read in the order of their second
    killed.rename(killed.with_name("events.out.tfevents.0000000001.first"))
    help.run(config, tmp_path)
    _, unbroken = help.run(help.modular(), tmp_path / "whole")
    shown = scalars(tmp_path)
    for tag in ("train/loss", "val/accuracy"):
        expected = {step: row[tag] for step, row in unbroken.rows().items() if tag in row}
        assert [step for step, _ in shown[tag]] == list(expected)
        assert dict(shown[tag]) == pytest.approx(expected, rel=1e-6)
    assert not (tmp_path / "whole" / "tb").exists()


def test_no_member() -> None:
    assert fit([], help.Recorder()) == []

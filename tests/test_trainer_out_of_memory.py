"""A run whose memory runs out goes on under a lower tier, as if somebody had changed it by hand."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import trainer_help as help
from tests.small_card import MESSAGE, at_most, small_card
from trainer import FitResult, Member, Reason, RunConfig, fit
from trainer.engines import solo
from trainer.out_of_memory import let_go, ran_out

DECODER = {"kind": "decoder", "dim": 8, "n_layers": 2, "n_heads": 2}
CASES: dict[str, Callable[[str], RunConfig]] = {
    "corpus, dropout, norms": lambda path: help.corpus(
        path,
        model={"dropout": 0.2},
        logging={"track_grad_norms": True, "track_weight_norms": True},
    ),
    "corpus, fp16": lambda path: help.corpus(path, tier={"precision": "fp16"}),
    "corpus, micro-batch": lambda path: help.corpus(
        path, training={"batch_size": 9}, tier={"micro_batch": 5}
    ),
    "modular in a stack": lambda path: help.modular(),
    "modular, decoder": lambda path: help.modular(model=DECODER, training={"batch_size": 5}),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return request.param(help.write_text(tmp_path))


def told(reporter: help.Recorder, key: str = "a") -> list[str]:
    """What was reported of the tiers."""
    return [str(event[4]) for event in reporter.of("stepped_down", key)]


def by_hand(
    config: RunConfig, folder: Path, step: int, tier: dict[str, Any]
) -> tuple[FitResult, dict[int, help.Metrics]]:
    """Stop a run at a step and resume it under a tier that somebody typed."""
    lower = RunConfig.model_validate(
        config.model_dump() | {"tier": config.tier.model_dump() | tier}
    )
    rows: dict[int, help.Metrics] = {}
    if step:
        limits = {"limits": {"stop_after_steps": step}}
        _, before = help.run(RunConfig.model_validate(config.model_dump() | limits), folder)
        rows = before.rows()
    result, after = help.run(lower, folder)
    return result, rows | after.rows()


@pytest.mark.parametrize("step", [0, 1, 9])
def test_it_goes_on_as_if_the_tier_had_been_changed_by_hand(
    config: RunConfig, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = config.tier.micro_batch or config.training.batch_size
    start, end = (24, 1) if whole == "full" else (whole, 2)  # 24, 12, 6, 3, 1
    expected, rows = by_hand(config, tmp_path / "hand", step, {"micro_batch": end})
    small_card(monkeypatch, at_most(2, from_step=step))
    result, reporter = help.run(config, tmp_path / "card")
    assert (result.reason, result.step, result.final) == (Reason.FINISHED, 20, expected.final)
    assert reporter.rows() == rows
    assert len(reporter.of("row")) == len(rows)  # each once
    assert len(reporter.of("started")) == 1
    for state in ("model", "optimizer"):
        one, other = (getattr(help.newest(tmp_path / f), state) for f in ("hand", "card"))
        assert help.same_tensors(one, other)
    first = told(reporter)[0]
    assert first == f"out of memory at step {step + 1}: micro-batch {start} → {start // 2}"
    assert [event[2] for event in reporter.of("stepped_down")] == [step] * len(told(reporter))
    assert reporter.of("stepped_down")[-1][3].micro_batch == end


def test_the_ladder_is_gone_down_to_its_end_and_then_it_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_card(monkeypatch, lambda n, config, step: config.training.seed != 5 or step < 6)
    configs = {
        key: help.modular(model=DECODER, training={"seed": seed, "batch_size": 5})
        for key, seed in (("a", 1), ("bad", 5), ("z", 2))
    }
    reporter = help.Recorder()
    members = [Member(key, config, tmp_path / key) for key, config in configs.items()]
    results = fit(members, reporter)
    assert [result.reason for result in results] == [
        Reason.FINISHED, Reason.OUT_OF_MEMORY, Reason.FINISHED,
    ]  # fmt: skip
    assert (results[1].step, results[1].detail) == (6, f"OutOfMemoryError: {MESSAGE}")
    assert [line.partition(": ")[2] for line in told(reporter, "bad")] == [
        "micro-batch 5 → 2",
        "micro-batch 2 → 1",
        "activation checkpointing off → full",
    ]
    assert (tmp_path / "bad" / "log.txt").read_text().count(MESSAGE) == 4
    _, alone = help.run(configs["a"], tmp_path / "alone")
    assert told(reporter, "a") == [] and reporter.rows("a") == alone.rows()


def test_activations_are_computed_again_where_one_sequence_is_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = help.corpus(help.write_text(tmp_path))
    lower = {"micro_batch": 1, "activation_checkpointing": "full"}
    expected, rows = by_hand(config, tmp_path / "hand", 4, lower)
    small_card(
        monkeypatch,
        lambda n, config, step: step < 4 or config.tier.activation_checkpointing == "full",
    )
    result, reporter = help.run(config, tmp_path / "card")
    assert (result.final, reporter.rows()) == (expected.final, rows)


@pytest.mark.parametrize("model", [DECODER, {}], ids=["decoder", "quadratic"])
def test_an_evaluation_that_does_not_fit_is_done_again_in_smaller_passes(
    model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = help.modular(
        model=model, data={"p": 31}, training={"batch_size": 400, "eval_interval": 10}
    )
    _, plain = help.run(config, tmp_path / "plain")
    small_card(monkeypatch, at_most(400), at_most(370))
    result, reporter = help.run(config, tmp_path / "card")
    assert result.reason is Reason.FINISHED
    assert told(reporter) == [
        "out of memory in the evaluation at step 10: micro-batch 400 → 200",
    ]
    assert len(reporter.of("row")) == len(plain.of("row"))
    for step, row in plain.rows().items():
        assert reporter.rows()[step] == pytest.approx(row, rel=1e-4)


def once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Let memory run out in one call of a function, before it does anything."""
    working, calls = getattr(owner, name), 0

    def breaks(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise torch.OutOfMemoryError(MESSAGE)
        return working(*args, **kwargs)

    monkeypatch.setattr(owner, name, breaks)


def test_a_scaler_is_sound_after_a_step_that_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = help.corpus(help.write_text(tmp_path), tier={"precision": "fp16"})
    expected, rows = by_hand(config, tmp_path / "hand", 5, {"micro_batch": 2})
    once(monkeypatch, solo, "clip", 6)  # the gradients are unscaled by then
    result, reporter = help.run(config, tmp_path / "card")
    assert (result.final, reporter.rows()) == (expected.final, rows)
    assert (
        help.newest(tmp_path / "card").extra["engine"]
        == (help.newest(tmp_path / "hand").extra["engine"])
    )


@pytest.mark.parametrize(("call", "from_step"), [(18, 7), (4, 0)])
def test_an_update_that_was_broken_off_goes_back_to_a_checkpoint(
    call: int, from_step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update is two calls of the kernel, one of matrices and one of vectors."""
    config = help.corpus(help.write_text(tmp_path))
    expected, _ = by_hand(config, tmp_path / "hand", from_step, {"micro_batch": 2})
    once(monkeypatch, torch, "_fused_adamw_", call)
    result, reporter = help.run(config, tmp_path / "card")
    assert (result.reason, result.final) == (Reason.FINISHED, expected.final)
    one, other = (help.newest(tmp_path / folder).optimizer for folder in ("hand", "card"))
    assert help.same_tensors(one, other)
    notes = [event[2:] for event in reporter.of("started")]
    assert notes == [(0, ""), (from_step, f"resumes at step {from_step}" if from_step else "")]
    assert told(reporter) == [f"out of memory at step {call // 2}: micro-batch 4 → 2"]
    assert [step for step, _ in help.newest(tmp_path / "card").rows] == [15, 18, 20]


def test_a_model_that_cannot_be_made_steps_down_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = help.modular(model=DECODER, training={"batch_size": 5})
    once(monkeypatch, solo, "build_model", 1)
    result, reporter = help.run(config, tmp_path)
    assert result.reason is Reason.FINISHED
    assert told(reporter) == ["out of memory at the start: micro-batch 5 → 2"]


def test_a_state_waits_until_the_model_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = help.write_text(tmp_path)
    config = help.corpus(text, checkpoint={"enable": False})
    expected, rows = by_hand(help.corpus(text), tmp_path / "hand", 4, {"micro_batch": 1})
    small_card(monkeypatch, at_most(2, from_step=4))
    once(monkeypatch, solo, "build_model", 2)
    result, reporter = help.run(config, tmp_path / "card")
    assert (result.final, reporter.rows()) == (expected.final, rows)
    assert told(reporter) == [
        "out of memory at step 5: micro-batch 4 → 2",
        "out of memory at step 5: micro-batch 2 → 1",
    ]


def test_the_members_of_a_stack_step_down_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = {f"m{n}": help.modular(training={"seed": n}) for n in range(3)}
    other = help.modular(model={"dim": 9})
    small_card(monkeypatch, lambda n, config, step: config.model.dim == 9 or step < 8 or n <= 12)
    reporter = help.Recorder()
    members = [Member(k, c, tmp_path / k) for k, c in (configs | {"other": other}).items()]
    assert {result.reason for result in fit(members, reporter)} == {Reason.FINISHED}
    for key in configs:
        assert told(reporter, key) == ["out of memory at step 9: micro-batch 24 → 12"]
        _, alone = help.run(configs[key], tmp_path / "alone" / key)
        assert reporter.rows(key) == alone.rows()
    assert told(reporter, "other") == []


def test_a_resumed_run_begins_with_the_tier_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = help.corpus(help.write_text(tmp_path))
    small_card(monkeypatch, at_most(2))
    interrupted = config.model_copy(update={"limits": config.limits.model_copy(
        update={"stop_after_steps": 6})})  # fmt: skip
    _, before = help.run(interrupted, tmp_path / "run")
    lower = config.model_copy(update={"tier": before.of("stepped_down")[-1][3]})
    result, after = help.run(lower, tmp_path / "run")
    assert (result.reason, told(after)) == (Reason.FINISHED, [])


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("boom"), False),
        (ValueError("out of memory"), False),
        (OSError(12, "Cannot allocate memory"), False),
    ],
)
def test_which_errors_mean_it(error: Exception, is_it: bool) -> None:
    assert ran_out(error) is is_it


def test_the_allocator_of_the_host_means_it() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    assert ran_out(raised.value)


def test_what_an_error_came_through_is_let_go() -> None:
    def work() -> None:
        activations = torch.ones(3)
        seen.append(weakref.ref(activations))
        raise torch.OutOfMemoryError(MESSAGE)

    seen: list[weakref.ref[torch.Tensor]] = []
    try:
        work()
    except torch.OutOfMemoryError as error:
        kept = error
    assert seen[0]() is not None
    let_go(kept)
    assert seen[0]() is None

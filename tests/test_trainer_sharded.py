"""Two processes train one model as one process does. One pair of them serves the whole file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import trainer_help as help
from tests.contracts.engines import copied, same
from tests.small_card import at_most, small_card
from trainer import Member, Reason, RunConfig, fit
from trainer.config import TierConfig
from trainer.engines import Advance, Engine, State
from trainer.engines.sharded import ShardedEngine
from trainer.engines.solo import SoloEngine
from trainer.errors import InputError
from trainer.processes import leading
from trainer.tasks import build_task

WAITING_S = 5.0
"""How long the ranks wait for one that has left their work."""

DECODER = {"kind": "decoder", "dim": 6, "n_layers": 2, "n_heads": 3, "ffn_dim": 7}
CONFIGS: dict[str, dict[str, Any]] = {
    "quadratic, full batch": {},
    "decoder, odd shapes": {"model": DECODER, "training": {"batch_size": 5}},
    "a row a pass": {
        "model": DECODER | {"norm_type": "deepnorm", "ffn": "gelu"},
        "training": {"batch_size": 3},
        "tier": {"micro_batch": 1},
    },
    "recomputed, tied, accumulated": {
        "model": DECODER | {"tie_embeddings": True, "position": "learned"},
        "training": {"batch_size": 7},
        "tier": {"micro_batch": 2, "activation_checkpointing": "full"},
    },
    "fewer rows than ranks": {"model": DECODER, "training": {"batch_size": 1}},
}


def pair(**sections: dict[str, Any]) -> RunConfig:
    """Return a run of two processes on few pairs of numbers."""
    sections["tier"] = {"workers": 2} | sections.get("tier", {})
    return help.modular(**sections)


@pytest.fixture(scope="module")
def sharded() -> Iterator[ShardedEngine]:
    with leading(2, "cpu", data_timeout_s=WAITING_S) as engine:
        yield engine


def begun(engine: Engine, config: RunConfig) -> Engine:
    """Put member "a" into an engine anew."""
    engine.remove("a")
    engine.add("a", config, build_task(config))
    return engine


def advance(engine: Engine, first: int, steps: int, until: int = 10**9) -> Advance:
    (done,) = engine.advance(["a"], [first], steps, lambda key, step: step < until)
    return done


def close(one: State, other: State) -> None:
    for ours, theirs in ((one.model, other.model), (one.optimizer, other.optimizer)):
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("sections", CONFIGS.values(), ids=CONFIGS.keys())
def test_two_processes_learn_what_one_does(
    sharded: ShardedEngine, sections: dict[str, Any]
) -> None:
    config = pair(**sections)
    alone, both = begun(SoloEngine(), config), begun(sharded, config)
    assert help.same_tensors(alone.export("a").model, both.export("a").model)
    one, two = advance(alone, 0, 10), advance(both, 0, 10)
    assert two.error is None
    torch.testing.assert_close(two.losses, one.losses, rtol=0, atol=1e-5)
    assert two.grad_norm == pytest.approx(one.grad_norm, rel=1e-3)
    assert both.weight_norm("a") == pytest.approx(alone.weight_norm("a"), rel=1e-6)
    for split in ("train", "val", "test"):
        assert both.evaluate("a", split) == pytest.approx(alone.evaluate("a", split), abs=1e-5)
    close(both.export("a"), alone.export("a"))


def test_a_state_goes_from_one_process_to_two_and_back(sharded: ShardedEngine) -> None:
    config = pair(**CONFIGS["decoder, odd shapes"])
    alone, both = begun(SoloEngine(), config), begun(sharded, config)
    advance(alone, 0, 4)
    before = copied(alone.export("a"))
    both.restore("a", before)
    assert same(both.export("a"), before)
    torch.testing.assert_close(
        advance(both, 4, 6).losses, advance(alone, 4, 6).losses, rtol=0, atol=1e-5
    )
    after = both.export("a")
    back = begun(SoloEngine(), config)
    back.restore("a", copied(after))
    again = begun(sharded, config)
    again.restore("a", after)
    torch.testing.assert_close(
        advance(again, 10, 5).losses, advance(back, 10, 5).losses, rtol=0, atol=1e-5
    )


def test_steps_may_be_done_in_any_portions(sharded: ShardedEngine) -> None:
    config = pair(**CONFIGS["decoder, odd shapes"])
    whole = advance(begun(sharded, config), 0, 6)
    state = sharded.export("a")
    pieces = [advance(begun(sharded, config), 0, 1), advance(sharded, 1, 3), advance(sharded, 4, 2)]
    assert torch.equal(torch.cat([piece.losses for piece in pieces]), whole.losses)
    assert same(sharded.export("a"), state)


def test_dropout_is_the_same_again(sharded: ShardedEngine) -> None:
    config = pair(model=DECODER | {"dropout": 0.3}, training={"batch_size": 6})
    first = advance(begun(sharded, config), 0, 4)
    assert torch.equal(advance(begun(sharded, config), 0, 4).losses, first.losses)
    plain = pair(model=DECODER, training={"batch_size": 6})
    assert not torch.equal(advance(begun(sharded, plain), 0, 4).losses, first.losses)


def test_an_overflow_leaves_the_step_out_on_every_rank(sharded: ShardedEngine) -> None:
    config = pair(model=DECODER, training={"batch_size": 5}, tier={"precision": "fp16"})
    begun(sharded, config)
    fresh = sharded.export("a")
    scale = {"scale": 2.0**120, "_growth_tracker": 0, "growth_factor": 2.0}
    scaler = fresh.extra["scaler"] | scale
    sharded.restore("a", State(fresh.model, {}, {"scaler": scaler}))
    done = advance(sharded, 0, 1)
    assert not math.isfinite(done.grad_norm)
    after = sharded.export("a")
    assert after.extra["scaler"]["scale"] == 2.0**119
    assert help.same_tensors(after.model, fresh.model)
    sharded.restore("a", State(fresh.model, {}, fresh.extra))
    assert torch.isfinite(advance(sharded, 0, 3).losses).all()


def test_only_the_leader_is_asked_whether_to_go_on(sharded: ShardedEngine) -> None:
    config = pair()
    begun(sharded, config)
    assert advance(sharded, 3, 4, until=5).steps == 2
    done = advance(sharded, 5, 3, until=5)
    assert (done.steps, len(done.losses), done.error) == (0, 0, None)
    assert math.isnan(done.grad_norm)

    def broken(key: str, step: int) -> bool:
        raise RuntimeError("boom")

    (done,) = sharded.advance(["a"], [5], 3, broken)
    assert (done.steps, str(done.error)) == (0, "boom")
    assert advance(sharded, 5, 2).steps == 2


def test_a_state_of_another_model_is_refused(sharded: ShardedEngine) -> None:
    begun(sharded, pair(model=DECODER))
    before = sharded.export("a")
    wide = begun(SoloEngine(), help.modular(model=DECODER | {"ffn_dim": 8})).export("a")
    with pytest.raises(
        ValueError, match=r"another model: blocks\.0\.ffn\.down\.weight is \(6, 8\)"
    ):
        sharded.restore("a", wide)
    assert same(sharded.export("a"), before)


def test_what_a_follower_cannot_do_is_told_with_its_rank(
    sharded: ShardedEngine, tmp_path: Path
) -> None:
    config = help.corpus(help.write_text(tmp_path), tier={"workers": 2})
    task = build_task(config)
    lost = config.model_copy(
        update={"data": config.data.model_copy(update={"dataset_path": str(tmp_path / "lost")})}
    )
    with pytest.raises(InputError, match=r"rank 1: .*lost"):
        sharded.add("a", lost, task)
    assert advance(begun(sharded, config), 0, 2).steps == 2


def test_a_rank_that_runs_out_of_memory_lowers_the_tier_of_all(
    sharded: ShardedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one waits for it in the backward pass, and is let go."""
    config = pair(model=DECODER, training={"batch_size": 4, "steps": 8})
    _, alone = help.run(config.model_copy(update={"tier": TierConfig()}), tmp_path / "alone")
    small_card(monkeypatch, at_most(1, from_step=4))
    reporter = help.Recorder()
    (result,) = fit([Member("a", config, tmp_path / "both")], reporter, engine=sharded)
    assert result.reason is Reason.FINISHED
    (lower,) = reporter.of("stepped_down")
    assert lower[2] == 4 and "micro-batch 2 → 1" in lower[-1]
    ours, theirs = reporter.rows(), alone.rows()
    assert ours.keys() == theirs.keys()
    for step, row in ours.items():
        assert row == pytest.approx(theirs[step], abs=1e-5)

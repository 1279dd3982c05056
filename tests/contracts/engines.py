"""What every engine promises. A test of an engine inherits the suite and names it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests import trainer_help as help
from tests.spectra import spectra
from trainer import RunConfig
from trainer.engines import Advance, Engine, State, make_engine
from trainer.models import build_model
from trainer.schedule import learning_rate
from trainer.tasks import Task, build_task

DECODER = {"kind": "decoder", "dim": 8, "n_layers": 1, "n_heads": 2}
CONFIGS = {
    "quadratic": help.modular(),
    "decoder": help.modular(model=DECODER, training={"batch_size": 5}),
    "dropout": help.modular(model=DECODER | {"dropout": 0.2}, tier={"micro_batch": 10}),
}


def copied(state: State) -> State:
    return State(
        {name: t.clone() for name, t in state.model.items()},
        {name: t.clone() for name, t in state.optimizer.items()},
        state.extra,
    )


def same(one: State, other: State) -> bool:
    return help.same_tensors(one.model, other.model) and help.same_tensors(
        one.optimizer, other.optimizer
    )


def advance(
    engine: Engine, members: dict[str, int], steps: int, keep_going: Any = lambda key, step: True
) -> dict[str, Advance]:
    """Advance every member once, in the engine's groups; from its step, by `steps`."""
    done = {}
    groups: Sequence[Sequence[str]] = engine.turns(list(members))
    assert sorted(key for keys in groups for key in keys) == sorted(members)
    for keys in groups:
        advances = engine.advance(keys, [members[key] for key in keys], steps, keep_going)
        done |= dict(zip(keys, advances, strict=True))
    return done


class Breaking:
    """A task that raises at a given step."""

    def __init__(self, task: Task, step: int) -> None:
        self.task, self.step = task, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batch(self, step: int) -> Any:
        if step == self.step:
            raise RuntimeError("boom")
        return self.task.batch(step)


class EngineContract:
    """Inherit it and give the fixture `engine_name`: a name in `trainer.engines.ENGINES`."""

    @pytest.fixture(params=[*CONFIGS, "spectral"])
    def config(self, request: pytest.FixtureRequest) -> RunConfig:
        if request.param != "spectral":
            return CONFIGS[request.param]
        return spectra(model={"dropout": 0.2}, tier={"micro_batch": 2})

    def make(self, name: str, **configs: RunConfig) -> Engine:
        engine = make_engine(name)
        for key, config in configs.items():
            engine.add(key, config, build_task(config))
        return engine

    def test_it_starts_from_the_weights_of_the_seed(
        self, engine_name: str, config: RunConfig
    ) -> None:
        state = self.make(engine_name, a=config).export("a")
        model = build_model(config, build_task(config).vocab_size)
        assert help.same_tensors(state.model, dict(model.named_parameters()))
        assert state.optimizer == {}

    def test_steps_may_be_done_in_any_portions(self, engine_name: str, config: RunConfig) -> None:
        whole, parts = (self.make(engine_name, a=config) for _ in range(2))
        losses = advance(whole, {"a": 0}, 6)["a"].losses
        assert losses.shape == (6,) and losses.dtype == torch.float32
        pieces = [advance(parts, {"a": first}, n)["a"] for first, n in ((0, 1), (1, 3), (4, 2))]
        assert [piece.steps for piece in pieces] == [1, 3, 2]
        assert torch.equal(torch.cat([piece.losses for piece in pieces]), losses)
        assert same(whole.export("a"), parts.export("a"))

    def test_a_state_goes_on_in_a_new_engine(self, engine_name: str, config: RunConfig) -> None:
        first, second = (self.make(engine_name, a=config) for _ in range(2))
        advance(first, {"a": 0}, 3)
        second.restore("a", copied(first.export("a")))
        assert same(first.export("a"), second.export("a"))
        one, other = (advance(engine, {"a": 3}, 3)["a"] for engine in (first, second))
        assert torch.equal(one.losses, other.losses) and one.grad_norm == other.grad_norm
        assert same(first.export("a"), second.export("a"))

    def test_neighbours_are_invisible(self, engine_name: str, config: RunConfig) -> None:
        alone = self.make(engine_name, a=config)
        others = {"b": config, "c": CONFIGS["decoder"], "d": CONFIGS["dropout"]}
        crowd = self.make(engine_name, **(others | {"a": config}))
        one = advance(alone, {"a": 0}, 4)["a"]
        members = dict.fromkeys([*others, "a"], 0)
        assert torch.equal(advance(crowd, members, 4)["a"].losses, one.losses)
        crowd.remove("b")
        one = advance(alone, {"a": 4}, 2)["a"]
        again = advance(crowd, {"c": 4, "a": 4}, 2)
        assert torch.equal(again["a"].losses, one.losses)
        assert same(alone.export("a"), crowd.export("a"))

    @pytest.mark.parametrize("name", ["quadratic", "decoder"])
    def test_it_computes_what_a_plain_loop_computes(self, engine_name: str, name: str) -> None:
        """The reference is written out: AdamW that decays matrices only, clipped, scheduled."""
        config = CONFIGS[name]
        training, task = config.training, build_task(config)
        model = build_model(config, task.vocab_size)
        first, second = (
            [torch.zeros_like(p) for p in model.parameters()],
            [torch.zeros_like(p) for p in model.parameters()],
        )
        losses, norm = [], torch.tensor(0.0)
        for step in range(5):
            inputs, targets = task.batch(step)
            loss = task.loss(model, inputs, targets)
            grads = torch.autograd.grad(loss, list(model.parameters()))
            norm = torch.stack([(g**2).sum() for g in grads]).sum().sqrt()
            assert training.grad_clip is not None
            scale = min(1.0, training.grad_clip / float(norm))
            rate, n = learning_rate(training, step), step + 1
            with torch.no_grad():
                for p, g, m, v in zip(model.parameters(), grads, first, second, strict=True):
                    p *= 1 - rate * (training.weight_decay if p.ndim > 1 else 0.0)
                    m.lerp_(scale * g, 1 - training.beta1)
                    v.lerp_((scale * g) ** 2, 1 - training.beta2)
                    unbiased = (v / (1 - training.beta2**n)).sqrt() + training.eps
                    p -= rate * m / (1 - training.beta1**n) / unbiased
            losses.append(float(loss.detach()))
        engine = self.make(engine_name, a=config)
        done = advance(engine, {"a": 0}, 5)["a"]
        assert done.losses.tolist() == pytest.approx(losses, abs=1e-5)
        assert done.grad_norm == pytest.approx(float(norm), rel=1e-3)
        for name, weight in engine.export("a").model.items():
            torch.testing.assert_close(weight, model.get_parameter(name), rtol=1e-3, atol=1e-4)

    def test_it_asks_before_each_step(self, engine_name: str) -> None:
        config, asked = CONFIGS["quadratic"], []

        def keep_going(key: str, step: int) -> bool:
            asked.append((key, step))
            return step < 5

        engine = self.make(engine_name, a=config)
        before = copied(engine.export("a"))
        done = advance(engine, {"a": 5}, 3, keep_going)["a"]
        assert (done.steps, len(done.losses), done.error) == (0, 0, None)
        assert math.isnan(done.grad_norm) and same(before, engine.export("a"))
        assert advance(engine, {"a": 3}, 4, keep_going)["a"].steps == 2
        assert asked == [("a", 5), ("a", 3), ("a", 4), ("a", 5)]

    def test_a_broken_member_is_told_and_harms_nobody(self, engine_name: str) -> None:
        config = CONFIGS["quadratic"]
        engine, alone = self.make(engine_name, z=config), self.make(engine_name, z=config)
        engine.add("bad", config, Breaking(build_task(config), 2))  # type: ignore[arg-type]
        done = advance(engine, {"bad": 0, "z": 0}, 4)
        assert done["bad"].steps == len(done["bad"].losses) == 2
        assert str(done["bad"].error) == "boom"
        assert done["z"].error is None
        assert torch.equal(done["z"].losses, advance(alone, {"z": 0}, 4)["z"].losses)
        assert same(engine.export("z"), alone.export("z"))

    def test_a_step_that_was_broken_off_leaves_the_state_before_it(
        self, engine_name: str, config: RunConfig
    ) -> None:
        engine, plain = self.make(engine_name), self.make(engine_name, a=config)
        task = build_task(config)
        working, passes = task.loss, 0

        def loss(
            model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor
        ) -> torch.Tensor:
            nonlocal passes
            passes += 1
            if passes > 2 * (-(-task.batch_size // (config.tier.micro_batch or task.batch_size))):
                raise torch.OutOfMemoryError("no room")
            return working(model, inputs, targets)

        task.loss = loss  # type: ignore[method-assign]
        engine.add("a", config, task)
        done = advance(engine, {"a": 0}, 4)["a"]
        assert (done.steps, done.sound, str(done.error)) == (2, True, "no room")
        advance(plain, {"a": 0}, 2)
        assert same(engine.export("a"), plain.export("a"))

    def test_looking_changes_nothing(self, engine_name: str, config: RunConfig) -> None:
        looked, plain = (self.make(engine_name, a=config) for _ in range(2))
        advance(looked, {"a": 0}, 2), advance(plain, {"a": 0}, 2)
        metrics = looked.evaluate("a", "val")
        assert metrics == looked.evaluate("a", "val") != looked.evaluate("a", "test")
        weights = looked.export("a").model.values()
        norm = math.sqrt(sum(float((w.double() ** 2).sum()) for w in weights))
        assert looked.weight_norm("a") == pytest.approx(norm, rel=1e-5)
        assert advance(looked, {"a": 2}, 2)["a"].losses.equal(
            advance(plain, {"a": 2}, 2)["a"].losses
        )

    def test_a_state_of_another_model_is_refused(self, engine_name: str) -> None:
        engine = self.make(engine_name, a=CONFIGS["quadratic"], b=CONFIGS["decoder"])
        wide = self.make(engine_name, a=help.modular(model={"dim": 9}))
        for state in (engine.export("b"), wide.export("a"), State({}, {})):
            with pytest.raises(ValueError, match="another model"):
                engine.restore("a", state)

    def test_a_removed_member_is_forgotten(self, engine_name: str) -> None:
        config = CONFIGS["quadratic"]
        engine = self.make(engine_name, a=config)
        fresh = copied(engine.export("a"))
        advance(engine, {"a": 0}, 2)
        engine.remove("a")
        engine.remove("a")
        with pytest.raises(KeyError):
            engine.export("a")
        engine.add("a", config, build_task(config))
        assert same(engine.export("a"), fresh)

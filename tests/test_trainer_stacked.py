"""A stack of models computes what each would alone, whoever comes and goes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests import trainer_help as help
from tests.contracts.engines import advance, copied, same
from trainer import RunConfig
from trainer.engines import Engine, make_engine
from trainer.models.layers import Linear
from trainer.models.stacking import stack
from trainer.tasks import build_task

EIGHT = {
    f"m{n}": help.modular(
        training={
            "seed": n % 3,
            "steps": 300,
            "learning_rate": 10.0 ** -(2 + n % 3 / 2),
            "weight_decay": 0.5 * n,
            "grad_clip": None if n == 5 else 0.1 * (n + 1),
            "warmup_steps": 4 * n,
            "schedule": ("constant", "cosine", "linear")[n % 3],
            "beta2": 0.95 + 0.004 * n,
            "eps": 1e-8 * (n + 1),
            "batch_size": "full",
        }
    )
    for n in range(8)
}
STEPS = 200


def made(name: str, configs: dict[str, RunConfig]) -> Engine:
    engine = make_engine(name)
    for key, config in configs.items():
        engine.add(key, config, build_task(config))
    return engine


def test_eight_of_a_shape_are_one_stack() -> None:
    engine = made("stacked", EIGHT | {"wide": help.modular(model={"dim": 9})})
    assert sorted(map(len, engine.turns([*EIGHT, "wide"]))) == [1, 8]


def test_a_member_of_eight_is_the_member_of_one_bit_for_bit() -> None:
    together = made("stacked", EIGHT)
    done = advance(together, dict.fromkeys(EIGHT, 0), STEPS)
    for key, config in EIGHT.items():
        alone = made("stacked", {key: config})
        one = advance(alone, {key: 0}, STEPS)[key]
        assert torch.equal(one.losses, done[key].losses)
        assert one.grad_norm == done[key].grad_norm
        assert same(alone.export(key), together.export(key))
        assert alone.evaluate(key, "val") == together.evaluate(key, "val")


def test_a_member_is_what_the_reference_computes() -> None:
    stacked, solo = made("stacked", EIGHT), made("solo", EIGHT)
    members = dict.fromkeys(EIGHT, 0)
    ours, theirs = advance(stacked, members, STEPS), advance(solo, members, STEPS)
    for key in EIGHT:
        torch.testing.assert_close(ours[key].losses, theirs[key].losses, rtol=1e-5, atol=1e-5)


def test_who_leaves_and_who_joins_changes_nothing_for_the_others() -> None:
    crowd = made("stacked", {key: EIGHT[key] for key in list(EIGHT)[:6]})
    alone = made("stacked", {"m0": EIGHT["m0"]})
    losses = [advance(crowd, dict.fromkeys(list(EIGHT)[:6], 0), 50)["m0"].losses]
    for key in list(EIGHT)[1:6]:
        crowd.remove(key)
    losses.append(advance(crowd, {"m0": 50}, 25)["m0"].losses)
    for key in ("m6", "m7"):
        crowd.add(key, EIGHT[key], build_task(EIGHT[key]))
    losses.append(advance(crowd, {"m0": 75, "m6": 0, "m7": 0}, 50)["m0"].losses)
    assert torch.equal(torch.cat(losses), advance(alone, {"m0": 0}, 125)["m0"].losses)
    assert same(crowd.export("m0"), alone.export("m0"))
    late = advance(made("stacked", {"m7": EIGHT["m7"]}), {"m7": 0}, 50)["m7"].losses
    fresh = made("stacked", EIGHT)
    assert torch.equal(advance(fresh, dict.fromkeys(EIGHT, 0), 50)["m7"].losses, late)


def test_one_that_is_told_to_stop_leaves_the_others_their_steps() -> None:
    engine = made("stacked", EIGHT)
    done = advance(engine, dict.fromkeys(EIGHT, 0), 10, lambda key, step: key != "m3" or step < 4)
    assert {key: value.steps for key, value in done.items()} == dict.fromkeys(EIGHT, 10) | {"m3": 4}
    assert int(engine.export("m3").optimizer["step.readout.weight"]) == 4
    assert int(engine.export("m4").optimizer["step.readout.weight"]) == 10


@pytest.mark.parametrize(("first", "second"), [("solo", "stacked"), ("stacked", "solo")])
def test_the_other_engine_carries_a_state_on(first: str, second: str) -> None:
    config = EIGHT["m1"]
    whole, begun, other = (
        made(first, {"a": config}),
        made(first, {"a": config}),
        made(second, EIGHT),
    )
    losses = advance(whole, {"a": 0}, 100)["a"].losses
    advance(begun, {"a": 0}, 50)
    other.restore("m1", copied(begun.export("a")))
    members = dict.fromkeys(EIGHT, 0) | {"m1": 50}
    carried = advance(other, members, 50)["m1"].losses
    torch.testing.assert_close(carried, losses[50:], rtol=1e-5, atol=1e-5)


def test_a_member_that_diverges_harms_no_other() -> None:
    wild = help.modular(training={"learning_rate": 1e30, "grad_clip": None, "batch_size": "full"})
    engine = made("stacked", EIGHT | {"wild": wild})
    done = advance(engine, dict.fromkeys([*EIGHT, "wild"], 0), 5)
    assert not done["wild"].losses.isfinite().all()
    alone = advance(made("stacked", {"m2": EIGHT["m2"]}), {"m2": 0}, 5)["m2"]
    assert torch.equal(alone.losses, done["m2"].losses)


def test_minibatches_are_each_members_own() -> None:
    configs = {
        f"b{n}": help.modular(training={"batch_size": 7, "seed": n, "steps": 60}) for n in range(3)
    }
    done = advance(made("stacked", configs), dict.fromkeys(configs, 0), 60)
    for key, config in configs.items():
        one = advance(made("stacked", {key: config}), {key: 0}, 60)[key]
        reference = advance(made("solo", {key: config}), {key: 0}, 60)[key]
        assert torch.equal(one.losses, done[key].losses)
        torch.testing.assert_close(one.losses, reference.losses, rtol=1e-5, atol=1e-5)


def test_layers_map_any_number_of_axes() -> None:
    draw = torch.Generator().manual_seed(0)
    layers = [Linear(3, 5, 1.0, draw) for _ in range(4)]
    x = torch.randn(4, 2, 6, 3, generator=draw)
    y = stack(layers)(x)
    assert y.shape == (4, 2, 6, 5)
    for n, layer in enumerate(layers):
        torch.testing.assert_close(y[n], layer(x[n]))


def test_a_layer_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="cannot stack Conv1d: it is none of Linear, Embedding"):
        stack([nn.Sequential(nn.Conv1d(1, 1, 1))])

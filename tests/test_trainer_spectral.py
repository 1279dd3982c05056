"""The model of spectra: what it starts from, what it reads, and that many of it are one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.trainer_help import merged
from trainer import RunConfig
from trainer.footprint import parameter_count, step_flops
from trainer.footprint.memory import step_memory
from trainer.footprint.parameters import vocabulary_of
from trainer.footprint.probe import probe
from trainer.models import build_model
from trainer.models.spectral import Spectral
from trainer.models.stacking import stack
from trainer.tasks.ariel.sample import FEATURES, WAVELENGTHS, Layout

FRAMES, ROWS = 20, 3
LAYOUT = Layout(FRAMES)


def config(**sections: dict[str, Any]) -> RunConfig:
    base: dict[str, dict[str, Any]] = {
        "model": {"kind": "spectral", "dim": 6, "n_layers": 2},
        "data": {"task": "ariel", "frames": FRAMES},
        "training": {"batch_size": 64},
    }
    return merged(base, sections)


def visits(seed: int = 0) -> torch.Tensor:
    """Light curves of a transit in noise, (rows, size)."""
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.empty(ROWS, LAYOUT.size)
    parts = LAYOUT.unpack(inputs)
    profile = torch.zeros(FRAMES)
    profile[6:13] = torch.tensor([0.3, 0.8, 1.0, 1.0, 1.0, 0.9, 0.4])
    parts["profile"].copy_(profile.expand(ROWS, -1))
    parts["depth"].copy_(20 + torch.randn(ROWS, WAVELENGTHS, generator=draw))
    parts["noise"].copy_(torch.rand(ROWS, WAVELENGTHS, generator=draw))
    parts["system"].copy_(torch.randn(ROWS, len(FEATURES), generator=draw))
    noise = torch.randn(ROWS, FRAMES, WAVELENGTHS, generator=draw)
    parts["light_curves"].copy_(noise - profile[:, None] * parts["depth"][:, None])
    return inputs


def trained(seed: int = 0, **model: Any) -> torch.nn.Module:
    """A model whose answers are not all 0."""
    built = build_model(config(model=model, training={"seed": seed}), WAVELENGTHS)
    draw = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
    return built


def test_a_row_is_packed_and_unpacked() -> None:
    inputs = torch.arange(2.0 * LAYOUT.size).view(2, -1)
    parts = LAYOUT.unpack(inputs)
    assert {name: tuple(part.shape[1:]) for name, part in parts.items()} == LAYOUT.shapes
    assert torch.equal(torch.cat([part.flatten(1) for part in parts.values()], dim=1), inputs)
    parts["noise"][1, 0] = -1
    assert (inputs == -1).sum() == 1  # a view


def test_a_mirrored_row_runs_backwards_and_its_mirror_is_itself() -> None:
    inputs = visits()
    before, after = LAYOUT.unpack(inputs), LAYOUT.unpack(LAYOUT.mirrored(inputs))
    assert torch.equal(after["light_curves"], before["light_curves"].flip(1))
    assert torch.equal(after["profile"], before["profile"].flip(1))
    assert all(torch.equal(after[name], before[name]) for name in ("depth", "noise", "system"))
    assert torch.equal(LAYOUT.mirrored(LAYOUT.mirrored(inputs)), inputs)


def test_its_first_answer_is_nothing() -> None:
    answer = build_model(config(), WAVELENGTHS)(visits())
    assert answer.shape == (ROWS, 4, WAVELENGTHS) and not answer.any()


@pytest.mark.parametrize("part", LAYOUT.shapes)
def test_it_reads_every_part(part: str) -> None:
    model, inputs = trained(), visits()
    other = inputs.clone()
    LAYOUT.unpack(other)[part][0] += 0.5
    difference = (model(other) - model(inputs)).abs().amax((1, 2))
    assert difference[0] > 1e-4 and not difference[1:].any()


def test_a_light_curve_that_the_baseline_explains_leaves_nothing() -> None:
    model, inputs = trained(), visits()
    assert isinstance(model, Spectral)
    parts = LAYOUT.unpack(inputs)
    fit = -parts["profile"][..., None] * parts["depth"][:, None]
    left = model.pooled(fit, parts["profile"], parts["depth"])
    assert left.abs().max() < 1e-4
    parts["light_curves"].copy_(fit + 1)  # the star was brighter all the time
    left = model.pooled(parts["light_curves"], parts["profile"], parts["depth"])
    torch.testing.assert_close(left, torch.ones_like(left), atol=1e-4, rtol=0)


def test_many_are_computed_as_one() -> None:
    models, inputs = [trained(seed) for seed in range(3)], visits()
    together = stack(models)(torch.stack([inputs, visits(1), inputs]))
    for answer, model, own in zip(together, models, (inputs, visits(1), inputs), strict=True):
        torch.testing.assert_close(answer, model(own), rtol=1e-4, atol=1e-4)


def test_every_weight_learns() -> None:
    model = trained()
    model(visits()).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_dropout_is_of_training_alone() -> None:
    model, inputs = trained(dropout=0.5), visits()
    torch.manual_seed(0)
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


@pytest.mark.parametrize("model", [{}, {"dim": 64, "n_layers": 1}, {"dim": 5, "n_layers": 3}])
def test_its_parameters_are_counted(model: dict[str, Any]) -> None:
    run = config(model=model)
    count = sum(p.numel() for p in build_model(run, WAVELENGTHS).parameters())
    assert parameter_count(run, WAVELENGTHS) == count
    assert vocabulary_of(run, count) == WAVELENGTHS


def test_reading_backwards_too_is_twice_the_work() -> None:
    once, twice = (
        step_flops(config(loss={"composite": {"asymmetry": {"weight": w}}}), WAVELENGTHS, 640)
        for w in (0.0, 0.05)
    )
    assert twice == 2 * once > 6 * parameter_count(config(), WAVELENGTHS) * 640 / FRAMES


LARGE = {"dim": 64, "n_layers": 2}
MIRRORED = {"composite": {"asymmetry": {"weight": 0.05}}}
SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "in two passes": {"tier": {"micro_batch": 32}},
    "backwards, in two passes": {"loss": MIRRORED, "tier": {"micro_batch": 32}},
    "large, few rows": {"model": {"dim": 128, "n_layers": 4}, "training": {"batch_size": 8}},
    "bf16": {"tier": {"device": "cuda", "precision": "bf16"}},
}


@pytest.mark.parametrize("name", SHAPES)
def test_predicted_memory_is_that_of_the_step(name: str) -> None:
    changes = SHAPES[name]
    model = LARGE | changes.get("model", {})
    run = config(**(changes | {"model": model, "data": {"frames": 187}}))
    measured = probe(run, WAVELENGTHS).peak
    assert step_memory(run, WAVELENGTHS).total == pytest.approx(measured, rel=0.025)

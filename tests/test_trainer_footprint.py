"""Predicted memory: the closed form against steps on fake tensors, and those against a real step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainer.config import (
    DecoderConfig,
    ModularData,
    QuadraticMLPConfig,
    RunConfig,
    TierConfig,
    TrainingConfig,
)
from trainer.engines.solo import SoloEngine, _step
from trainer.engines.stacked import pays
from trainer.footprint import Memory, parameter_count, peak_memory
from trainer.footprint.memory import effective_batch, stacks, step_memory
from trainer.footprint.parameters import vocabulary_of
from trainer.footprint.probe import LiveStorages, probe
from trainer.tasks import build_task, vocab_size
from trainer.units import GIB

TOLERANCE = 0.025
"""Of the closed form, against the step it describes."""


def decoder(batch: int = 8, seq_len: int = 256, **settings: Any) -> RunConfig:
    """A decoder whose parts all matter; settings go to the tier or the model by their name."""
    model: dict[str, Any] = {"dim": 256, "n_layers": 4, "n_heads": 4, "vocab_size": 2048}
    tier: dict[str, Any] = {}
    for name, value in settings.items():
        (tier if name in TierConfig.model_fields else model)[name] = value
    return RunConfig(
        model=DecoderConfig(**model),
        training=TrainingConfig(batch_size=batch, seq_len=seq_len),
        tier=TierConfig(**tier),
    )


def modular(model: Any, **tier: Any) -> RunConfig:
    return RunConfig(
        model=model,
        data=ModularData(p=97),
        training=TrainingConfig(batch_size="full"),
        tier=TierConfig(**tier),
    )


GPU = {"device": "cuda", "precision": "bf16"}
SHAPES = {
    "plain": decoder(),
    "deepnorm, gelu": decoder(norm_type="deepnorm", ffn="gelu"),
    "layernorm, relu, learned, dropout": decoder(
        norm_type="layernorm", ffn="relu", position="learned", dropout=0.1, precision="bf16"
    ),
    "one row at a time": decoder(micro_batch=1),
    "small vocabulary": decoder(vocab_size=256, seq_len=512),
    "bf16": decoder(**GPU),
    "deep": decoder(norm_type="deepnorm", ffn="gelu", n_layers=40, **GPU),
    "wide, few tokens": decoder(batch=1, seq_len=32, dim=512, n_layers=8, **GPU),
    "fp16, computed again, accumulated": decoder(
        device="cuda", precision="fp16", micro_batch=2, activation_checkpointing="full"
    ),
    "computed again, small vocabulary": decoder(
        vocab_size=256, activation_checkpointing="full", batch=16, **GPU
    ),
    "products kept": decoder(
        vocab_size=256, activation_checkpointing="selective", seq_len=512, **GPU
    ),
    "products kept, deepnorm": decoder(
        norm_type="deepnorm", ffn="gelu", activation_checkpointing="selective", **GPU
    ),
    "scores": decoder(attention="math", seq_len=512, **GPU),
    "scores, dropout": decoder(
        attention="math", dropout=0.1, device="cuda", precision="fp16", seq_len=512
    ),
    "tied, accumulated": decoder(tie_embeddings=True, micro_batch=4, norm_type="postnorm", **GPU),
    "no norm, fp32 on a GPU": decoder(norm_type="none", ffn="relu", device="cuda"),
    "modular decoder": modular(DecoderConfig(dim=128, n_layers=2, n_heads=4)),
    "modular decoder, bf16": modular(DecoderConfig(dim=128, n_layers=2, n_heads=4), **GPU),
    "quadratic": modular(QuadraticMLPConfig()),
    "quadratic, accumulated": modular(QuadraticMLPConfig(), micro_batch=1000),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_closed_form_is_the_step(name: str) -> None:
    config = SHAPES[name]
    symbols = vocab_size(config)
    measured = probe(config, symbols).peak
    assert step_memory(config, symbols).total == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("again", ["off", "full"])
def test_a_deep_model_is_extrapolated_from_shallow_ones(again: str) -> None:
    config = decoder(n_layers=10, activation_checkpointing=again, **GPU)
    whole, found = probe(config, 2048, whole=True), probe(config, 2048)
    assert found.peak == pytest.approx(whole.peak, rel=0.005)
    assert found.state == pytest.approx(whole.state, rel=0.001)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fake_tensors_take_what_real_ones_take(precision: str) -> None:
    config = decoder(batch=4, seq_len=64, n_layers=2, dim=64, vocab_size=256, precision=precision)
    task, engine = build_task(config), SoloEngine()
    live = LiveStorages()
    with live:
        engine.add("a", config, task)
        _step(engine.units["a"], 0)
        live.curve.clear()
        _step(engine.units["a"], 1)
    assert probe(config, 256).peak == pytest.approx(max(live.peaks()), rel=0.03)


def test_the_published_prediction_of_the_deep_model() -> None:
    """80 layers of 1024, sequences of 512, bf16: 19.2, 60.0 and 19.6 GiB of tensors, within 10 %."""
    for batch, again, gib in ((4, "off", 19.2), (32, "off", 60.0), (32, "full", 19.6)):
        config = decoder(
            batch, 512, dim=1024, n_layers=80, n_heads=16, vocab_size=8192, ffn="gelu",
            norm_type="deepnorm", activation_checkpointing=again, **GPU,
        )  # fmt: skip
        assert step_memory(config, 8192).total / GIB == pytest.approx(gib, rel=0.1)


def test_the_parts_are_the_whole_and_a_gpu_needs_more() -> None:
    config = decoder(**GPU)
    memory, parameters = peak_memory(config, 2048), parameter_count(config, 2048)
    assert memory.weights == 4 * parameters and memory.moments == 8 * parameters
    assert memory.total == memory.live + memory.reserve
    assert memory.reserve == pytest.approx(0.1 * memory.live + GIB, abs=1)
    assert str(memory).startswith(f"{memory.total / GIB:.2f} GiB (weights 0.0")
    assert Memory(logits=3 * GIB).total == 3 * GIB


def test_less_at_once_and_more_computed_again_need_less() -> None:
    def needs(**tier: Any) -> int:
        return peak_memory(decoder(batch=32, seq_len=1024, **GPU | tier), 2048).total

    steps = [needs(micro_batch=n) for n in (None, 16, 8, 4, 2, 1)]
    assert steps == sorted(steps, reverse=True) and len({*steps}) == 6
    again = [needs(activation_checkpointing=how) for how in ("off", "selective", "full")]
    assert again == sorted(again, reverse=True) and len({*again}) == 3


def test_several_gpus_share_weights_and_rows() -> None:
    def on(gpus: float) -> Memory:
        config = decoder(batch=8, dim=1024, n_heads=16, n_layers=40, gpus=gpus, **GPU)
        return peak_memory(config, 2048)

    alone, both = on(1.0), on(2.0)
    assert both.weights == pytest.approx(alone.weights / 2, abs=4)
    assert both.moments == pytest.approx(alone.moments / 2, abs=8)
    assert both.workspace > alone.workspace  # blocks are gathered
    assert both.total < alone.total


def test_members_of_a_process_have_each_their_state_and_a_stack_its_activations() -> None:
    turns, stack = decoder(n_layers=6), modular(QuadraticMLPConfig())
    assert (stacks(turns), stacks(stack)) == (False, True)
    for config in (turns, stack):
        symbols = vocab_size(config)
        one, four = peak_memory(config, symbols), peak_memory(config, symbols, 4)
        assert four.weights == 4 * one.weights and four.moments == 4 * one.moments
        activations = four.activations / max(1, one.activations)
        assert activations == pytest.approx(4 if config is stack else 1, rel=0.01)


@pytest.mark.parametrize("tier", [{}, {"micro_batch": 100}, {"micro_batch": 10**6}, GPU])
def test_what_is_stacked_is_what_the_engine_stacks(tier: dict[str, Any]) -> None:
    config = modular(QuadraticMLPConfig(dim=8), **tier)
    task = build_task(config)
    assert stacks(config) == pays(config, task)
    assert effective_batch(config) == task.batch_size


def test_the_vocabulary_follows_from_the_parameters() -> None:
    for config in (decoder(), decoder(tie_embeddings=True), modular(QuadraticMLPConfig())):
        for symbols in (2, 98, 8192):
            assert vocabulary_of(config, parameter_count(config, symbols)) == symbols


def test_the_default_device_is_left_as_it_was() -> None:
    before = torch.nn.functional.rms_norm, torch.nn.functional.scaled_dot_product_attention
    probe(decoder(n_layers=1, **GPU), 2048)
    after = torch.nn.functional.rms_norm, torch.nn.functional.scaled_dot_product_attention
    assert before == after


def test_a_recorded_pass_keeps_its_gradients() -> None:
    model = {"dim": 256, "n_layers": 16, "n_heads": 4, "vocab_size": 2048}
    recorded = peak_memory(decoder(4, 512, **model, **GPU), 2048)
    off = peak_memory(decoder(4, 512, **model, **GPU, compile="off"), 2048)
    assert recorded.gradients == recorded.weights > off.gradients
    assert recorded.activations + recorded.logits == off.activations + off.logits

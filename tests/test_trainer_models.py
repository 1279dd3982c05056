"""Models against slow and obvious references, and what they cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from tests import trainer_help as help
from trainer import RunConfig
from trainer.config import DecoderConfig
from trainer.footprint import parameter_count, step_flops
from trainer.models import build_model
from trainer.models.layers import FeedForward, Rotary

VOCAB = 11
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one head": {"n_heads": 1},
    "layernorm, gelu": {"norm_type": "layernorm", "ffn": "gelu", "n_layers": 1},
    "deepnorm, relu": {"norm_type": "deepnorm", "ffn": "relu", "n_layers": 3},
    "deepnorm, swiglu, learned": {"norm_type": "deepnorm", "position": "learned"},
    "no norm, tied": {"norm_type": "none", "ffn": "relu", "tie_embeddings": True, "n_layers": 1},
    "narrow ffn, learned, tied": {"ffn_dim": 5, "position": "learned", "tie_embeddings": True},
    "other theta": {"rope_theta": 100.0},
}


def config(seq_len: int = 6, tier: dict[str, Any] | None = None, **model: Any) -> RunConfig:
    base: dict[str, Any] = {"dim": 8, "n_layers": 2, "n_heads": 2}
    return RunConfig.model_validate(
        {"model": base | model, "training": {"seq_len": seq_len}, "tier": tier or {}}
    )


def built(settings: RunConfig, scale: float = 1.0) -> torch.nn.Module:
    """Build a model in evaluation mode; larger weights make its parts matter."""
    model = build_model(settings, VOCAB).eval()
    with torch.no_grad():
        draw = torch.Generator().manual_seed(1)
        for p in model.parameters():
            if scale != 1.0:
                p.add_(torch.randn(p.shape, generator=draw) * scale)
    return model


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(0, VOCAB, shape, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(request: pytest.FixtureRequest) -> RunConfig:
    return config(**request.param)


def reference(settings: RunConfig, weights: dict[str, torch.Tensor], text: torch.Tensor) -> Any:
    """Compute the logits of one sequence (time,), a head and a position at a time, in fp64."""
    model = settings.model
    assert isinstance(model, DecoderConfig)
    w = {name: tensor.double() for name, tensor in weights.items()}
    heads, layers, time = model.n_heads, model.n_layers, len(text)
    size = model.dim // heads
    alpha = (2 * layers) ** 0.25

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        if model.norm_type == "none":
            return x
        if model.norm_type == "rmsnorm":
            return x / ((x**2).mean(-1, keepdim=True) + 1e-6).sqrt() * w[name]
        spread = (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return (x - x.mean(-1, keepdim=True)) / spread * w[name]

    def rotate(x: torch.Tensor, position: int) -> torch.Tensor:
        if model.position != "rope":
            return x
        turned = x.clone()
        for i in range(size // 2):
            angle = position * model.rope_theta ** (-2 * i / size)
            pair = complex(x[i], x[i + size // 2]) * complex(math.cos(angle), math.sin(angle))
            turned[i], turned[i + size // 2] = pair.real, pair.imag
        return turned

    def attention(x: torch.Tensor, at: str) -> torch.Tensor:
        q, k, v = (x @ w[f"{at}.{name}.weight"].T for name in ("query", "key", "value"))
        out = torch.zeros_like(x)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(time):
                scores = torch.stack(
                    [
                        rotate(q[t, part], t) @ rotate(k[s, part], s) / math.sqrt(size)
                        for s in range(t + 1)
                    ]
                )
                out[t, part] = scores.softmax(-1) @ v[: t + 1, part]
        return out @ w[f"{at}.out.weight"].T

    def feed_forward(x: torch.Tensor, at: str) -> torch.Tensor:
        up = x @ w[f"{at}.up.weight"].T
        if model.ffn == "swiglu":
            gate = x @ w[f"{at}.gate.weight"].T
            up = gate * torch.sigmoid(gate) * up
        elif model.ffn == "gelu":
            up = up * 0.5 * (1 + torch.erf(up / math.sqrt(2)))
        else:
            up = up.clamp(min=0)
        return up @ w[f"{at}.down.weight"].T

    x = w["embedding.weight"][text]
    if model.position == "learned":
        x = x + w["positions.weight"][:time]
    for n in range(layers):
        at = f"blocks.{n}"
        if model.norm_type == "deepnorm":
            x = norm(alpha * x + attention(x, f"{at}.attention"), f"{at}.norm1.weight")
            x = norm(alpha * x + feed_forward(x, f"{at}.ffn"), f"{at}.norm2.weight")
        else:
            x = x + attention(norm(x, f"{at}.norm1.weight"), f"{at}.attention")
            x = x + feed_forward(norm(x, f"{at}.norm2.weight"), f"{at}.ffn")
    if model.norm_type != "deepnorm":
        x = norm(x, "norm.weight")
    return x @ w["embedding.weight" if model.tie_embeddings else "readout.weight"].T


def test_the_decoder_computes_its_definition(variant: RunConfig) -> None:
    model, text = built(variant, scale=0.5), tokens(6)
    with torch.no_grad():
        logits = model(text[None])[0]
        expected = reference(variant, dict(model.named_parameters()), text)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-3, atol=1e-4)


def test_the_future_is_not_seen(variant: RunConfig) -> None:
    model, text = built(variant, scale=0.5), tokens(3, 6)
    for position in range(1, 6):
        other = text.clone()
        other[:, position] = (other[:, position] + 1) % VOCAB
        with torch.no_grad():
            one, two = model(text), model(other)
        assert torch.equal(one[:, :position], two[:, :position])
        assert not torch.allclose(one[:, position:], two[:, position:], atol=1e-4)


def test_leading_axes_are_free(variant: RunConfig) -> None:
    model, text = built(variant, scale=0.5), tokens(2, 3, 6)
    with torch.no_grad():
        logits = model(text)
        flat = model(text.flatten(0, 1))
    assert logits.shape == (2, 3, 6, VOCAB)
    torch.testing.assert_close(logits.flatten(0, 1), flat, rtol=1e-5, atol=1e-5)


def test_parameters_are_counted_without_building(variant: RunConfig) -> None:
    model = build_model(variant, VOCAB)
    assert parameter_count(variant, VOCAB) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("ffn", ["swiglu", "gelu", "relu"])
@pytest.mark.parametrize("norm_type", ["rmsnorm", "layernorm", "deepnorm", "none"])
@pytest.mark.parametrize("position", ["rope", "learned"])
@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_parameters_are_counted_in_every_combination(
    ffn: str, norm_type: str, position: str, tie_embeddings: bool
) -> None:
    choice: dict[str, Any] = {"ffn": ffn, "norm_type": norm_type, "position": position}
    choice["tie_embeddings"] = tie_embeddings
    for extra in ({}, {"ffn_dim": 7, "n_layers": 3}):
        settings = config(seq_len=9, **choice, **extra)
        model = build_model(settings, 13)
        assert parameter_count(settings, 13) == sum(p.numel() for p in model.parameters())


def test_parameters_of_modular_runs_are_counted() -> None:
    for model in ({}, {"kind": "decoder", "position": "learned", "dim": 8, "n_heads": 2}):
        settings = help.modular(model=model)
        module = build_model(settings, 8)
        assert parameter_count(settings, 8) == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("dim", "n_layers", "billions"),
    [(1024, 80, 1.36), (768, 60, 0.58), (1024, 100, 1.69), (2048, 32, 2.18)],
)
def test_the_sizes_we_publish(dim: int, n_layers: int, billions: float) -> None:
    settings = config(dim=dim, n_layers=n_layers, n_heads=16, norm_type="deepnorm")
    assert round(parameter_count(settings, 8192) / 1e9, 2) == billions
    gelu = config(dim=1024, n_layers=80, n_heads=16, norm_type="deepnorm", ffn="gelu")
    assert round(parameter_count(gelu, 8192) / 1e9, 2) == 1.02


@pytest.mark.parametrize("tie_embeddings", [False, True])
@pytest.mark.parametrize("ffn", ["swiglu", "relu"])
def test_operations_are_those_that_torch_counts(ffn: str, tie_embeddings: bool) -> None:
    settings = config(16, {"attention": "math"}, ffn=ffn, tie_embeddings=tie_embeddings)
    model, text = build_model(settings, VOCAB), tokens(3, 16)
    with FlopCounterMode(display=False) as counter:
        model(text).sum().backward()
    estimate = step_flops(settings, VOCAB, text.numel())
    assert estimate == pytest.approx(counter.get_total_flops(), rel=0.03)


def test_operations_of_the_quadratic_mlp() -> None:
    settings = help.modular()
    model, pairs = build_model(settings, 8), torch.tensor([[1, 2, 7], [3, 4, 7], [0, 6, 7]])
    with FlopCounterMode(display=False) as counter:
        model(pairs).sum().backward()
    assert step_flops(settings, 8, pairs.numel()) == counter.get_total_flops()


def test_deepnorm_is_drawn_as_its_paper_says() -> None:
    settings = config(dim=64, n_layers=80, n_heads=4, ffn="gelu", norm_type="deepnorm")
    model: Any = build_model(settings, VOCAB)
    assert model.blocks[0].alpha == pytest.approx(3.557, abs=1e-3)
    beta, square, wide = 0.199, math.sqrt(1 / 64), math.sqrt(2 / (64 + 256))
    expected = {
        "attention.query": square,
        "attention.key": square,
        "attention.value": beta * square,
        "attention.out": beta * square,
        "ffn.up": beta * wide,
        "ffn.down": beta * wide,
    }
    for name, std in expected.items():
        drawn = torch.stack([block.get_parameter(f"{name}.weight") for block in model.blocks])
        assert float(drawn.detach().std()) == pytest.approx(std, rel=0.01)


def test_post_norm_is_deepnorm_without_its_two_factors() -> None:
    models: Any = [
        build_model(config(n_layers=80, norm_type=norm, ffn="gelu"), VOCAB)
        for norm in ("deepnorm", "postnorm")
    ]
    beta, (deep, post) = 640**-0.25, (model.blocks[7] for model in models)
    assert post.alpha == 1.0
    for name in ("attention.query", "attention.key"):
        weights = (block.get_parameter(f"{name}.weight") for block in (deep, post))
        torch.testing.assert_close(*weights)
    for name in ("attention.value", "attention.out", "ffn.up", "ffn.down"):
        scaled, plain = (block.get_parameter(f"{name}.weight") for block in (deep, post))
        torch.testing.assert_close(scaled, beta * plain)


@pytest.mark.parametrize(("norm", "learns"), [("deepnorm", True), ("postnorm", False)])
def test_eighty_layers_train_with_deepnorm_and_not_without(
    norm: str, learns: bool, tmp_path: Path
) -> None:
    """Eight letters in a ring: who knows the letter before knows the next one.

    Without a warm-up, at a rate that a shallow model takes. Post-norm finds how often each letter
    occurs and no more.
    """
    settings = help.corpus(
        help.write_text(tmp_path, "abcdefgh" * 200),
        model={"dim": 16, "n_layers": 80, "ffn": "gelu", "norm_type": norm},
        data={"tokenizer": "char"},
        training={
            "steps": 20,
            "batch_size": 16,
            "seq_len": 16,
            "learning_rate": 3e-3,
            "schedule": "constant",
            "warmup_steps": 0,
            "eval_interval": 20,
        },
        checkpoint={"enable": False},
    )
    result, reporter = help.run(settings, tmp_path / "run")
    unigram = result.final["baseline/unigram_loss"]
    assert unigram == pytest.approx(math.log(8), abs=0.01)
    losses = [row["train/loss"] for row in reporter.rows().values()]
    assert losses == sorted(losses, reverse=True) or not learns
    assert (result.final["val/loss"] < 0.7 * unigram) == learns
    assert learns or result.final["val/loss"] > 0.95 * unigram


def test_pre_norm_is_drawn_as_gpt2() -> None:
    model: Any = build_model(config(dim=64, n_layers=8, n_heads=4), VOCAB)
    for name, std in (("query", 0.02), ("value", 0.02), ("out", 0.02 / 4)):
        drawn = torch.stack([b.get_parameter(f"attention.{name}.weight") for b in model.blocks])
        assert float(drawn.detach().std()) == pytest.approx(std, rel=0.02)


def test_weights_follow_the_seed_and_nothing_else() -> None:
    def weights(seed: int, torchs_own: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(torchs_own)
        settings = config()
        training = settings.training.model_copy(update={"seed": seed})
        model = build_model(settings.model_copy(update={"training": training}), VOCAB)
        return dict(model.named_parameters())

    assert help.same_tensors(weights(1, 0), weights(1, 5))
    assert not help.same_tensors(weights(1, 0), weights(2, 0))


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    rotary = Rotary(8, 40, 10_000.0)
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(8, generator=draw), torch.randn(8, generator=draw)
    scores = rotary(q.expand(40, 8)) @ rotary(k.expand(40, 8)).T
    for distance in (0, 1, 7):
        along = scores.diagonal(-distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=1e-4, atol=1e-4)
    assert scores[0, 0] == pytest.approx(float(q @ k), rel=1e-5)
    assert abs(float(scores[1, 0] - scores[0, 0])) > 1e-2
    assert abs(float(scores[1, 0] - scores[0, 1])) > 1e-2
    torch.testing.assert_close(rotary(q.expand(40, 8)).norm(dim=-1), q.norm().expand(40))


@pytest.mark.parametrize("kernel", ["flash", "math"])
def test_attention_kernels_agree(kernel: str) -> None:
    text, results = tokens(2, 6), []
    for attention in ("auto", kernel):
        model = built(config(tier={"attention": attention}), scale=0.5)
        logits = model(text)
        logits.square().mean().backward()
        results.append((logits, [p.grad for p in model.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_swiglu_by_hand() -> None:
    layer = FeedForward("swiglu", 1, 2, 1.0, 1.0, torch.Generator())
    with torch.no_grad():
        layer.gate.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        layer.up.weight.copy_(torch.tensor([[3.0], [0.5]]))
        layer.down.weight.copy_(torch.tensor([[1.0, 10.0]]))
    # x = 2: silu(2) · 6 + 10 · silu(-4) · 1, with silu(x) = x / (1 + e^-x)
    expected = 2 / (1 + math.exp(-2)) * 6 + 10 * (-4 / (1 + math.exp(4)))
    assert layer(torch.tensor([[2.0]])).item() == pytest.approx(expected, rel=1e-6)


def test_the_quadratic_mlp_by_hand() -> None:
    settings = help.modular(model={"dim": 2}, data={"p": 3})
    model: Any = build_model(settings, 4)
    with torch.no_grad():
        model.left.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]))
        model.right.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, -1.0]]))
        model.readout.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    logits = model(torch.tensor([[[1, 2, 3]]]))
    assert torch.equal(logits, torch.tensor([[[[16.0, 1.0, 17.0]]]]))  # (1+3)², (2-1)²


def test_dropout_is_for_training_only() -> None:
    model, text = built(config(dropout=0.5), scale=0.5), tokens(2, 6)
    assert torch.equal(model(text), model(text))
    model.train()
    assert not torch.equal(model(text), model(text))


def test_logits_start_near_the_uniform_guess() -> None:
    model, text = built(config()), tokens(4, 6)
    loss = F.cross_entropy(model(text).flatten(0, -2), text.flatten())
    assert float(loss.detach()) == pytest.approx(math.log(VOCAB), abs=0.05)

"""Tokens a second of the corpus task, beside nanoGPT's loop over the same model.

    python -m benchmarks.corpus_speed [--steps N] [--accumulation N]

The setting is nanoGPT's for a CPU (4 layers, 128 wide, 64 characters, batch 12), the model its own:
LayerNorm, GELU, learned positions, tied embeddings. nanoGPT's loop (`benchmarks/nanogpt.py`) runs it
once as nanoGPT writes it and once as this project does; the weights are as many. All three train on
one thread in this process, in turns, and the rate is that of training alone, a median.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

from benchmarks import nanogpt
from orchestrator.hardware import Hardware
from orchestrator.plan import make_plan
from orchestrator.request import Request
from trainer import fit
from trainer.config import DecoderConfig, RunConfig, TierConfig
from trainer.models import build_model
from trainer.reporting import GO_ON, FitResult, Member, Verdict
from trainer.tasks import build_task

TURNS = 3
LOG_INTERVAL = 20


class _Rates:
    """A reporter that keeps the rates."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def started(self, member_id: str, step: int, note: str) -> None:
        """Nothing to keep."""

    def row(self, member_id: str, step: int, metrics: dict[str, float]) -> Verdict:
        """Keep the rate."""
        self.rates.append(metrics["perf/tokens_per_s"])
        return GO_ON

    def stepped_down(self, member_id: str, step: int, tier: TierConfig, detail: str) -> None:
        """Refuse it: the rates of two tiers make no rate."""
        raise SystemExit(detail)

    def flush(self) -> None:
        """Nothing waits."""

    def ended(self, result: FitResult) -> None:
        """Nothing to keep."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches of 12 a step")
    asked = parser.parse_args()
    config = _config(asked.steps, asked.accumulation)
    setting = _setting(config, asked.accumulation)
    torch.set_num_threads(1)
    _by_nanogpt(nanogpt.GPT(setting), config, setting)  # what is loaded once is loaded
    ours, same_model, its_own = [], [], []
    for _ in range(TURNS):
        its_own.append(_by_nanogpt(nanogpt.GPT(setting), config, setting))
        same_model.append(_by_nanogpt(build_model(config, setting.vocab_size), config, setting))
        ours.append(_by_arbiter(config))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    print("                            tokens/s  arbiter is  goal")
    print(f"arbiter                   {median(ours):10,.0f}")
    for name, rates in (("nanoGPT, our blocks", same_model), ("nanoGPT, its blocks", its_own)):
        ratio = median(a / b for a, b in zip(ours, rates, strict=True))
        print(f"{name:26}{median(rates):10,.0f}  {ratio:9.2f}x  >= 1")


def _config(steps: int, accumulation: int) -> RunConfig:
    changes = (
        "model.norm_type=layernorm",
        "model.ffn=gelu",
        "model.ffn_dim=512",
        "model.position=learned",
        "model.tie_embeddings=true",
        f"training.steps={steps}",
        f"training.batch_size={12 * accumulation}",
        "tier.micro_batch=12",
        "training.warmup_steps=10",
        "training.eval_interval=1000000",
        "training.eval_tokens=64",
        f"logging.log_interval={LOG_INTERVAL}",
        "checkpoint.enable=false",
    )
    request = Request(strategy="shakespeare_char", seeds=1, overrides=changes)
    return make_plan(request, Hardware(1)).trials[0].config


def _setting(config: RunConfig, accumulation: int) -> nanogpt.Setting:
    model, training = config.model, config.training
    assert isinstance(model, DecoderConfig)
    setting = nanogpt.Setting(
        vocab_size=build_task(config).vocab_size,
        block_size=config.seq_len,
        n_layer=model.n_layers,
        n_head=model.n_heads,
        n_embd=model.dim,
        batch_size=12,
        gradient_accumulation_steps=accumulation,
        learning_rate=training.learning_rate,
        min_lr=training.learning_rate * training.final_lr_frac,
        warmup_iters=training.warmup_steps,
        weight_decay=training.weight_decay,
        beta1=training.beta1,
        beta2=training.beta2,
        grad_clip=training.grad_clip or 0.0,
        max_iters=training.steps,
        log_interval=LOG_INTERVAL,
    )
    models = nanogpt.GPT(setting), build_model(config, setting.vocab_size)
    sizes = [sum(p.numel() for p in one.parameters()) for one in models]
    assert sizes[0] == sizes[1], sizes
    return setting


def _by_arbiter(config: RunConfig) -> float:
    reporter = _Rates()
    with tempfile.TemporaryDirectory() as folder:
        fit([Member("a", config, Path(folder))], reporter)
    return median(reporter.rates)


def _by_nanogpt(model: torch.nn.Module, config: RunConfig, setting: nanogpt.Setting) -> float:
    tokens = build_task(config).splits["train"]  # type: ignore[attr-defined]
    return nanogpt.train(model, setting, tokens)


if __name__ == "__main__":
    main()

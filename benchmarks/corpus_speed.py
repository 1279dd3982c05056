"""Tokens a second of the corpus task, beside a plain loop over the same model.

    python -m benchmarks.corpus_speed [--steps N]

The setting is `shakespeare_char`'s. The plain loop is what one writes by hand: our decoder, torch's
AdamW (fused), batches sliced from one tensor of tokens, clipping, no evaluation. Both run on one
thread in this process, in turns, and the rate is that of training alone: ours is the median row's.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F

from orchestrator.hardware import Hardware
from orchestrator.plan import make_plan
from orchestrator.request import Request
from trainer import fit
from trainer.config import RunConfig
from trainer.models import build_model
from trainer.reporting import GO_ON, FitResult, Member, Verdict
from trainer.tasks import build_task

TURNS = 3


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

    def flush(self) -> None:
        """Nothing waits."""

    def ended(self, result: FitResult) -> None:
        """Nothing to keep."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    changes = (
        f"training.steps={steps}",
        "training.warmup_steps=10",
        "training.eval_interval=1000000",
        "training.eval_tokens=64",
        "logging.log_interval=20",
        "checkpoint.enable=false",
    )
    request = Request(strategy="shakespeare_char", seeds=1, overrides=changes)
    config = make_plan(request, Hardware(1)).trials[0].config
    torch.set_num_threads(1)
    by_hand(config, 10)
    ours_rates, hand_rates = [], []
    for _ in range(TURNS):
        hand_rates.append(by_hand(config, steps))
        ours_rates.append(ours(config))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    ratios = [a / b for a, b in zip(ours_rates, hand_rates, strict=True)]
    print("            tokens/s   against the plain loop  goal")
    print(f"arbiter   {median(ours_rates):10,.0f}   {median(ratios):21.2f}x  >= 1")
    print(f"by hand   {median(hand_rates):10,.0f}")


def ours(config: RunConfig) -> float:
    """Return the median row's tokens a second."""
    reporter = _Rates()
    with tempfile.TemporaryDirectory() as folder:
        fit([Member("a", config, Path(folder))], reporter)
    return median(reporter.rates)


def by_hand(config: RunConfig, steps: int) -> float:
    """Return the tokens a second of the plain loop, as the median over 20 steps at a time."""
    task = build_task(config)
    tokens = torch.from_numpy(task.splits["train"].astype("int64"))  # type: ignore[attr-defined]
    batch, time_steps = task.batch_size, config.seq_len
    model = build_model(config, task.vocab_size)
    training = config.training
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        weight_decay=training.weight_decay,
        fused=True,
    )
    draw = torch.Generator().manual_seed(training.seed)
    rates, began = [], time.perf_counter()
    for step in range(1, steps + 1):
        starts = torch.randint(len(tokens) - time_steps, (batch,), generator=draw).tolist()
        windows = torch.stack([tokens[start : start + time_steps + 1] for start in starts])
        logits = model(windows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.grad_clip or 1e9)
        optimizer.step()
        if step % 20 == 0 or step == steps:
            done = step % 20 or 20
            rates.append(done * batch * time_steps / (time.perf_counter() - began))
            began = time.perf_counter()
    return median(rates)


if __name__ == "__main__":
    main()

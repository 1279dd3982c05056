"""Tokens a second, MFU and peak memory of the 80 × 1024 model on one GPU.

    python -m benchmarks.deep_gpu [--batch N] [--steps N] [--cases WORD …]
    python -m benchmarks.deep_gpu --smoke        a tiny model on a CPU: proves the command

80 layers, 1024 wide, 16 heads, GELU, DeepNorm, vocabulary 8192, 512 tokens a sequence, bf16 (1.02 B
parameters). Goal: 50,000 tokens/s on one H200, stretch 63,000. A case is written
micro-batch:recomputation:compile (`8:off:auto`), as `tier.micro_batch`,
`tier.activation_checkpointing` and `tier.compile` have them; what was then done is printed with it.

It runs from a checkout on a machine that has torch, numpy, pydantic, safetensors and filelock: no Ray,
no data (tokens are drawn at random, which costs the same to learn from). The engine is the one that
trains every run; a step is the whole effective batch with clipping and AdamW. Every case starts with
an empty cache; the first steps, which compile and record, are left out. Memory is what tensors took at
most beside what `trainer.footprint` says they take, then both with all that the device needs.
"""

from __future__ import annotations

import argparse
import gc
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from trainer.computation import Computation
from trainer.config import RunConfig
from trainer.engines.solo import SoloEngine
from trainer.footprint import parameter_count, peak_memory, step_flops
from trainer.out_of_memory import ran_out
from trainer.units import GIB

WARM_UP_STEPS = 4
VOCABULARY = 8192
STEPS_OF_THE_RUN = 100_000
"""What `tier.compile = "auto"` decides by: a run long enough to matter."""

PEAK_FLOPS = {
    "H200 NVL": 835.5e12,
    "H200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "A100": 312e12,
}
"""Dense bf16 operations a second by a part of the card's name, the first that fits (NVIDIA's data
sheets, without sparsity)."""

CASES = (
    "4:off:off",
    "4:off:auto",
    "8:off:auto",
    "16:off:off",
    "16:off:auto",
    "32:off:auto",
    "32:selective:auto",
    "32:full:auto",
)
SMOKE_CASES = ("1:off:off", "2:off:off", "2:selective:off", "2:full:off")


@dataclass(frozen=True)
class Setting:
    """The model and where it trains."""

    dim: int = 1024
    n_layers: int = 80
    n_heads: int = 16
    vocab_size: int = VOCABULARY
    seq_len: int = 512
    device: str = "cuda"


SMOKE = Setting(dim=32, n_layers=4, n_heads=2, vocab_size=64, seq_len=32, device="cpu")


class RandomTokens:
    """Implements what an engine needs of `trainer.tasks.Task`."""

    def __init__(self, setting: Setting, batch_size: int) -> None:
        self.vocab_size, self.batch_size = setting.vocab_size, batch_size
        self.tokens_per_step = batch_size * setting.seq_len
        draw = np.random.default_rng(0)
        windows = draw.integers(0, setting.vocab_size, (batch_size, setting.seq_len + 1))
        self.windows = torch.from_numpy(windows)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and targets (batch, time)."""
        return self.windows[:, :-1], self.windows[:, 1:]

    def loss(
        self, model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean cross-entropy in nats, as the corpus task does."""
        return F.cross_entropy(model(inputs).float().flatten(0, -2), targets.flatten())


def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=32, help="effective batch in sequences")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed")
    parser.add_argument("--cases", nargs="+", help="micro-batch:recomputation:compile")
    parser.add_argument("--smoke", action="store_true", help="a tiny model on the CPU")
    asked = parser.parse_args()
    setting = SMOKE if asked.smoke else Setting()
    if setting.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; --smoke proves the command on a CPU")
    batch = 4 if asked.smoke else asked.batch
    card = torch.cuda.get_device_name() if setting.device == "cuda" else "CPU"
    peak = next((flops for part, flops in PEAK_FLOPS.items() if part in card), None)
    first = _config(setting, batch, "1:off:off")
    size = parameter_count(first, setting.vocab_size)
    print(
        f"{card}, torch {torch.__version__}, {size:,} parameters, batch {batch} x {setting.seq_len}"
    )
    print(
        f"{'case':20}{'tokens/s':>10}{'MFU':>7}{'tensors GiB':>13}{'predicted':>11}"
        f"{'device GiB':>12}{'predicted':>11}"
    )
    for case in asked.cases or (SMOKE_CASES if asked.smoke else CASES):
        config = _config(setting, batch, case)
        memory = peak_memory(config, setting.vocab_size)
        predicted = [f"{memory.live / GIB:11.2f}", f"{memory.total / GIB:11.2f}"]
        try:
            step_s, used, how = _measure(config, setting, batch, asked.steps)
        except RuntimeError as error:
            if not ran_out(error):
                raise
            print(f"{case:20}{'out of memory':>17}{'':13}{predicted[0]}{'':12}{predicted[1]}")
            continue
        tokens_s = batch * setting.seq_len / step_s
        flops = step_flops(config, setting.vocab_size, batch * setting.seq_len)
        mfu = f"{flops / step_s / peak:7.1%}" if peak else f"{'-':>7}"
        tensors, device = (f"{n / GIB:.2f}" if n else "-" for n in used)
        print(
            f"{case:20}{tokens_s:10,.0f}{mfu}{tensors:>13}{predicted[0]}{device:>12}{predicted[1]}"
            f"  {how}",
            flush=True,
        )


def _config(setting: Setting, batch: int, case: str) -> RunConfig:
    micro, recomputation, compile = case.split(":")
    sections: dict[str, dict[str, Any]] = {
        "model": {
            "dim": setting.dim,
            "n_layers": setting.n_layers,
            "n_heads": setting.n_heads,
            "vocab_size": setting.vocab_size,
            "ffn": "gelu",
            "norm_type": "deepnorm",
        },
        "training": {
            "seq_len": setting.seq_len,
            "batch_size": batch,
            "steps": STEPS_OF_THE_RUN,
            "warmup_steps": 1000,
        },
        "tier": {
            "device": setting.device,
            "precision": "bf16",
            "micro_batch": int(micro),
            "activation_checkpointing": recomputation,
            "compile": compile,
        },
    }
    return RunConfig.model_validate(sections)


def _measure(
    config: RunConfig, setting: Setting, batch: int, steps: int
) -> tuple[float, tuple[int, int], Computation | None]:
    """Return the seconds of a step, the bytes of tensors and of the device, 0 on a CPU, and what was done.

    Raises:
        RuntimeError: What an engine raises, memory that ran out among it.
    """
    on_gpu = setting.device == "cuda"
    gc.collect()
    torch.compiler.reset()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    engine = SoloEngine()
    engine.add("a", config, RandomTokens(setting, batch))  # type: ignore[arg-type]

    def timed(first: int, n: int) -> float:
        began = time.perf_counter()
        (done,) = engine.advance(["a"], [first], n, lambda key, step: True)
        if done.error is not None:
            raise done.error
        return (time.perf_counter() - began) / n  # `advance` has waited for the losses

    try:
        timed(0, WARM_UP_STEPS)
        step_s = timed(WARM_UP_STEPS, steps)
        how = engine.units["a"].computation  # after a fallback it is another than was chosen
        if not on_gpu:
            return step_s, (0, 0), how
        free, total = torch.cuda.mem_get_info()
        beside_tensors = total - free - torch.cuda.memory_reserved()
        device = torch.cuda.max_memory_reserved() + beside_tensors
        return step_s, (torch.cuda.max_memory_allocated(), device), how
    finally:
        engine.remove("a")


if __name__ == "__main__":
    main()

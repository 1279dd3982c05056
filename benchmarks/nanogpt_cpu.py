"""nanoGPT's CPU setting on tiny Shakespeare, beside its published validation loss.

    python -m benchmarks.nanogpt_cpu [SEEDS]

Trains nanoGPT's own architecture (LayerNorm, GELU, learned positions) and this project's
decoder with as many parameters (RMSNorm, SwiGLU, rotary positions). The loss is the mean over
65,536 held-out characters, in windows of 64 spread evenly over the last tenth of the text.
"""

from __future__ import annotations

import sys
from statistics import mean

from benchmarks.runs import run_template
from orchestrator.request import Request

PUBLISHED_LOSS = 1.88
ARCHITECTURES = {
    "nanoGPT's": (
        "model.norm_type=layernorm",
        "model.ffn=gelu",
        "model.ffn_dim=512",
        "model.position=learned",
    ),
    "arbiter's": (),
}


def main() -> None:
    """Print loss and rate of both."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    print("architecture  parameters  val/loss by seed        mean   tokens/s  published")
    for name, overrides in ARCHITECTURES.items():
        measured = run_template(
            Request(strategy="shakespeare_char", seeds=seeds, overrides=overrides), "ray_tune"
        )
        losses = [trial.final["val/loss"] for trial in measured.trials]
        rate = mean(measured.tokens_per_s.values())
        shown = " ".join(f"{loss:.3f}" for loss in losses)
        print(
            f"{name:12}  {measured.trials[0].parameters:10,}  {shown:22}  {mean(losses):.3f}"
            f"  {rate:8,.0f}  {PUBLISHED_LOSS}"
        )


if __name__ == "__main__":
    main()

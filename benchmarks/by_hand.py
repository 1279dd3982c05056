"""The trials of `tiny.toml` as one writes them without a framework: what ours is measured beside."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F

from trainer.seeds import Stream, generator, torch_generator

P, DIM, STEPS, LEARNING_RATE, WARMUP_STEPS, CLIP = 23, 32, 50, 1e-2, 10, 1.0
DECAYS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)


def train_tiny(seed: int, weight_decay: float) -> dict[str, float]:
    """Train one trial on one thread; the draws are ours, so that the results can be compared."""
    torch.set_num_threads(1)
    a, b = (axis.reshape(-1) for axis in np.meshgrid(np.arange(P), np.arange(P), indexing="ij"))
    order = torch.from_numpy(generator(seed, Stream.SPLIT).permutation(P * P))
    left, right = torch.from_numpy(a)[order], torch.from_numpy(b)[order]
    answer = (left + right) % P
    n_train = round(0.5 * P * P)
    n_val = (P * P - n_train + 1) // 2
    train = slice(0, n_train)
    splits = {
        "val": slice(n_train, n_train + n_val),
        "train": train,
        "test": slice(n_train + n_val, None),
    }
    draw = torch_generator(seed, Stream.INIT)
    weights = [
        torch.empty(rows, columns).normal_(0.0, std, generator=draw).requires_grad_()
        for rows, columns, std in ((P, DIM, P**-0.5), (P, DIM, P**-0.5), (P, DIM, DIM**-0.5))
    ]

    def logits(part: slice) -> torch.Tensor:
        hidden = F.embedding(left[part], weights[0]) + F.embedding(right[part], weights[1])
        return F.linear(hidden**2, weights[2])

    optimizer = torch.optim.AdamW(
        weights, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True
    )
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARMUP_STEPS)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits(train), answer[train]).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
    final = {}
    with torch.no_grad():
        for name, part in splits.items():
            found = logits(part)
            final[f"{name}/loss"] = float(F.cross_entropy(found, answer[part]))
            final[f"{name}/accuracy"] = float((found.argmax(-1) == answer[part]).float().mean())
    return final


def serial_loop(trials: int) -> float:
    """Return the seconds a trial takes in a plain loop, imports and a first trial left out."""
    train_tiny(0, DECAYS[0])
    began = time.perf_counter()
    for n in range(trials):
        train_tiny(n // len(DECAYS), DECAYS[n % len(DECAYS)])
    return (time.perf_counter() - began) / trials

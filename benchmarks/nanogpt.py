"""nanoGPT's model and training loop (Karpathy, github.com/karpathy/nanoGPT), written minimally.

What its `model.py` and `train.py` do for one process, in their order: one product for query, key and
value, tied embeddings, batches sliced from one array of tokens, micro-steps under an autocast context,
a gradient scaler, clipping, fused AdamW with decay on matrices. Nothing is evaluated or saved.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Setting:
    """One run. Widths, lengths and batches as nanoGPT's config has them; `dtype` of autocast."""

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    min_lr: float
    warmup_iters: int
    weight_decay: float
    beta1: float
    beta2: float
    grad_clip: float
    max_iters: int
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    log_interval: int = 20


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); no biases."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        dim = setting.n_embd
        self.heads = setting.n_head
        self.ln_1, self.ln_2 = nn.LayerNorm(dim, bias=False), nn.LayerNorm(dim, bias=False)
        self.c_attn = nn.Linear(dim, 3 * dim, bias=False)
        self.c_proj = nn.Linear(dim, dim, bias=False)
        self.c_fc = nn.Linear(dim, 4 * dim, bias=False)
        self.c_out = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, time, dim) to (batch, time, dim)."""
        batch, length, dim = x.shape
        parts = self.c_attn(self.ln_1(x)).split(dim, dim=2)
        q, k, v = (
            part.view(batch, length, self.heads, dim // self.heads).transpose(1, 2)
            for part in parts
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(batch, length, dim))
        result: torch.Tensor = x + self.c_out(F.gelu(self.c_fc(self.ln_2(x))))
        return result


class GPT(nn.Module):
    """Tokens to logits, the read-out tied to the embedding."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.wte = nn.Embedding(setting.vocab_size, setting.n_embd)
        self.wpe = nn.Embedding(setting.block_size, setting.n_embd)
        self.blocks = nn.ModuleList(Block(setting) for _ in range(setting.n_layer))
        self.ln_f = nn.LayerNorm(setting.n_embd, bias=False)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (batch, time) to (batch, time, vocab)."""
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


def train(model: nn.Module, setting: Setting, tokens: np.ndarray) -> float:
    """Train and return tokens a second: the median over `log_interval` steps at a time.

    Args:
        model: Tokens to logits.
        setting: The run.
        tokens: The train split, unsigned integers.
    """
    model.to(setting.device).train()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": setting.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=setting.learning_rate,
        betas=(setting.beta1, setting.beta2),
        fused=True,
    )
    scaler = torch.amp.GradScaler(setting.device, enabled=setting.dtype == torch.float16)
    context = (
        contextlib.nullcontext()
        if setting.dtype == torch.float32
        else torch.autocast(setting.device, dtype=setting.dtype)
    )

    def get_batch() -> tuple[torch.Tensor, torch.Tensor]:
        starts = torch.randint(len(tokens) - setting.block_size, (setting.batch_size,))
        x, y = (
            torch.stack(
                [
                    torch.from_numpy(
                        tokens[i + shift : i + shift + setting.block_size].astype("i8")
                    )
                    for i in starts
                ]
            )
            for shift in (0, 1)
        )
        if setting.device == "cuda":
            return (
                x.pin_memory().to(setting.device, non_blocking=True),
                y.pin_memory().to(setting.device, non_blocking=True),
            )
        return x, y

    rates, began = [], time.perf_counter()
    x, y = get_batch()
    per_step = setting.gradient_accumulation_steps * setting.batch_size * setting.block_size
    for iteration in range(setting.max_iters):
        for group in optimizer.param_groups:
            group["lr"] = _rate(setting, iteration)
        for _ in range(setting.gradient_accumulation_steps):
            with context:
                logits = model(x)
                loss = F.cross_entropy(logits.view(-1, logits.size(-1)), y.view(-1))
                loss = loss / setting.gradient_accumulation_steps
            x, y = get_batch()
            torch.autograd.backward(scaler.scale(loss))
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), setting.grad_clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if (iteration + 1) % setting.log_interval == 0:
            loss.item()
            rates.append(setting.log_interval * per_step / (time.perf_counter() - began))
            began = time.perf_counter()
    return median(rates)


def _rate(setting: Setting, iteration: int) -> float:
    """Return the learning rate: a linear warm-up, then half a cosine."""
    if iteration < setting.warmup_iters:
        return setting.learning_rate * (iteration + 1) / (setting.warmup_iters + 1)
    done = (iteration - setting.warmup_iters) / max(1, setting.max_iters - setting.warmup_iters)
    share = 0.5 * (1 + math.cos(math.pi * done))
    return setting.min_lr + share * (setting.learning_rate - setting.min_lr)

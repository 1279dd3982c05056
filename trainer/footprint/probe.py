"""Measure the peak memory of a config without its device: real steps on fake tensors.

The real model takes real steps (forward, loss, backward, AdamW) on tensors that have a shape and no
contents, and every storage is counted from the operation that makes it until nothing holds it. It
needs no GPU and no memory, and is what `peak_memory` is held to.

What CUDA does otherwise than a CPU is put in its place: its fused attention kernels, with what each
saves for the backward pass, its fused RMS norm, its dropout. What torch does not allocate is not
seen: the CUDA context, the workspaces of libraries, fragmentation.

Blocks are equal, so memory is linear in depth once a model is deep enough: two shallow ones say
what a deep one takes, in a second or two.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer.config import DecoderConfig, RunConfig
from trainer.engines.solo import Unit, _step
from trainer.footprint.activations import kernel_of
from trainer.footprint.memory import effective_batch, rows_at_once
from trainer.losses import Terms
from trainer.models import build_model
from trainer.optim import build_optimizer
from trainer.precision import loss_scaler
from trainer.spectral_config import SpectralConfig
from trainer.tasks.ariel.reading import Reading
from trainer.tasks.ariel.sample import Layout
from trainer.tasks.ariel.standards import Standards

SHALLOW = (4, 6)
"""Layers of the two models that a deep one is extrapolated from."""


@dataclass(frozen=True)
class Probed:
    """Live bytes of one process.

    Args:
        peaks: The most at once in the forward pass, in the first and in the second half of the
            backward pass, and in the update. Each is linear in depth, their maximum is not.
        state: What stays after a step: weights, moments and gradients.
    """

    peaks: tuple[int, ...]
    state: int

    @property
    def peak(self) -> int:
        """The most at once in a step after the first: the moments are there."""
        return max(self.peaks)


def probe(config: RunConfig, vocab_size: int, *, whole: bool = False) -> Probed:
    """Return the live bytes of a training step of a model that is not sharded.

    Args:
        config: What would be trained; `tier.device` says whose kernels.
        vocab_size: Input symbols, from `trainer.tasks.vocab_size`.
        whole: Run every layer instead of extrapolating from `SHALLOW`.
    """
    model = config.model
    if whole or not isinstance(model, DecoderConfig) or model.n_layers <= SHALLOW[1]:
        return _measure(config, vocab_size)
    low, high = (
        _measure(
            config.model_copy(update={"model": model.model_copy(update={"n_layers": layers})}),
            vocab_size,
        )
        for layers in SHALLOW
    )
    more = (model.n_layers - SHALLOW[0]) / (SHALLOW[1] - SHALLOW[0])
    return Probed(
        tuple(
            round(first + more * (second - first))
            for first, second in zip(low.peaks, high.peaks, strict=True)
        ),
        round(low.state + more * (high.state - low.state)),
    )


class LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's has no types
    """Counts the bytes of all storages that operations under it made and somebody still holds."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.curve: list[tuple[bool, int]] = []
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count the storages of its results that are new."""
        results = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.curve.append((torch._C._current_graph_task_id() >= 0, self.live))
        return results

    def peaks(self) -> tuple[int, int, int, int]:
        """Return the most of the passes that `Probed.peaks` has, over the curve so far."""
        forward = backward_early = backward_late = update = 0
        passes = [
            (backward, [live for _, live in points])
            for backward, points in groupby(self.curve, key=lambda point: point[0])
        ]
        for number, (backward, lives) in enumerate(passes):
            half = len(lives) // 2
            if backward:
                backward_early = max(backward_early, *lives[:half])
                backward_late = max(backward_late, *lives[half:])
            elif number == len(passes) - 1:
                update = max(lives)
            else:
                forward = max(forward, *lives)
        return forward, backward_early, backward_late, update

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: object) -> None:
            if self._known.pop(key, None) is not None:
                self.live -= size

        self._known[key] = weakref.ref(storage, gone)
        self.live += size


def _measure(config: RunConfig, vocab_size: int) -> Probed:
    tier = config.tier
    plain = config.model_copy(  # on a CPU's fake tensors, and in a precision that needs no scaler
        update={
            "tier": tier.model_copy(
                update={
                    "device": "cpu",
                    "attention": "auto",
                    "compile": "off",
                    "precision": "bf16" if tier.precision == "fp16" else tier.precision,
                }
            )
        }
    )
    spectral = isinstance(config.model, SpectralConfig)
    live = LiveStorages()
    with FakeTensorMode(), live, _kernels(config):
        task = _FakeSpectra(config, vocab_size) if spectral else _FakeTask(config, vocab_size)
        model = build_model(plain, vocab_size)
        unit = Unit(
            config=plain,
            task=task,
            model=model,
            parameters=list(model.parameters()),
            optimizer=build_optimizer(model, plain.training),
            scaler=loss_scaler(plain.tier),
            has_dropout=plain.has_dropout,
        )
        _step(unit, 0)
        state = live.live
        live.curve.clear()
        _step(unit, 1)
    return Probed(live.peaks(), state)


class _FakeTask:
    """A task's batches and loss, without its data. Implements `trainer.tasks.Task` where steps ask."""

    left_out = ""

    def __init__(self, config: RunConfig, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.batch_size = min(effective_batch(config), 2 * rows_at_once(config))  # more are alike
        self.seq_len, self.modular = config.seq_len, config.data.task == "modular"
        self.tokens_per_step = self.batch_size * self.seq_len
        self.tokens_per_evaluation = 0

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and targets, as the task has them."""
        if self.modular:
            return torch.empty(self.batch_size, 3, dtype=torch.int64), torch.empty(
                self.batch_size, dtype=torch.int64
            )
        both = torch.empty(self.batch_size, self.seq_len + 1, dtype=torch.int64)
        return both[:, :-1], both[:, 1:]

    def loss(
        self, model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss as the task computes it."""
        logits = model(inputs)
        if self.modular:
            return F.cross_entropy(logits[..., -1, :].float(), targets)
        return F.cross_entropy(logits.float().flatten(0, -2), targets.flatten())

    def evaluate(self, model: torch.nn.Module, split: str, device: str) -> dict[str, float]:
        """Nothing is evaluated."""
        return {}

    def baselines(self) -> dict[str, float]:
        """There are none."""
        return {}


class _FakeSpectra(_FakeTask):
    """Light curves and their loss, without a data set."""

    def __init__(self, config: RunConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size)
        assert isinstance(config.model, SpectralConfig)
        ones, layout = np.ones(vocab_size), Layout(config.seq_len, vocab_size)
        standards = Standards(1e-4, ones, ones, ones, 1e-5, ones[:1], ones[:1])
        self.size = layout.size
        self.reading = Reading(layout, standards, config.model.predicts)
        um = [0.7, *np.linspace(1.95, 3.9, vocab_size - 1)]
        self.terms = Terms(config.loss, config.symbolic, standards.scale, um)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and targets, as the task has them."""
        return torch.empty(self.batch_size, self.size), torch.empty(
            self.batch_size, self.vocab_size
        )

    def loss(
        self, model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss as the task computes it."""
        mirrored = self.terms.needs_mirrored
        return self.terms.total(self.reading.spectrum(model, inputs, targets, mirrored=mirrored))


@contextlib.contextmanager
def _kernels(config: RunConfig) -> Iterator[None]:
    """Compute with the kernels of the config's device, as far as what they keep goes."""
    if not isinstance(config.model, DecoderConfig):
        yield
        return
    kernel = kernel_of(config.model, config.tier)
    ours = {"scaled_dot_product_attention": _attention(kernel, config.tier.device)}
    if config.tier.device == "cuda":
        ours |= {"rms_norm": _rms_norm, "dropout": _dropout}
    before = {name: getattr(F, name) for name in ours}
    try:
        for name, function in ours.items():
            setattr(F, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(F, name, function)


def _attention(kernel: str, device: str) -> Any:
    aten = torch.ops.aten

    def attend(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        is_causal: bool,
        dropout_p: float = 0.0,
    ) -> torch.Tensor:
        qkv = [query, key, value]
        if torch.is_autocast_enabled("cpu"):
            qkv = [tensor.to(torch.get_autocast_dtype("cpu")) for tensor in qkv]
        with torch.autocast("cpu", enabled=False):
            if kernel == "math":
                result = aten._scaled_dot_product_attention_math(*qkv, None, dropout_p, is_causal)
            elif device == "cpu":
                result = aten._scaled_dot_product_flash_attention_for_cpu(*qkv, 0.0, is_causal)
            elif kernel == "efficient":
                result = aten._scaled_dot_product_efficient_attention(
                    *qkv, None, True, dropout_p, is_causal
                )
            else:
                result = aten._scaled_dot_product_flash_attention(*qkv, dropout_p, is_causal)
        attended: torch.Tensor = result[0]
        return attended

    return attend


class _FusedRMSNorm(torch.autograd.Function):
    """What CUDA's kernel keeps: the input, the gain and 1 / rms of each position."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, gain, x.new_empty((*x.shape[:-1], 1)))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, gain, _ = ctx.saved_tensors
        return torch.empty_like(x), torch.empty_like(gain)


def _rms_norm(
    x: torch.Tensor, shape: tuple[int, ...], gain: torch.Tensor, eps: float
) -> torch.Tensor:
    normed: torch.Tensor = _FusedRMSNorm.apply(x, gain)  # type: ignore[no-untyped-call]
    return normed


def _dropout(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    dropped: torch.Tensor = torch.native_dropout(x, p, training)[0]
    return dropped

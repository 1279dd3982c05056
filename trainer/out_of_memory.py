"""Which errors mean that memory ran out, and what is done before another attempt."""

from __future__ import annotations

import gc
import re
import traceback
from collections.abc import Callable
from typing import TypeVar

import torch

from trainer.engines import State

T = TypeVar("T")

MEANS_IT = re.compile(
    r"out of memory|not enough memory|can't allocate memory|STATUS_ALLOC_FAILED", re.IGNORECASE
)
"""In the `RuntimeError`s of CUDA and NCCL, of torch's CPU allocator, of cuBLAS and cuDNN."""


def ran_out(error: BaseException) -> bool:
    """Return whether an error says that the memory of the device or of the host ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and MEANS_IT.search(str(error)) is not None


def within_memory(work: Callable[[], T], make_room: Callable[[Exception], object]) -> T:
    """Return what `work` returns, calling it again as often as memory runs out in it.

    Args:
        work: May be called again after it was broken off.
        make_room: Told what was raised, outside of its handling; raises it where nothing is left
            to be given up.
    """
    while True:
        try:
            return work()
        except Exception as error:
            if not ran_out(error):
                raise
            broke_off = error
        make_room(broke_off)


def let_go(error: BaseException) -> None:
    """Clear the frames that an error came through: their activations would live as long as it."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


def free_cache(device: str) -> None:
    """Give back what nobody refers to any more, and measure the peak anew: it was of another tier.

    Args:
        device: "cpu" or "cuda".
    """
    gc.collect()
    if device == "cuda" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def on_host(state: State) -> State:
    """Return a copy of a state in host memory."""
    model, optimizer = (
        {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        for tensors in (state.model, state.optimizer)
    )
    return State(model, optimizer, state.extra)

"""torch.compile for a model of equal blocks: each block is a region, compiled once for all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

MOST_SHAPES = 64
"""Versions of a block's code that a process may hold: a sweep of many models runs in one."""


def compile_blocks(model: nn.Module) -> None:
    """Compile each block of a decoder in place, at its first call; equal blocks share the code.

    The model keeps its class and the names of its parameters, so that checkpoints stay what they
    are. Shapes are fixed: another micro-batch is compiled anew, and so is another model; past torch's
    limit of 8 in a process it would go on without compiling.
    """
    import torch._dynamo.config as limits

    limits.recompile_limit = max(MOST_SHAPES, limits.recompile_limit)
    for block in model.get_submodule("blocks").children():
        block.compile(dynamic=False)


def leave_eager(model: nn.Module) -> None:
    """Undo `compile_blocks`."""
    for block in model.get_submodule("blocks").children():
        block._compiled_call_impl = None


def why_not_compiled(error: RuntimeError) -> str:
    """Return what the compiler failed of in a compiled block: no Triton, no C compiler, a bug.

    "" where the error is not the compiler's: memory that ran out while it tried kernels.
    """
    from torch._dynamo.exc import TorchDynamoException

    cause = getattr(error, "inner_exception", error)
    if not isinstance(error, TorchDynamoException) or isinstance(cause, torch.OutOfMemoryError):
        return ""
    return str(cause).strip().partition("\n")[0] or type(cause).__name__


@contextlib.contextmanager
def eager(compiled: bool) -> Iterator[None]:
    """Leave compiled blocks alone inside: an evaluation has other shapes than a step.

    Args:
        compiled: Whether there are any; without, torch's compiler is not loaded.
    """
    if not compiled:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield

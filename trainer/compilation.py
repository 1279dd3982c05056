"""torch.compile for a model of equal blocks: each block is a region, compiled once for all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


def compile_blocks(model: nn.Module) -> None:
    """Compile each block of a decoder in place, at its first call; equal blocks share the code.

    The model keeps its class and the names of its parameters, so that checkpoints stay what they
    are. Shapes are fixed: another micro-batch is compiled anew.
    """
    for block in model.get_submodule("blocks").children():
        block.compile(dynamic=False)


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

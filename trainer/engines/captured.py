"""A pass over a micro-batch as a CUDA graph: recorded once, then replayed with one launch.

A small pass waits for the launches of thousands of kernels; a replay has none of that
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). A graph reads and writes fixed
addresses: the tensors of a micro-batch are copied in, and the gradients stay where they are, zeroed
and not freed between steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

WARM_UPS = 3
"""Passes before the recording: libraries allocate, compilers compile, autotuners try."""

Compute = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Inputs and targets of a micro-batch to its loss; adds the gradients."""


class CapturedPass:
    """Implements `Compute` for micro-batches of one shape, on one GPU.

    Args:
        compute: What is recorded: forward and backward pass, without dropout, without asking the
            GPU for a number.
        parameters: Their gradients are overwritten, by zeros: record before the first pass of a step.
        inputs: A micro-batch on the GPU.
        targets: What it is to say.
    """

    def __init__(
        self,
        compute: Compute,
        parameters: Sequence[nn.Parameter],
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> None:
        self._inputs, self._targets = inputs.clone(), targets.clone()
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                compute(self._inputs, self._targets)
        current.wait_stream(side)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = compute(self._inputs, self._targets)

    def fits(self, inputs: torch.Tensor) -> bool:
        """Return whether a micro-batch has the recorded shape."""
        return inputs.shape == self._inputs.shape

    def __call__(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Replay on a micro-batch; return its loss."""
        self._inputs.copy_(inputs, non_blocking=True)
        self._targets.copy_(targets, non_blocking=True)
        self._graph.replay()
        return self._loss.clone()

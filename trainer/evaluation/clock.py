"""How long an evaluation may take, asked before each block of the model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from torch import nn


class OutOfTimeError(Exception):
    """The time budget ran out; the part is left out."""


class Clock:
    """Counts down the time budget of one evaluation.

    Args:
        budget_s: Seconds from now.
    """

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self._began = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._began

    def check(self) -> None:
        """Go on, or raise.

        Raises:
            OutOfTimeError: The budget is spent.
        """
        if self.elapsed_s > self.budget_s:
            raise OutOfTimeError(f"the time budget of {self.budget_s:g} s ran out")

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Check before each pass of a model and before each of its blocks, wherever it is called.

        So the budget is kept to within one block of one batch, and no part has to think of it.
        """

        def check(*call: Any) -> None:
            self.check()

        watched = [model, *getattr(model, "blocks", ())]
        handles = [module.register_forward_pre_hook(check) for module in watched]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

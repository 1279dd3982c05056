"""The processes that train one model together, and how they talk.

Rank 0 leads. Words (a call, a flag, what went wrong) go over a group of their own on CPUs, `control`;
tensors go over `data`, which is NCCL on GPUs. All ranks are on one machine.

An error on one rank may leave the others waiting in a collective of `data` that it never joins: they
are let go by an abort (NCCL) or by `DATA_TIMEOUT_S`, meet over `control`, and learn what happened.
Then `data` is made anew. A process that is gone closes its connections, which ends the others.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _abort_process_group

from trainer.errors import InputError, RanksLostError

CONTROL_TIMEOUT_S = 1800.0
"""Longest wait for the next call; the leader writes checkpoints in between."""

DATA_TIMEOUT_S = 300.0
"""Longest wait in a collective of tensors, where all ranks do equal work."""

SAME_MOMENT_S = 1.0
"""Errors within it are one error seen by several ranks; a rank left waiting raises much later."""


@dataclass(frozen=True)
class Failure:
    """What was raised on a rank, as a value that another process can read.

    Args:
        rank: Where.
        at_s: When, on the machine's monotonic clock.
        kind: Name of the exception's type.
        text: What it said.
        hint: An `InputError`'s.
        frames: Its traceback.
    """

    rank: int
    at_s: float
    kind: str
    text: str
    hint: str
    frames: str

    def error(self) -> Exception:
        """Return an exception that says the same; out of memory stays out of memory."""
        text = f"rank {self.rank}: {self.text}"
        error: Exception
        if self.kind == "InputError":
            error = InputError(text, self.hint)
        elif self.kind in ("OutOfMemoryError", "MemoryError"):
            error = {"MemoryError": MemoryError}.get(self.kind, torch.OutOfMemoryError)(text)
        else:
            error = RuntimeError(f"rank {self.rank}: {self.kind}: {self.text}")
        error.add_note(self.frames)
        return error


class Group:
    """This process among those that train one model.

    The default process group of `torch.distributed` must exist, with gloo: it is `control`.

    Args:
        device: "cpu", or "cuda" for the current one.
        data_timeout_s: Longest wait in a collective of tensors.
    """

    def __init__(self, device: str, data_timeout_s: float = DATA_TIMEOUT_S) -> None:
        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device
        self.data_timeout = timedelta(seconds=data_timeout_s)
        with _others_alive():
            self.data = self._new_data()

    @property
    def leads(self) -> bool:
        """True on the rank that is told what to do by this process, and tells the others."""
        return self.rank == 0

    def announce(self, *call: Any) -> None:
        """Have the followers make a call; nothing on a follower, which is making it.

        Args:
            *call: A method's name and its arguments; nothing at all ends them.
        """
        if self.leads:
            with _others_alive():
                dist.broadcast_object_list([call], src=0)

    def receive(self) -> tuple[Any, ...]:
        """Return the next call that the leader announces."""
        calls: list[Any] = [None]
        with _others_alive():
            dist.broadcast_object_list(calls, src=0)
        call: tuple[Any, ...] = calls[0]
        return call

    def agree(self, *flags: bool) -> list[bool]:
        """Return which of the flags are true on any rank."""
        tensor = torch.tensor(flags, dtype=torch.int32)
        with _others_alive():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return [bool(flag) for flag in tensor.tolist()]

    def failure(self, own: Exception | None, raised_at_s: float | None = None) -> Exception | None:
        """Return what went wrong on any rank, on every rank; None where all is well.

        The first one counts; the leader's own exception where it has the same one.

        Args:
            own: What was raised here.
            raised_at_s: When, on the monotonic clock; None is now.
        """
        raised_at_s = time.monotonic() if raised_at_s is None else raised_at_s
        (wrong,) = self.agree(own is not None)
        if not wrong:
            return None
        told: list[Failure | None] = [None] * self.size
        with _others_alive():
            dist.all_gather_object(told, None if own is None else self._told(own, raised_at_s))
        failures = sorted((f for f in told if f is not None), key=lambda failure: failure.at_s)
        same = [f for f in failures if f.at_s - failures[0].at_s <= SAME_MOMENT_S]
        cause = min(same, key=lambda failure: failure.rank)
        return own if own is not None and cause.rank == self.rank else cause.error()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Raise on every rank what the body raises on any; the body may wait for other ranks."""
        own: Exception | None = None
        try:
            yield
        except Exception as error:
            own = error
        if (failure := self.failure(own)) is not None:
            self.renew()
            raise failure

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Add a tensor up over the ranks, in place, and return it."""
        dist.all_reduce(values, group=self.data)
        return values

    def renew(self) -> None:
        """Make `data` anew, after an error has left collectives of it unfinished.

        A model that was sharded over the old one cannot compute any more; its parts are sound.
        """
        with _others_alive():
            if self.device == "cuda":
                _abort_process_group(self.data)  # lets go of kernels that wait for another rank
            self.data = self._new_data()

    def _new_data(self) -> dist.ProcessGroup:
        backend = "nccl" if self.device == "cuda" else "gloo"
        group: dist.ProcessGroup = dist.new_group(backend=backend, timeout=self.data_timeout)
        return group

    def _told(self, error: Exception, at_s: float) -> Failure:
        return Failure(
            self.rank,
            at_s,
            type(error).__name__,
            str(error),
            error.hint if isinstance(error, InputError) else "",
            "".join(traceback.format_exception(error)),
        )


@contextlib.contextmanager
def _others_alive() -> Iterator[None]:
    """Tell an error of `control` for what it is: it carries nothing that could be wrong."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise RanksLostError(f"a process that trains the same model is gone: {reason}") from error

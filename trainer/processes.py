"""Start the processes that train one model together, on this machine, with this one as their leader."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch
import torch.distributed as dist

from trainer.distributed import CONTROL_TIMEOUT_S, DATA_TIMEOUT_S, Group
from trainer.engines.sharded import ShardedEngine, follow
from trainer.errors import RanksLostError

END_S = 10.0
"""How long a follower may take to end before it is killed."""

LEADERS_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""A terminal sends them to all processes; the leader answers them, for the followers too."""


@contextlib.contextmanager
def leading(
    ranks: int, device: str, *, data_timeout_s: float = DATA_TIMEOUT_S
) -> Iterator[ShardedEngine]:
    """Give an engine that computes on `ranks` processes, started for it and ended after it.

    They talk over loopback alone, and find each other through a file in a private folder.

    Args:
        ranks: Processes, this one included.
        device: "cpu", or "cuda" for one GPU each.
        data_timeout_s: Longest wait in a collective of tensors.

    Raises:
        RanksLostError: A process is gone.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="arbiter-ranks-") as folder:
        meeting = Path(folder) / "meeting"
        followers: list[SpawnProcess] = []
        try:
            for rank in range(1, ranks):
                here, there = context.Pipe(duplex=False)
                arguments = (rank, ranks, device, meeting, data_timeout_s, there)
                follower = context.Process(target=_follower, args=arguments, daemon=True)
                follower.start()
                there.close()
                followers.append(follower)
                _await(here, follower, rank)
            with _joined(0, ranks, device, meeting, data_timeout_s) as group:
                engine = ShardedEngine(group)
                yield engine
                engine.close()
            for follower in followers:
                follower.join(END_S)
        finally:
            for follower in followers:
                follower.kill()
                follower.join()


def _await(ready: Connection, follower: SpawnProcess, rank: int) -> None:
    """Wait until a follower is there, or is not."""
    wait([ready, follower.sentinel])
    try:
        ready.recv_bytes()
    except EOFError:
        follower.join()
        raise RanksLostError(
            f"rank {rank} ended before it began, with exit code {follower.exitcode}"
        ) from None


def _follower(
    rank: int, ranks: int, device: str, meeting: Path, data_timeout_s: float, ready: Connection
) -> None:
    for number in LEADERS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    ready.send_bytes(b"ready")
    ready.close()
    with (
        contextlib.suppress(RanksLostError),  # the leader is gone, and nobody is left to tell
        _joined(rank, ranks, device, meeting, data_timeout_s) as group,
    ):
        follow(group)


@contextlib.contextmanager
def _joined(
    rank: int, ranks: int, device: str, meeting: Path, data_timeout_s: float
) -> Iterator[Group]:
    """Be one of the ranks."""
    if device == "cuda":
        torch.cuda.set_device(rank)
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    try:
        dist.init_process_group(
            "gloo",
            init_method=meeting.as_uri(),
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=CONTROL_TIMEOUT_S),
        )
        yield Group(device, data_timeout_s)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        if before is None:
            del os.environ["GLOO_SOCKET_IFNAME"]
        else:
            os.environ["GLOO_SOCKET_IFNAME"] = before

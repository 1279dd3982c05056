"""The Ray cluster that a sweep runs on: one of its own, or one that is running already."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.executors import ray_environment

ray_environment.prepare()

import grpc  # noqa: E402
import psutil  # noqa: E402
import ray  # noqa: E402
from ray._private import services  # noqa: E402
from ray.job_config import JobConfig  # noqa: E402

from orchestrator.errors import Problem, UsageError, gathering  # noqa: E402
from orchestrator.hardware import Hardware, gpu_memory_gib  # noqa: E402
from orchestrator.signals import SIGNALS  # noqa: E402

NAMESPACE = "arbiter"
OBJECT_STORE_BYTES = 100_000_000
"""Nothing large goes through Ray's object store; its smallest size is about 75 MB."""

METRICS_INTERVAL_MS = 2_000
"""How often gauges leave a process; Ray forgets one that was not set for twice as long."""

ANSWERS_S = 5.0
"""Longest wait for the answer of a cluster that should be there."""

HOW_TO_START = "`ray start --head` starts a cluster here and prints its address"
SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

NODE_ANSWERS_S = 60.0
"""Longest wait for a node to start a process and answer; torch is not loaded for it."""


def start_cluster(hardware: Hardware, *, dashboard: bool = False, name: str = NAMESPACE) -> None:
    """Start Ray on this machine, behind a token.

    Args:
        hardware: What it may use.
        dashboard: Whether to serve Ray's dashboard, to this machine alone.
        name: What the dashboard calls this job.

    Raises:
        UsageError: Token authentication was switched off, or the token is not private.
    """
    ray_environment.prepare()  # again: a process may have changed its environment since
    ray_environment.check(dashboard, address=None)
    ray_environment.provide_token(dashboard)
    with _own_signals():
        ray.init(
            address="local",
            num_cpus=hardware.cpus,
            num_gpus=len(hardware.gpus),
            include_dashboard=dashboard,
            dashboard_host="127.0.0.1",
            namespace=NAMESPACE,
            job_config=_named(name),
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _system_config={"metrics_report_interval_ms": METRICS_INTERVAL_MS},
        )
    _hush()


def stop_cluster() -> None:
    """End the cluster that `start_cluster` started."""
    for child in psutil.Process().children():
        # Ray waits a second for its autoscaler's monitor, which scales nothing here, to obey.
        with contextlib.suppress(psutil.Error):
            if any(
                word.endswith("monitor.py") and "autoscaler" in word for word in child.cmdline()
            ):
                child.kill()
    ray.shutdown()


def join_cluster(address: str) -> None:
    """Connect to a cluster that is running; it outlives this process.

    Args:
        address: `HOST:PORT` of its head, or `auto` for the one on this machine.

    Raises:
        UsageError: It cannot be reached, or does not take the token.
    """
    ray_environment.check(dashboard=False, address=address)
    try:
        found = services.canonicalize_bootstrap_address_or_die(address)
    except (ConnectionError, OSError, ValueError) as error:
        raise _cannot_join(address, str(error).partition(". ")[0].rstrip(".")) from error
    _check_answers(address, found)
    try:
        with _own_signals():
            ray.init(
                address=found,
                namespace=NAMESPACE,
                job_config=_named(NAMESPACE),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        why = str(error.__cause__ or error).strip().splitlines()[0]
        raise _cannot_join(address, why) from error
    _hush()


def _named(name: str) -> JobConfig:
    return JobConfig(metadata={"job_name": name})


def _cannot_join(address: str, why: str, hint: str = HOW_TO_START) -> UsageError:
    return UsageError(Problem(f"cannot join the cluster {address}: {why}", "--address", hint))


def _check_answers(address: str, found: str) -> None:
    """Ask the cluster for its id: Ray itself would ask for minutes, aloud.

    Raises:
        UsageError: Nothing answers in time, or something that is no Ray, or not with this token.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return  # the certificates are between Ray and its cluster
    token = ray_environment.cluster_token()
    with grpc.insecure_channel(found) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            ask(b"", timeout=ANSWERS_S, metadata=(("authorization", f"Bearer {token}"),))
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAUTHENTICATED:
                where = ray_environment.cluster_token_place()
                hint = f"it must be the token that the cluster was started with: see {where}"
                raise _cannot_join(address, "it does not take the token", hint) from error
            why = (
                "nothing answers there" if code in SILENT else f"no Ray answers there ({code.name})"
            )
            raise _cannot_join(address, why) from error


def dashboard_url() -> str | None:
    """Return where the cluster's dashboard is; None where it has none."""
    with _own_signals():
        url = ray.init(ignore_reinit_error=True, configure_logging=False).dashboard_url
    return f"http://{url}" if url else None


def cluster_hardware() -> Hardware:
    """Return what the nodes of the joined cluster have, together and the largest of them.

    Raises:
        UsageError: A node cannot run arbiter.
    """
    found = [
        (int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)), memory)
        for node, memory in ask_every_node(gpu_memory_gib, None)
    ]
    gpus: list[float] = []
    for _, count, memory in found:
        gpus += [min(memory, default=0.0)] * count
    return Hardware(
        cpus=sum(cpus for cpus, _, _ in found),
        gpus=tuple(gpus),
        largest_node=(max(cpus for cpus, _, _ in found), max(count for _, count, _ in found)),
    )


def ask_every_node(
    question: Callable[..., Any], *arguments: Any
) -> list[tuple[dict[str, Any], Any]]:
    """Call a function on every node of the cluster; return each node and its answer.

    Args:
        question: A function of ours that can be imported there.
        *arguments: Its arguments.

    Raises:
        UsageError: A node does not answer in time, or cannot.
    """
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    remote = ray.remote(question)
    asked = [
        (
            node,
            remote.options(
                num_cpus=0, scheduling_strategy=affinity(node["NodeID"], soft=False)
            ).remote(*arguments),
        )
        for node in _nodes()
    ]
    answers = []
    with gathering() as gather:
        for node, answer in asked:
            with gather.step():
                answers.append((node, _answer(node["NodeName"], answer)))
    return answers


def _answer(node: str, asked: Any) -> Any:
    try:
        return ray.get(asked, timeout=NODE_ANSWERS_S)
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1]
        hint = f"install arbiter-sweep there, as here with Ray {ray.__version__}"
        message = f"node {node} cannot run arbiter: {why}"
        raise UsageError(Problem(message, "--address", hint)) from error


def check_sees(ledger: Path) -> None:
    """Refuse a cluster with a node that does not see the run folder.

    Raises:
        UsageError: A node would train and have nowhere to write its checkpoints.
    """
    blind = [node["NodeName"] for node, sees in ask_every_node(_exists, str(ledger)) if not sees]
    if blind:
        raise UsageError(
            Problem(
                f"the run folder is not there on {', '.join(blind)}",
                str(ledger.parent),
                "set ARBITER_RUNS to a folder that every node of the cluster mounts at one path",
            )
        )


def _exists(path: str) -> bool:
    return Path(path).exists()


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our handlers over a start of Ray, whose own would end this process at SIGTERM."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _hush() -> None:
    """Keep Ray's log lines off the terminal; what went wrong with a trial is in the ledger."""
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)

"""What of this machine and this installation matters to a sweep, looked at before one starts."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from orchestrator.errors import Problem, UsageError, nearest
from orchestrator.executors import ray_environment
from orchestrator.hardware import Hardware, host_memory_gib
from orchestrator.layout import HOME_HINT, RUNS_HINT, check_writable, runs_root
from orchestrator.preflight import libraries, shadowed
from orchestrator.provenance import masked
from trainer.units import GIB

VARIABLES = {
    "ARBITER_RUNS": "folder of all runs",
    "ARBITER_HOME": "cache of tokenized texts, light curves and simulated data sets",
    "ARBITER_FULL_ERROR": "shows tracebacks",
}
DASHBOARD_PORT = 8265
LITTLE_DISK_GIB, LITTLE_MEMORY_GIB = 5.0, 2.0


class Verdict(StrEnum):
    """What a finding means."""

    OK = "ok"
    NOTE = "note"  # worth knowing; a sweep starts nevertheless
    WRONG = "wrong"  # a sweep would fail, or others could harm it


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    text: str
    verdict: Verdict = Verdict.OK
    hint: str = ""


def examine(hardware: Hardware) -> list[Finding]:
    """Look at everything; nothing is written, nothing heavy is loaded."""
    return [
        Finding("arbiter", f"{_own_version()} in {Path(__file__).parent.parent}"),
        Finding("python", f"{platform.python_version()} on {platform.platform()}"),
        *_libraries(),
        *_packages(),
        *_devices(hardware),
        *_memory(),
        *_disks(),
        _port(DASHBOARD_PORT),
        *_ray_token(),
        *_variables(),
    ]


def _own_version() -> str:
    try:
        return importlib.metadata.version("arbiter-sweep")
    except importlib.metadata.PackageNotFoundError:
        return "not installed, run"


def _libraries() -> Iterator[Finding]:
    for library in libraries():
        name, floor = library.requirement.name, library.requirement.specifier
        if library.problem is not None:
            text = library.problem.message.removeprefix(f"{name}: ")
            yield Finding(name, text, Verdict.WRONG, library.problem.hint)
        elif library.requirement.marker is None:  # those of extras are told when they are wrong
            yield Finding(name, f"{library.version} ({floor})")


def _packages() -> Iterator[Finding]:
    problems = shadowed(with_workers=True)
    for problem in problems:
        yield Finding(
            "packages", f"{problem.place}: {problem.message}", Verdict.WRONG, problem.hint
        )
    if not problems:
        yield Finding("packages", "nothing stands before ours on the path")


def _devices(hardware: Hardware) -> Iterator[Finding]:
    yield Finding("cores", f"{hardware.cpus} of {os.cpu_count()} may be used")
    gpus = ", ".join(f"{gib:.0f} GiB" for gib in hardware.gpus)
    if hardware.gpus and "+cpu" in importlib.metadata.version("torch"):
        hint = "install torch's CUDA build: https://pytorch.org/get-started"
        yield Finding("gpus", f"{gpus}, but torch is its CPU build", Verdict.WRONG, hint)
    else:
        yield Finding("gpus", gpus or "none")
    yield Finding("tier", f"{hardware.best_tier()} is what fits here")


def _memory() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    free, total = memory.available / GIB, memory.total / GIB
    text = f"{free:.1f} of {total:.1f} GiB free"
    if (limit := host_memory_gib()) < total:
        text, free = f"{text}, this container may use {limit:.1f}", min(free, limit)
    yield Finding("memory", text, Verdict.OK if free >= LITTLE_MEMORY_GIB else Verdict.NOTE)


def _disks() -> Iterator[Finding]:
    yield _disk("runs", runs_root())
    yield _disk("scratch", Path(tempfile.gettempdir()))
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free / GIB
        enough = free >= 0.2
        hint = "" if enough else "Ray keeps 0.1 GiB there; docker run --shm-size=1g"
        text = f"{free:.1f} GiB free in {shared}"
        yield Finding("shared memory", text, Verdict.OK if enough else Verdict.NOTE, hint)


def _disk(subject: str, folder: Path, hint: str = RUNS_HINT) -> Finding:
    try:
        check_writable(folder, subject, hint)
    except UsageError as error:
        problem = error.problems[0]
        return Finding(subject, f"{folder}: {problem.message}", Verdict.WRONG, problem.hint)
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / GIB
    text = f"{free:.1f} GiB free for {folder}"
    return Finding(subject, text, Verdict.OK if free >= LITTLE_DISK_GIB else Verdict.NOTE)


def _wrong_home() -> Finding | None:
    """Say why the folder of the cache cannot be used."""
    home = os.environ.get("ARBITER_HOME")
    finding = _disk("ARBITER_HOME", Path(home).absolute(), HOME_HINT) if home else None
    return finding if finding is not None and finding.verdict is Verdict.WRONG else None


def _port(port: int) -> Finding:
    """Say whether Ray's dashboard would have the port that people expect."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            text = f"{port} is in use ({error.strerror}): the dashboard takes the next free one"
            return Finding("port", text, Verdict.NOTE)
    return Finding("port", f"{port} is free for Ray's dashboard")


def _ray_token() -> Iterator[Finding]:
    try:
        ray_environment.check(dashboard=True, address=None)
    except UsageError as error:
        for problem in error.problems:
            text = f"{problem.place}: {problem.message}"
            yield Finding("ray token", text, Verdict.WRONG, problem.hint)
        return
    how = ray_environment.how_to_log_in(str(ray_environment.token_path()))
    yield Finding("ray token", f"a cluster is always behind one; with --dashboard {how}")


def _variables(names: Iterable[str] | None = None) -> Iterator[Finding]:
    for name in sorted(names if names is not None else os.environ):
        if not name.startswith("ARBITER_"):
            continue
        value = masked(f"{name}={os.environ[name]}").partition("=")[2]
        if name in VARIABLES:
            text = f"{value!r}: {VARIABLES[name]}"
            wrong = _wrong_home() if name == "ARBITER_HOME" else None
            yield wrong or Finding(name, text)
        else:
            text = f"not a variable of arbiter's{nearest(name, VARIABLES)}"
            yield Finding(name, text, Verdict.NOTE, f"unset {name}")


def problems_of(findings: Iterable[Finding]) -> list[Problem]:
    """Return what is wrong, as errors are told."""
    return [Problem(f.text, f.subject, f.hint) for f in findings if f.verdict is Verdict.WRONG]

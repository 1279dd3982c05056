"""What a machine has, what may be used of it, and what fits on it."""

from __future__ import annotations

import os
import types
from pathlib import Path
from typing import Any

import pynvml
import pytest

from orchestrator.errors import UsageError
from orchestrator.hardware import Hardware, detect, host_memory_gib, visible
from trainer.config import TierConfig


@pytest.mark.parametrize(
    ("gpus", "tier"),
    [
        ((), "cpu"),
        ((4.0,), "low_vram"),
        ((10.9,), "low_vram"),
        ((11.9,), "high_vram"),
        ((24.0, 24.0), "high_vram"),
        ((79.2,), "datacenter"),
        ((141.0, 24.0), "high_vram"),
    ],
)
def test_the_smallest_gpu_picks_the_tier(gpus: tuple[float, ...], tier: str) -> None:
    assert Hardware(2, gpus).best_tier() == tier


def test_gpus_are_limited_from_the_front() -> None:
    machine = Hardware(8, (80.0, 40.0, 24.0))
    assert machine.limited_to(None) == machine
    assert machine.limited_to(0) == Hardware(8)
    assert machine.limited_to(2) == Hardware(8, (80.0, 40.0))


@pytest.mark.parametrize(
    ("machine", "asked", "expected"),
    [
        (Hardware(2), 64, "--gpus: asked for 64, this machine has 0 GPUs\n  hint: --gpus 0 trains"),
        (Hardware(2, (8.0,)), 2, "this machine has 1 GPU\n  hint: --gpus 1 uses all there are;"),
        (Hardware(2, (8.0,)), -1, "--gpus: got -1, expected 0 or more"),
    ],
)
def test_more_gpus_than_there_are_are_refused(machine: Hardware, asked: int, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        machine.limited_to(asked)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("tier", "machine", "fits"),
    [
        ({}, Hardware(1), True),
        ({"cpus": 2}, Hardware(1), False),
        ({"device": "cuda"}, Hardware(1), False),
        ({"device": "cuda"}, Hardware(1, (8.0,)), True),
        ({"device": "cuda", "gpus": 0.25}, Hardware(1, (8.0,)), True),
        ({"device": "cuda", "gpus": 2.0}, Hardware(1, (8.0,)), False),
        ({"device": "cpu", "gpus": 2.0}, Hardware(1), True),
        ({"workers": 2}, Hardware(2), True),
        ({"workers": 2, "cpus": 2}, Hardware(3), False),
        ({"device": "cuda", "gpus": 2.0}, Hardware(1, (8.0,) * 2), False),
    ],
)
def test_what_fits(tier: dict[str, Any], machine: Hardware, fits: bool) -> None:
    assert (machine.refuse(TierConfig(**tier)) is None) == fits


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("1", [1]),
        ("2, 0", [2, 0]),
        ("0,7,1", [0]),
        ("GPU-b", [1]),
        ("GPU-c,GPU-a", [2, 0]),
        ("GPU-x,0", []),
        ("0,-1,1", [0]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_does(setting: str | None, left: list[int]) -> None:
    assert visible(setting, ["GPU-aa", "GPU-bb", "GPU-cc"]) == left


def fake_nvml(monkeypatch: pytest.MonkeyPatch, gib: list[int]) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: calls.append("init"))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(gib))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: f"GPU-{handle}")
    monkeypatch.setattr(
        pynvml,
        "nvmlDeviceGetMemoryInfo",
        lambda handle: types.SimpleNamespace(total=gib[handle] * 2**30),
    )
    return calls


def test_gpus_are_counted_as_torch_would_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_nvml(monkeypatch, [80, 24])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cores, memory_gib = len(os.sched_getaffinity(0)), 0.85 * host_memory_gib()
    assert detect() == Hardware(cores, (80.0, 24.0), memory_gib=memory_gib)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert detect().gpus == (24.0,)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert detect().gpus == ()
    assert calls == ["init", "shutdown"] * 3


def test_a_container_may_use_what_it_was_given(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    whole = host_memory_gib(limit)  # there is no such file
    limit.write_text("max\n")
    assert host_memory_gib(limit) == whole > 0
    limit.write_text(f"{2**29}\n")
    assert host_memory_gib(limit) == 0.5


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fails)
    assert detect().gpus == ()


def test_a_share_lies_on_one_node_of_a_cluster() -> None:
    cluster = Hardware(cpus=6, gpus=(24.0,) * 4, largest_node=(4, 2))
    tier = TierConfig(name="high_vram", device="cuda", cpus=2, gpus=2)
    assert cluster.refuse(tier) is None
    assert cluster.refuse(tier.model_copy(update={"gpus": 3})) == (
        "tier.gpus 3 is more than the 2 of the cluster's largest node"
    )
    assert cluster.refuse(tier.model_copy(update={"cpus": 5})) == (
        "tier.cpus 5 is more than the 4 cores of the cluster's largest node"
    )
    assert cluster.refuse(tier.model_copy(update={"cpus": 3})) == (
        "tier.gpus 2 of tier.cpus 3 takes 6 cores, more than the 4 of the cluster's largest node"
    )
    assert cluster.limited_to(0).refuse(tier) == "tier high_vram needs a GPU: none is in use here"

"""Small runs, and a reporter that remembers what it was told."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from trainer import FitResult, Member, RunConfig, Verdict, fit
from trainer.checkpoint import Checkpoint, CheckpointStore
from trainer.config import TierConfig
from trainer.reporting import GO_ON

Metrics = dict[str, float]
KILLED = 77

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "while",
    "naïve",
    "coöperation",
    "costs",
    "5",
    "€",
    "a",
    "day",
]


def text(n_words: int = 400) -> str:
    """Return lines of words in a fixed disorder, some of them beyond ASCII."""
    draw = random.Random(7)
    lines = [" ".join(draw.choices(WORDS, k=9)) for _ in range(n_words // 9)]
    return "\n".join(lines) + "\n"


def write_text(folder: Path, content: str | None = None) -> str:
    """Write a text file and return its path."""
    path = folder / "text.txt"
    path.write_bytes((text() if content is None else content).encode())
    return str(path)


def modular(**sections: dict[str, Any]) -> RunConfig:
    """Return a run of milliseconds on modular addition."""
    base: dict[str, dict[str, Any]] = {
        "model": {"kind": "quadratic_mlp", "dim": 8},
        "data": {"task": "modular", "p": 7},
        "training": {
            "steps": 20,
            "batch_size": "full",
            "learning_rate": 1e-2,
            "warmup_steps": 3,
            "eval_interval": 5,
        },
        "checkpoint": {"interval": 7},
        "logging": {"log_interval": 3, "enable_tensorboard": False},
    }
    return merged(base, sections)


def corpus(path: str, **sections: dict[str, Any]) -> RunConfig:
    """Return a run of milliseconds on a text."""
    base: dict[str, dict[str, Any]] = {
        "model": {"dim": 8, "n_layers": 1, "n_heads": 2},
        "data": {"dataset_path": path, "train_frac": 0.8, "val_frac": 0.1},
        "training": {
            "steps": 20,
            "batch_size": 4,
            "seq_len": 8,
            "learning_rate": 1e-2,
            "warmup_steps": 3,
            "eval_interval": 5,
            "eval_tokens": 64,
        },
        "checkpoint": {"interval": 7},
        "logging": {"log_interval": 3, "enable_tensorboard": False},
    }
    return merged(base, sections)


def merged(base: dict[str, dict[str, Any]], sections: dict[str, dict[str, Any]]) -> RunConfig:
    """Return the config of `base` with what `sections` change in it."""
    for name, changes in sections.items():
        base[name] = base.get(name, {}) | changes
    return RunConfig.model_validate(base)


class Recorder:
    """A reporter that keeps every event, in order."""

    def __init__(self, answer: Callable[[str, int], Verdict] = lambda key, step: GO_ON) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.answer = answer

    def started(self, member_id: str, step: int, note: str) -> None:
        self.events.append(("started", member_id, step, note))

    def row(self, member_id: str, step: int, metrics: Metrics) -> Verdict:
        self.events.append(("row", member_id, step, metrics))
        return self.answer(member_id, step)

    def stepped_down(self, member_id: str, step: int, tier: TierConfig, detail: str) -> None:
        self.events.append(("stepped_down", member_id, step, tier, detail))

    def flush(self) -> None:
        self.events.append(("flush",))

    def ended(self, result: FitResult) -> None:
        self.events.append(("ended", result.id, result))

    def of(self, kind: str, key: str = "a") -> list[tuple[Any, ...]]:
        """Return the events of one kind and member."""
        return [event for event in self.events if event[:2] == (kind, key)]

    def note(self, key: str = "a") -> str:
        """Return what the last start said."""
        return str(self.of("started", key)[-1][3])

    def rows(self, key: str = "a") -> dict[int, Metrics]:
        """Return what was reported by step; a step reported twice must say the same."""
        return merge_rows((step, metrics) for _, _, step, metrics in self.of("row", key))


def merge_rows(rows: Any) -> dict[int, Metrics]:
    """Return rows by step without figures of speed and memory."""
    merged: dict[int, Metrics] = {}
    for step, metrics in rows:
        learned = {k: v for k, v in metrics.items() if not k.startswith(("perf/", "mem/"))}
        assert merged.setdefault(step, learned) == learned, f"step {step} was told in two ways"
    return merged


def after(polls: int) -> Callable[[], bool]:
    """Return a request to stop that comes at the given poll, and stays."""
    count = 0

    def interrupted() -> bool:
        nonlocal count
        count += 1
        return count > polls

    return interrupted


def run(
    config: RunConfig,
    folder: Path,
    reporter: Recorder | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> tuple[FitResult, Recorder]:
    """Train member "a" alone."""
    reporter = reporter or Recorder()
    (result,) = fit([Member("a", config, folder)], reporter, interrupted=interrupted)
    return result, reporter


def newest(folder: Path, trial_id: str = "a") -> Checkpoint:
    """Return the newest checkpoint of a run."""
    checkpoint, notes = CheckpointStore(folder / "checkpoints", 9).load_newest(trial_id)
    assert checkpoint is not None and notes == []
    return checkpoint


def same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Say whether two states are identical, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def steps_on_disk(folder: Path) -> list[int]:
    """Return the steps of the checkpoints that can be seen."""
    return sorted(int(p.name.split("-")[1]) for p in folder.glob("checkpoints/step-*"))


class FileReporter(Recorder):
    """Keeps rows in memory until `flush` or an end, as a ledger does, and dies at a given call."""

    def __init__(self, path: Path, dies_at_row: int | None, dies_at_end: bool) -> None:
        super().__init__()
        self.path, self.dies_at_row, self.dies_at_end = path, dies_at_row, dies_at_end
        self.count, self.pending = 0, ""

    def row(self, member_id: str, step: int, metrics: Metrics) -> Verdict:
        self.pending += json.dumps([step, metrics]) + "\n"
        if self.count == self.dies_at_row:
            os._exit(KILLED)
        self.count += 1
        return GO_ON

    def flush(self) -> None:
        with self.path.open("a") as file:
            file.write(self.pending)
        self.pending = ""

    def ended(self, result: FitResult) -> None:
        if self.dies_at_end:
            os._exit(KILLED)
        self.flush()


def _train_until_killed(
    config: RunConfig, folder: Path, rows: Path, at_row: int | None, at_end: bool
) -> None:
    run(config, folder, FileReporter(rows, at_row, at_end))


def killed_run(
    config: RunConfig, folder: Path, rows: Path, *, at_row: int | None = None, at_end: bool = False
) -> bool:
    """Train in a process that dies at a row, or before it says how it ended; say if it died."""
    code = in_process(_train_until_killed, config, folder, rows, at_row, at_end)
    assert code in (0, KILLED)
    return code == KILLED


def in_process(target: Callable[..., None], *args: Any) -> int:
    """Call `target` in a process of its own and return its exit code."""
    context = multiprocessing.get_context("forkserver")
    # What each child would import again; torch.optim imports dynamo at its first step.
    context.set_forkserver_preload(
        ["trainer.loop", "trainer.engines.solo", "torch._dynamo", "pytest", "hypothesis"]
    )
    process = context.Process(target=target, args=args)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def read_rows(path: Path) -> Sequence[tuple[int, Metrics]]:
    """Return what a `FileReporter` made durable."""
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]

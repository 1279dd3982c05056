"""What an evaluation comes to: the values of each part, and the gates. Without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from trainer.config import EvaluationConfig

FORMAT = 1

GATES: Mapping[str, tuple[str, ...]] = {
    "max_bits_per_byte": ("likelihood", "val", "bits_per_byte"),
    "max_perplexity": ("likelihood", "val", "perplexity"),
    "min_accuracy": ("likelihood", "val", "accuracy"),
    "min_probe_accuracy": ("probes", "all", "accuracy"),
    "max_memorisation_gap": ("memorisation", "gap"),
}
"""Gate of `[evaluation]` to the part and the value that it judges."""


class NotApplicableError(Exception):
    """A part has nothing to measure on this task, model or text."""


class Status(StrEnum):
    """What became of a part."""

    DONE = "done"
    LEFT_OUT = "left out"  # the time budget or the memory ran out
    NOT_APPLICABLE = "does not apply"


@dataclass(frozen=True)
class Part:
    """One part of an evaluation.

    Args:
        name: A name in `trainer.evaluation.quick.PARTS`.
        status: Whether it was done; it is done whole or not at all.
        reason: Why it was not, in one sentence; empty where it was.
        values: What it measured; JSON-safe, empty where it was not done.
        seconds: Wall time spent on it.
    """

    name: str
    status: Status
    reason: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Gate:
    """One limit of `[evaluation]` and what was measured.

    Args:
        name: Its key in `[evaluation]`; `max_…` is an upper limit, `min_…` a lower one.
        value: What was measured; None where its part was not done.
        limit: The number in the config.
        passed: Whether the value keeps the limit; what was not measured does not.
    """

    name: str
    value: float | None
    limit: float
    passed: bool


@dataclass(frozen=True)
class Evaluation:
    """What the quick evaluation found.

    Args:
        checkpoint: Trial id, step and hash of the weights.
        setting: Task, device and precision it was computed in.
        parts: All parts, in their order.
        gates: Those that the config has.
        load_s: Seconds until the first part began.
    """

    checkpoint: dict[str, Any]
    setting: dict[str, Any]
    parts: tuple[Part, ...]
    gates: tuple[Gate, ...]
    load_s: float = 0.0

    @property
    def passed(self) -> bool:
        """True where no gate failed, also where there is none."""
        return all(gate.passed for gate in self.gates)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that strict JSON can hold; only `timing` differs between runs."""
        parts: dict[str, Any] = {}
        for part in self.parts:
            parts[part.name] = {"status": part.status.value}
            if part.reason:
                parts[part.name]["reason"] = part.reason
            if part.status is Status.DONE:
                parts[part.name]["values"] = finite(part.values)
        return {
            "format": FORMAT,
            "checkpoint": self.checkpoint,
            "setting": self.setting,
            "parts": parts,
            "gates": [
                {"name": g.name, "value": finite(g.value), "limit": g.limit, "passed": g.passed}
                for g in self.gates
            ],
            "passed": self.passed,
            "timing": {
                "load_s": round(self.load_s, 3),
                "parts_s": {part.name: round(part.seconds, 3) for part in self.parts},
            },
        }


def judge(config: EvaluationConfig, parts: tuple[Part, ...]) -> tuple[Gate, ...]:
    """Return every gate that the config has, judged."""
    values = {part.name: part.values for part in parts}
    gates = []
    for name, path in GATES.items():
        limit = getattr(config, name)
        if limit is None:
            continue
        found: Any = values
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        value = None if found is None else float(found)
        if value is None or math.isnan(value):
            passed = False
        else:
            passed = value <= limit if name.startswith("max_") else value >= limit
        gates.append(Gate(name, value, limit, passed))
    return tuple(gates)


def finite(value: Any) -> Any:
    """Return a value with None for each number in it that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value

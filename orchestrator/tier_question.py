"""Which tier a single run is executed under, asked of a person at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from orchestrator.errors import nearest
from orchestrator.fitting import PLACE
from orchestrator.hardware import Hardware
from orchestrator.shared_files import find
from trainer.config import TierConfig

LABELS = {
    "high_vram": "High VRAM tier",
    "low_vram": "Low VRAM tier",
    "datacenter": "Datacenter tier",
    "cpu": "CPU",
    "auto": "Auto",
}
"""In the order of their numbers, from 1."""


@dataclass(frozen=True)
class TierQuestion:
    """The question for one machine.

    Args:
        default: The tier that an empty answer means.
        reason: Why it is that.
        refusals: Why a tier cannot be used here, by its name.
    """

    default: str
    reason: str
    refusals: Mapping[str, str]

    @property
    def lines(self) -> list[str]:
        """The choices, then what of them is not available, and why."""
        numbers = {name: number for number, name in enumerate(LABELS, start=1)}
        lines = ["  ".join(f"[{numbers[name]}] {label}" for name, label in LABELS.items())]
        causes: dict[str, list[str]] = {}
        for name, why in self.refusals.items():
            causes.setdefault(why.removeprefix(f"tier {name} "), []).append(str(numbers[name]))
        for why, without in causes.items():
            lines.append(f"not available here: {', '.join(without)} ({why})")
        return lines

    @property
    def prompt(self) -> str:
        """The line on which the answer is typed."""
        number = [*LABELS].index(self.default) + 1
        return f"tier [{number}, {LABELS[self.default]}: {self.reason}]: "

    def read(self, answer: str) -> tuple[str | None, str]:
        """Return the tier that was meant, or None and why it cannot be."""
        word = answer.strip().lower()
        names = [*LABELS]
        if not word:
            return self.default, ""
        name = names[int(word) - 1] if word in map(str, range(1, len(names) + 1)) else word
        if name not in names:
            close = nearest(word, names)
            return None, f"got {answer.strip()!r}, expected 1 to {len(names)} or a name{close}"
        if name in self.refusals:
            return None, f"{self.refusals[name]}; {names.index(self.default) + 1} fits"
        return name, ""


def tier_question(hardware: Hardware) -> TierQuestion:
    """Return the question for a machine."""
    smallest = f"{min(hardware.gpus):.0f} GiB a GPU" if hardware.gpus else "no GPU is in use"
    refusals = {
        name: why
        for name in LABELS
        if name != "auto" and (why := hardware.refuse(named_tier(name))) is not None
    }
    return TierQuestion(hardware.best_tier(), smallest, refusals)


def is_settled(sources: Mapping[str, str], hardware: Hardware) -> bool:
    """Return whether a file or a group says already how a run is executed.

    Args:
        sources: Of a plan: dotted key to where its value came from.
        hardware: What the plan was made for.
    """
    automatic = {f"configs/tier/{hardware.best_tier()}.yaml", PLACE}
    return any(key.startswith("tier.") and place not in automatic for key, place in sources.items())


def named_tier(name: str) -> TierConfig:
    """Return the settings of a tier that ships."""
    path = find("configs") / "tier" / f"{name}.yaml"
    return TierConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))["tier"])

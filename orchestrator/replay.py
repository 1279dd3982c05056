"""One trial alone in this process: told row by row, ranked against nothing.

A trial of a sweep can be trained again from its first step and held against its rows in the
ledger: on the same machine they are the same bit for bit.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.automatic import misfits
from orchestrator.errors import Problem, UsageError
from orchestrator.hardware import Hardware
from orchestrator.layout import RunDirectory
from orchestrator.leaderboard.text import brief
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.lessons import STEPPED_DOWN
from orchestrator.provenance import made_with
from trainer.config import RunConfig, TierConfig
from trainer.errors import InputError, RanksLostError
from trainer.reporting import GO_ON, FitResult, Member, Reason, Verdict
from trainer.tasks import vocab_size

Row = tuple[int, dict[str, float]]
CLOCKED = ("perf/", "mem/")
"""Metrics that depend on the machine's clock and memory: they differ from run to run."""


@dataclass
class Comparison:
    """Rows held against those of the ledger.

    Args:
        expected: The ledger's, by step.
    """

    expected: dict[int, dict[str, float]]
    same: int = 0
    last_step: int = 0
    difference: str = ""

    def take(self, step: int, metrics: dict[str, float]) -> None:
        """Compare one row; a step that the ledger has not is passed over."""
        if self.difference or step not in self.expected:
            return
        there = _timeless(self.expected[step])
        here = _timeless(metrics)
        differing = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        if differing:
            name = differing[0]
            values = f"{_exact(here.get(name))} here, {_exact(there.get(name))} there"
            self.difference = f"step {step}: {name} is {values}"
        else:
            self.same, self.last_step = self.same + 1, step

    def verdict(self) -> str:
        """Return one sentence on how far the rows agree."""
        if not self.expected:
            return "the ledger has no row of this trial yet"
        if self.difference:
            before = f"; same up to step {self.last_step}" if self.same else ""
            return f"differs from the ledger first at {self.difference}{before}"
        if not self.same:
            return "no row is at a step of the ledger's: nothing could be compared"
        return f"same as the ledger up to step {self.last_step} ({self.same} rows, bit for bit)"


@dataclass
class Narrator:
    """Implements `trainer.Reporter`: tells each row in a line.

    Args:
        steps: Steps of the whole run.
        tell: Takes a line about a row.
        comparison: What the rows are held against, if anything.
    """

    steps: int
    tell: Callable[[str], None]
    comparison: Comparison = field(default_factory=lambda: Comparison({}))

    def started(self, member_id: str, step: int, note: str) -> None:
        """Nothing: it starts at step 0 in a new folder."""

    def row(self, member_id: str, step: int, metrics: dict[str, float]) -> Verdict:
        """Tell a row."""
        self.tell(f"step {step} of {self.steps}: {_in_words(metrics)}")
        self.comparison.take(step, metrics)
        return GO_ON

    def stepped_down(self, member_id: str, step: int, tier: TierConfig, detail: str) -> None:
        """Tell that it goes on under a lower tier."""
        self.tell(detail)

    def flush(self) -> None:
        """Nothing waits."""

    def ended(self, result: FitResult) -> None:
        """Tell how it ended, and what the finished model reached."""
        detail = f": {result.detail}" if result.detail else ""
        self.tell(f"{result.reason.value} at step {result.step}{detail}")
        if result.final:
            self.tell(_in_words(result.final))


def train_alone(
    trial_id: str,
    config: RunConfig,
    hardware: Hardware,
    narrator: Narrator,
    on_error: Callable[[Exception], None],
) -> FitResult:
    """Train one trial in a folder of its own, which is removed at the end.

    Args:
        trial_id: Its id.
        config: What to train.
        hardware: What may be used.
        narrator: Told each row.
        on_error: Told the exception that ends it, with the failing frames in its traceback.

    Raises:
        UsageError: Its tier does not fit on this machine.
    """
    refusal = hardware.refuse(config.tier)
    if refusal is not None:
        raise UsageError(Problem(refusal, f"trial {trial_id}", "tier=cpu trains on the CPU"))
    with contextlib.suppress(InputError):  # the task says what is wrong with its data
        problems = misfits([(trial_id, config, vocab_size(config))], hardware)
        if problems:
            raise UsageError(*problems)
    from trainer import fit

    with tempfile.TemporaryDirectory(prefix="arbiter-debug-") as scratch:
        member = Member(trial_id, config, Path(scratch))
        try:
            (result,) = fit([member], narrator, on_error=on_error)
        except RanksLostError as lost:
            result = FitResult(trial_id, Reason.INTERRUPTED, str(lost), 0, 0.0)
            narrator.ended(result)
    return result


def recorded(directory: RunDirectory, trial_id: str) -> tuple[TrialRecord, Sequence[Row]]:
    """Return a trial of a sweep and its rows."""
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        return ledger.trial(trial_id), ledger.rows(trial_id)


def stepped_down(directory: RunDirectory, trial_id: str) -> str:
    """Say where a trial of a sweep ran out of memory on its way; empty where it did not."""
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        events = ledger.events(kinds=(STEPPED_DOWN,))
    return "; ".join(event.detail for event in events if event.trial_id == trial_id)


def other_circumstances(directory: RunDirectory) -> str:
    """Say what of the machine and the libraries is not as it was when the sweep was made."""
    try:
        then = json.loads(directory.provenance.read_text(encoding="utf-8"))
        now = made_with()
        differing = [
            f"{name} {old} then, {new} now"
            for name, old, new in (
                ("platform", then["platform"], now["platform"]),
                ("python", then["python"], now["python"]),
                ("torch", then["libraries"]["torch"], now["libraries"]["torch"]),
                ("code version", then["code_version"], now["code_version"]),
            )
            if old != new
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return "its provenance.json cannot be read"
    return "; ".join(differing)


def _timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(CLOCKED)}


def _in_words(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {brief(value)}" for name, value in metrics.items())


def _exact(value: Any) -> str:
    return "missing" if value is None else repr(value)

"""In which order trials are started, how many cohorts at once, and what is tried again.

None of it decides a result. A sweep's ledger keeps it, so that a resume goes on in the same way.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.ledger import Event, TrialRecord
from trainer.reporting import Reason

RETRIED = "retried"
"""The event of a failed trial that waits again."""


@dataclass(frozen=True)
class Launch:
    """How the trials of a sweep are started.

    Args:
        most_cohorts: At once; None is as many as the machine has room for.
        retries: Times a failed trial is tried again.
        drawn_by: What the order is drawn by; None is the order of the plan.
    """

    most_cohorts: int | None = None
    retries: int = 0
    drawn_by: str | None = None

    @classmethod
    def of(cls, sweep: Mapping[str, Any]) -> Launch:
        """Return that of a sweep, as its ledger describes it."""
        settings = sweep.get("ablation")
        if settings is None:
            return cls()
        drawn_by = sweep["hash"] if settings["randomize_order"] else None
        return cls(settings["parallel_runs"], settings["retry_failed"], drawn_by)

    def ordered(self, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Return trials in the order in which they are started."""
        ordered = list(trials)
        if self.drawn_by is not None:
            random.Random(self.drawn_by).shuffle(ordered)
        return ordered

    def again(self, trials: Sequence[TrialRecord], events: Sequence[Event]) -> list[str]:
        """Return the ids of failed trials that are to be tried once more.

        What diverged or ran out of memory would do so again: only an error that is neither is
        worth another try.

        Args:
            trials: Of the ledger.
            events: Of the kind `RETRIED`.
        """
        tries = Counter(event.trial_id for event in events if event.kind == RETRIED)
        return [t.id for t in trials if t.reason is Reason.FAILED and tries[t.id] < self.retries]

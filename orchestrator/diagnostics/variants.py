"""The points of a run with their seeds, in the order and under the names of the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.leaderboard import rank
from orchestrator.leaderboard.table import short_names
from orchestrator.leaderboard.text import one_line, setting
from orchestrator.ledger import TrialRecord
from orchestrator.objective import Objective
from trainer.reporting import Reason

COLOURS = ("#4477aa", "#ee7733", "#228833", "#aa3377", "#33bbee", "#bbaa33", "#cc3311")
"""Of the first variants: told apart on light and dark paper and by colour-blind readers, after the
schemes of Paul Tol (SRON/EPS/TN/09-002). The others are grey."""
LONGEST_LABEL = 60
"""Characters of the settings beside a plot."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One point of the space with its seeds.

    Args:
        key: Names it on a page (`v0`); follows its place.
        settings: As the leaderboard has them.
        trials: Its seeds.
        baseline: Whether the others are compared with it.
        colour: Of its lines; None where it is one of the many in grey.
    """

    key: str
    settings: str
    trials: tuple[TrialRecord, ...]
    baseline: bool
    colour: str | None

    @property
    def name(self) -> str:
        """Its settings, and whether it is the baseline."""
        return f"{self.settings}{self._mark}"

    @property
    def label(self) -> str:
        """The name, short enough to stand beside a plot."""
        return f"{one_line(self.settings, LONGEST_LABEL)}{self._mark}"

    @property
    def _mark(self) -> str:
        return " (baseline)" if self.baseline else ""

    @property
    def finished(self) -> tuple[TrialRecord, ...]:
        """The seeds that were trained to the end: those that a mean is taken of."""
        return tuple(trial for trial in self.trials if trial.reason is Reason.FINISHED)


def variants_of(
    trials: Sequence[TrialRecord], objective: Objective, baseline: str | None = None
) -> list[Variant]:
    """Return the variants of a run: the ranked ones, best first, then the others.

    Args:
        trials: Of one run.
        objective: What they are ranked by.
        baseline: Id of the point that the others are compared with. It has a colour, whatever its
            rank.
    """
    entries = rank(trials, objective)
    by_id = {trial.id: trial for trial in trials}
    short = short_names(dict.fromkeys(axis for entry in entries for axis in entry.changed))
    shown = [n for n, entry in enumerate(entries) if entry.point_id == baseline]
    shown += [n for n in range(len(entries)) if n not in shown]
    colours = dict(zip(sorted(shown[: len(COLOURS)]), COLOURS, strict=False))
    found = []
    for n, entry in enumerate(entries):
        words = [f"{short[axis]} {setting(value)}" for axis, value in entry.changed.items()]
        found.append(
            Variant(
                key=f"v{n}",
                settings=one_line(", ".join(words), longest=None) or "the run",
                trials=tuple(by_id[trial_id] for trial_id in entry.trial_ids),
                baseline=entry.point_id == baseline,
                colour=colours.get(n),
            )
        )
    return found

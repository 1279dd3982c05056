"""The one definition of memorised, generalised and lost again.

A condition holds once `HOLD` evaluations in a row meet it; its step is the first of that streak,
so a lucky evaluation does not count and the hold does not delay the figure.

Where accuracy saturates (`AccuracyTracker`):
    memorised: accuracy on the train split is at least `MEMORISED`.
    generalised: accuracy on the validation split is at least `GENERALISED`.
Thresholds: 99 % train as in Nanda et al. 2023, 95 % validation as in Gromov 2023.

On text, where it never does (`LossTracker`):
    memorised: the mean training loss since the evaluation before is at least `GAP` below the
        validation loss; a model that reads a text once has no such gap.
    plateau: of a memorised run, while the lowest validation loss fell by less than `FLAT` since
        the run had half as many steps. The lowest loss is the lowest that `HOLD` evaluations in
        a row reached, and at least `PLATEAU` evaluations lie in that time. Its level is the
        lowest loss at its last evaluation, so a loss that rises meanwhile does not raise it.
    generalised: the validation loss is at least `FALL` below the level of the last plateau.
Time is measured by doublings, as grokking is: a loss that falls steadily by more than `FLAT` a
doubling has no plateau, one that falls by less never leaves it, and neither depends on how often
the run is evaluated.

Of spectra, which are judged by the density of a number, nothing is followed (`NoTracker`).

Delay is the step of generalised over the step of memorised. Lost again: a run that had generalised
has missed the condition for `HOLD` evaluations in a row; it may come back, and the step of
generalised stays the first. A streak that the end of a run cuts short does not count.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any

HOLD = 3
MEMORISED = 0.99
GENERALISED = 0.95
GAP = 0.2
FLAT = 0.01
PLATEAU = 5
FALL = 0.1

MEMORISED_STEP, GENERALISED_STEP = "grok/memorised_step", "grok/generalised_step"
DELAY, STATE = "grok/delay", "grok/state"
METRICS = (MEMORISED_STEP, GENERALISED_STEP, DELAY)
"""What a run reports once it is known, and a sweep can be judged by: times until something happens,
which a run that ends before it does not know."""
MEAN_LOSS = "train/mean_loss"
"""Mean training loss in nats since the evaluation before, of the steps that were done; what text is memorised by."""


class GrokState(IntEnum):
    """The values of `grok/state`."""

    NONE = 0
    MEMORISED = 1
    GENERALISED = 2  # whether or not the train metric saturated before
    LOST = 3  # generalised, and lost again

    def __str__(self) -> str:
        return "lost again" if self is GrokState.LOST else self.name.lower()


@dataclass
class Streak:
    """Consecutive evaluations that meet a condition.

    Args:
        first_step: Step of the first of them; None while the last evaluation missed it.
        length: How many they are.
        misses: Consecutive evaluations that missed it since.
        reached_step: First step of the first streak of `HOLD`; stays.
        holds: Whether it holds: since a streak of `HOLD`, until as many misses.
    """

    first_step: int | None = None
    length: int = 0
    misses: int = 0
    reached_step: int | None = None
    holds: bool = False

    def update(self, step: int, met: bool) -> None:
        """Take the evaluation of `step`."""
        if not met:
            self.first_step, self.length, self.misses = None, 0, self.misses + 1
            self.holds = self.holds and self.misses < HOLD
            return
        self.first_step = step if self.first_step is None else self.first_step
        self.length, self.misses = self.length + 1, 0
        if self.length >= HOLD:
            self.holds = True
            if self.reached_step is None:
                self.reached_step = self.first_step


class AccuracyTracker:
    """Follow the accuracies of one run on its train and validation split."""

    def __init__(self) -> None:
        self.memorised, self.generalised = Streak(), Streak()

    def update(self, step: int, metrics: dict[str, float]) -> dict[str, float]:
        """Take an evaluation; return the `grok/…` metrics that are known by now.

        Args:
            step: Optimizer steps done, at least 1 and rising.
            metrics: What the evaluation reports.
        """
        self.memorised.update(step, self._memorises(metrics))
        self.generalised.update(step, self._generalises(step, metrics))
        return self._metrics()

    def _memorises(self, metrics: dict[str, float]) -> bool:
        return metrics["train/accuracy"] >= MEMORISED

    def _generalises(self, step: int, metrics: dict[str, float]) -> bool:
        return metrics["val/accuracy"] >= GENERALISED

    @property
    def state(self) -> GrokState:
        """Where the run is."""
        if self.generalised.reached_step is not None:
            return GrokState.GENERALISED if self.generalised.holds else GrokState.LOST
        return GrokState.NONE if self.memorised.reached_step is None else GrokState.MEMORISED

    def _metrics(self) -> dict[str, float]:
        memorised, generalised = self.memorised.reached_step, self.generalised.reached_step
        found = {STATE: float(self.state)}
        if memorised is not None:
            found[MEMORISED_STEP] = float(memorised)
        if generalised is not None:
            found[GENERALISED_STEP] = float(generalised)
        if memorised is not None and generalised is not None:
            found[DELAY] = generalised / memorised
        return found

    def export(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as plain values."""
        return {"memorised": asdict(self.memorised), "generalised": asdict(self.generalised)}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `export` returned, or an earlier version's state, which had less."""
        self.memorised = _streak(state["memorised"])
        self.generalised = _streak(state["generalised"])


class LossTracker(AccuracyTracker):
    """Follow the training and validation loss of one run on text."""

    def __init__(self) -> None:
        super().__init__()
        self._last: list[float] = []  # validation losses of the last `HOLD` evaluations
        self._lowest: list[tuple[int, float]] = []  # (step, lowest loss) since half as many steps
        self._level: float | None = None

    def _memorises(self, metrics: dict[str, float]) -> bool:
        return metrics.get(MEAN_LOSS, math.inf) <= (1 - GAP) * metrics["val/loss"]

    def _generalises(self, step: int, metrics: dict[str, float]) -> bool:
        loss = metrics["val/loss"]
        if self.generalised.reached_step is None:
            self._look_for_plateau(step, loss)
        return self._level is not None and loss <= (1 - FALL) * self._level

    def _look_for_plateau(self, step: int, loss: float) -> None:
        self._last = [*self._last, loss][-HOLD:]
        if len(self._last) < HOLD:
            return
        lowest = max(self._last)
        if self._lowest:
            lowest = min(lowest, self._lowest[-1][1])
        self._lowest.append((step, lowest))
        while len(self._lowest) > 1 and 2 * self._lowest[1][0] <= step:
            del self._lowest[0]
        (then, before), *since = self._lowest
        long_enough = 2 * then <= step and len(since) >= PLATEAU
        flat = long_enough and lowest > (1 - FLAT) * before
        if flat and self.memorised.reached_step is not None:
            self._level = lowest

    def export(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as plain values."""
        own = {"last": self._last, "lowest": self._lowest, "level": self._level}
        return super().export() | own

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `export` returned, or an earlier version's state, which had less."""
        super().restore(state)
        self._last = list(state.get("last", []))
        self._lowest = [(step, loss) for step, loss in state.get("lowest", [])]
        self._level = state.get("level")


class NoTracker(AccuracyTracker):
    """Follow nothing: a density, whose loss may be negative, has none of these thresholds."""

    def update(self, step: int, metrics: dict[str, float]) -> dict[str, float]:
        """Return nothing."""
        return {}


def make_tracker(saturates: bool, reported: Collection[str] = METRICS) -> AccuracyTracker:
    """Return the tracker of a task.

    Args:
        saturates: Whether its accuracies can reach 1.
        reported: Names of what its evaluations report; without `METRICS` nothing is followed.
    """
    if not {*METRICS} <= {*reported}:
        return NoTracker()
    return AccuracyTracker() if saturates else LossTracker()


def lower_bound(metric: str, final: dict[str, float], step: int) -> float | None:
    """Return what one of `METRICS` is known to exceed for a run that ended without it.

    Args:
        metric: One of `METRICS`.
        final: The last metrics of the run.
        step: The last step at which a streak that began would have been told.

    Returns:
        None where nothing is known: the run was not followed, as text was not by an earlier
        version, or for a delay, which begins with memorisation, it did not memorise.
    """
    if STATE not in final and "train/accuracy" not in final:
        return None
    if metric != DELAY:
        return float(step)
    if MEMORISED_STEP not in final or GENERALISED_STEP in final:
        return None
    return step / final[MEMORISED_STEP]


def in_words(metrics: dict[str, float]) -> str:
    """Return `generalised: memorised at step 100, generalised at step 500, delay 5`; or "".

    Args:
        metrics: The last metrics of a run.
    """
    state = GrokState(int(metrics.get(STATE, 0)))
    if state is GrokState.NONE:
        return ""
    said = [
        f"{what} at step {metrics[name]:.0f}"
        for what, name in (("memorised", MEMORISED_STEP), ("generalised", GENERALISED_STEP))
        if name in metrics
    ]
    if DELAY in metrics:
        said.append(f"delay {metrics[DELAY]:.3g}")
    return f"{state}: {', '.join(said)}"


def _streak(state: dict[str, Any]) -> Streak:
    known = {field.name for field in fields(Streak)}
    streak = Streak(**{name: value for name, value in state.items() if name in known})
    if "holds" not in state:
        streak.holds = streak.reached_step is not None
    return streak

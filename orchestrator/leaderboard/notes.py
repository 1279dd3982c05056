"""What a reader of a leaderboard must know in order to believe it, or not to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.leaderboard.chance import chance_of_gap
from orchestrator.leaderboard.ranking import Entry
from orchestrator.leaderboard.survival import log_rank
from orchestrator.leaderboard.text import entry_figure, figure, number
from orchestrator.ledger import TrialRecord
from orchestrator.objective import Objective
from trainer.grokking import STATE, GrokState


@dataclass(frozen=True)
class Verdict:
    """Whether first and second can be told apart, and the note that says it."""

    told_apart: bool
    note: str


SELDOM = 0.05
"""Chance below which first and second are told apart."""

ONE_SEED = "One seed per point: the ranking has no measure of chance."
VAL_LOSS = "val/loss"
SOME_ONE_SEED = "Some points have one seed: their place has no measure of chance."


def notes(
    entries: Sequence[Entry],
    verdict: Verdict | None,
    trials: Sequence[TrialRecord],
    objective: Objective,
) -> Iterable[str]:
    """Yield sentences, those on the ranking first.

    Args:
        entries: The points, ranked ones first.
        verdict: On ranks 1 and 2.
        trials: All trials of the sweep.
        objective: What it was ranked by.
    """
    ranked = [entry for entry in entries if entry.rank is not None]
    metric, test_metric = objective.metric, objective.test_metric
    said = [verdict.note] if verdict is not None else []
    several = len(entries) > 1  # of one point there is no order, and none was chosen
    if several and all(entry.n_seeds == 1 for entry in entries):
        said.append(ONE_SEED)
    elif several and any(entry.n_seeds == 1 for entry in ranked):
        said.append(SOME_ONE_SEED)
    yield from dict.fromkeys(said)
    if several and ranked and test_metric is not None:
        if ranked[0].test is None:
            yield f"The best point was chosen by {metric}; it did not report {test_metric}."
        else:
            yield (
                f"The best point was chosen by {metric}; its {test_metric} is"
                f" {figure(ranked[0].test, ranked[0].test_spread, objective)}. That of the others"
                " is not shown: choosing by it would make it a second validation metric."
            )
    yield from _censored(entries, trials, objective)
    if not ranked:
        yield f"No point is ranked: none has all its seeds finished with a finite {metric}."
    elif len(ranked) < len(entries):
        left = len(entries) - len(ranked)
        yield (
            f"{left} of {len(entries)} points {'is' if left == 1 else 'are'} not ranked: a point"
            f" is ranked when all its seeds finished with a finite {metric}."
        )
    yield from _baselines(trials, objective)


def verdict_on(entries: Sequence[Entry], objective: Objective) -> Verdict | None:
    """Return whether first and second can be told apart; None where fewer than two are ranked."""
    ranked = [entry for entry in entries if entry.rank is not None]
    alone = all(entry.n_seeds == 1 for entry in entries)
    if len(ranked) < 2:
        return None
    first, second = ranked[0], ranked[1]
    shared = sum(entry.rank == 1 for entry in ranked)
    if shared > 1:
        note = f"{shared} points share rank 1; the first of them in the plan is listed first."
        return Verdict(False, note)
    if first.n_seeds == 1 or second.n_seeds == 1:
        return Verdict(False, ONE_SEED if alone else SOME_ONE_SEED)
    if objective.event:
        chance = log_rank(first.observations, second.observations)
    else:
        a, b = ([v for v in entry.seed_values if v is not None] for entry in (first, second))
        chance = chance_of_gap(a, b, median=objective.statistic == "median")
    often = "fewer than 1" if chance.share < 0.01 else f"about {round(100 * chance.share)}"
    if first.value is not None and second.value is not None:
        gap = f"Ranks 1 and 2 are {number(abs(first.value - second.value))} apart"
    else:
        one, other = (entry_figure(entry, objective) for entry in (first, second))
        gap = f"Ranks 1 and 2 are at {one} and {other}"
    note = (
        f"{gap}; chance alone makes two points that are alike differ as much in {often} of 100"
        f" sweeps ({chance.test})"
    )
    if chance.share >= SELDOM:
        return Verdict(False, f"{note}: it takes more seeds to tell them apart.")
    return Verdict(True, f"{note}.")


def _censored(
    entries: Sequence[Entry], trials: Sequence[TrialRecord], objective: Objective
) -> Iterable[str]:
    if not objective.event:
        return
    if n := sum(entry.n_censored for entry in entries):
        who = "1 run" if n == 1 else f"{n} runs"
        yield (
            f"{who} of {len(trials)} ended before {objective.metric} was reached: censored, that is"
            " counted as longer than it was watched, and as no number."
        )
    lost = sum(trial.final.get(STATE) == GrokState.LOST for trial in trials)
    if lost:
        yield f"{lost} of {len(trials)} runs had generalised and lost it again by their end."


def _baselines(trials: Sequence[TrialRecord], objective: Objective) -> Iterable[str]:
    spectra = [t for t in trials if t.config.get("data", {}).get("task") == "ariel"]
    if spectra:
        yield from _physical_baseline(spectra)
    trials = [trial for trial in trials if trial not in spectra]
    found: dict[str, list[tuple[float, float | None]]] = {}
    for trial in trials:
        for name, value in trial.final.items():
            if name.startswith("baseline/") and math.isfinite(value):
                found.setdefault(name, []).append((value, trial.final.get(VAL_LOSS)))
    for name, pairs in sorted(found.items()):
        values = [value for value, _ in pairs]
        low, high = f"{min(values):.4g}", f"{max(values):.4g}"
        span = low if low == high else f"{low} to {high}, depending on the point"
        said = f"{name} {span}: what is reached without a look at the input."
        losses = objective.metric == VAL_LOSS and name.endswith("_loss")
        if losses and all(loss is not None and loss >= value for value, loss in pairs):
            said += f" No {VAL_LOSS} is below it."
        yield said


def _physical_baseline(trials: Sequence[TrialRecord]) -> Iterable[str]:
    """Say what the fit of the transit alone reaches, where a network was trained to better it."""
    figures = []
    for name in ("score", "rmse_ppm", "coverage"):
        values = [t.final[f"baseline/{name}"] for t in trials if f"baseline/{name}" in t.final]
        if values and all(map(math.isfinite, values)):
            low, high = f"{min(values):.4g}", f"{max(values):.4g}"
            figures.append(f"{name} {low}" + ("" if low == high else f" to {high}"))
    if figures:
        split = (
            " (by the seed, which splits the planets)" if any("to" in f for f in figures) else ""
        )
        yield (
            f"The physical baseline, a fit of the transit without a network, has on the test"
            f" planets: {', '.join(figures)}{split}."
        )

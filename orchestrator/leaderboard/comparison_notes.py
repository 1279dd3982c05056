"""What a reader of differences to a baseline must know in order to believe them, or not to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.leaderboard.paired import CONFIDENCE, SIGNIFICANT, Judgement, Paired
from orchestrator.leaderboard.ranking import Entry
from orchestrator.leaderboard.text import one_line, setting
from orchestrator.leaderboard.variant import MOST_AXES
from orchestrator.objective import Objective


def comparison_notes(
    found: Mapping[str, Paired], entries: Sequence[Entry], baseline: str, objective: Objective
) -> Iterable[str]:
    """Yield sentences on how the points of a sweep were compared with the baseline.

    Args:
        found: From `paired`.
        entries: The points, ranked ones first.
        baseline: Its point id.
        objective: What they were ranked by.
    """
    base = next((entry for entry in entries if entry.point_id == baseline), None)
    if objective.event:
        yield (
            f"Nothing is compared with the baseline: {objective.metric} may be later than a run is"
            " watched, which leaves no difference to take the mean of."
        )
    elif base is None or base.rank is None:
        yield "Nothing is compared with the baseline: it has not all its seeds finished."
    else:
        yield from _on_differences(found, entries, base, objective.metric)


def _on_differences(
    found: Mapping[str, Paired], entries: Sequence[Entry], base: Entry, metric: str
) -> Iterable[str]:
    variants = len(entries) - 1
    compared = len(found) - 1
    named = f"rank {base.rank}"
    if 0 < len(base.changed) <= MOST_AXES:
        values = ", ".join(f"{key} {setting(value)}" for key, value in base.changed.items())
        named = f"{one_line(values)}, {named}"
    baseline = f"the baseline ({named})"
    if base.n_seeds == 1:
        yield (
            f"Differences are to {baseline}. One seed: they have no interval, and chance alone may"
            " explain each of them; ablation.seeds=3 trains more."
        )
    else:
        tested = sum(one.p is not None for one in found.values())
        yield (
            f"Differences are to {baseline}: the mean over {base.n_seeds} seeds, each compared with"
            f" the same seed. Intervals hold {CONFIDENCE:.0%} for each variant alone (Student's t);"
            f" p is of paired t-tests, two-sided, corrected for {_counted(tested)} by Holm's"
            f" method: better or worse below {SIGNIFICANT:g}, else not separable."
        )
        yield _summary(Counter(one.judgement for one in found.values()), compared)
    same = sum(one.judgement is Judgement.SAME for one in found.values())
    if same:
        yield (
            f"{_counted(same)} {'has' if same == 1 else 'have'} the {metric} of the baseline in"
            " every seed: what was changed made no difference to it."
        )
    if compared < variants:
        lost = variants - compared
        yield (
            f"{_counted(lost)} {'is' if lost == 1 else 'are'} not compared: a variant is compared"
            " when all seeds of the baseline finished for it too."
        )


def _summary(judged: Counter[Judgement], compared: int) -> str:
    better, worse = judged[Judgement.BETTER], judged[Judgement.WORSE]
    if not better and not worse:
        return "No variant can be told apart from the baseline."
    return f"Of {_counted(compared)}, {better} better and {worse} worse than the baseline."


def _counted(n: int) -> str:
    return f"{n} variant{'' if n == 1 else 's'}"

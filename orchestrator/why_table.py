"""What a trial is, for a terminal or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tabulate import tabulate

from orchestrator.leaderboard.table import settings_of
from orchestrator.leaderboard.text import setting
from orchestrator.why import CODE, DATA, Explanation, Known, Neighbour

FORMATS = ("table", "json")
WHOLE_SECTIONS = ("checkpoint", "evaluation", "limits", "logging", "tier")


def render_why(explanation: Explanation, output: str) -> str:
    """Return an explanation in one of `FORMATS`."""
    return _json(explanation) if output == "json" else _table(explanation)


def _table(explanation: Explanation) -> str:
    trial = explanation.trial
    record = trial.record
    what = settings_of(record.changed, record.seed)
    parts = [f"trial {record.id} of {trial.run}: {what}, {record.label}"]
    rows = [[key, _value(key, trial)] for key in trial.decides]
    parts.append(tabulate(rows, headers=["its id depends on", "value"], disable_numparse=True))
    single = [key for key in explanation.free if key.partition(".")[0] not in WHOLE_SECTIONS]
    free = [*(f"{section}.*" for section in WHOLE_SECTIONS), *single]
    parts.append(f"not on {', '.join(free)}")
    parts += _what_made_it_new(explanation)
    return "\n\n".join(parts)


def _what_made_it_new(explanation: Explanation) -> Iterator[str]:
    trial, elsewhere, before = explanation.trial, explanation.elsewhere, explanation.before
    if explanation.twins:
        twin = explanation.twins[0]
        yield f"not new: {twin.run} has the same trial ({twin.record.label})"
        return
    if elsewhere is not None:
        yield _neighbour("the nearest of earlier runs", elsewhere, trial)
    if before is not None and (
        elsewhere is None or len(before.differences) < len(elsewhere.differences)
    ):
        yield _neighbour("the nearest before it in its run", before, trial)
    if elsewhere is None and before is None:
        yield "the first trial there is: nothing earlier to differ from"


def _neighbour(what: str, neighbour: Neighbour, now: Known) -> str:
    of = f"{neighbour.trial.record.id} of {neighbour.trial.run}"
    rows = [[key, _value(key, neighbour.trial), _value(key, now)] for key in neighbour.differences]
    table = tabulate(rows, headers=["what differs", "there", "here"], disable_numparse=True)
    return f"{what}: {of}\n\n{table}"


def _value(key: str, trial: Known) -> str:
    """Return a value of the id; empty where this kind of run has no such setting."""
    if key not in trial.decides:
        return ""
    value = trial.decides[key]
    return "unknown" if value is None and key in (DATA, CODE) else setting(value)


def _json(explanation: Explanation) -> str:
    def neighbour(found: Neighbour | None) -> dict[str, Any] | None:
        if found is None:
            return None
        differences = {
            key: {"there": old, "here": new} for key, (old, new) in found.differences.items()
        }
        return {**_named(found.trial), "differences": differences}

    record = explanation.trial.record
    document = {
        **_named(explanation.trial),
        "point": record.point_id,
        "seed": record.seed,
        "changed": record.changed,
        "depends_on": explanation.trial.decides,
        "does_not_depend_on": explanation.free,
        "same_in": [_named(twin) for twin in explanation.twins],
        "nearest_of_earlier_runs": neighbour(explanation.elsewhere),
        "nearest_before_it": neighbour(explanation.before),
    }
    return json.dumps(document, indent=1, allow_nan=False)


def _named(trial: Known) -> dict[str, str]:
    return {"trial": trial.record.id, "run": trial.run, "state": trial.record.label}

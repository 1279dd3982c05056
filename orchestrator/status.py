"""How far each trial of a sweep is: the live table's figures, once, as a table or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from orchestrator.layout import Writer
from orchestrator.leaderboard.text import plain
from orchestrator.progress import Progress, Track
from orchestrator.progress_table import UNLIMITED, last, lines
from orchestrator.progress_table import plain as as_text

FORMATS = ("table", "json")


def render_status(
    progress: Progress,
    output: str,
    writer: Writer | None,
    width: int | None = None,
    *,
    ascii_only: bool = False,
) -> str:
    """Return the status in one of `FORMATS`.

    Args:
        progress: The sweep.
        output: The format.
        writer: The process that trains it; None where there is none.
        width: Columns of the reader's terminal; None where a line may be of any length.
        ascii_only: Whether the reader can show nothing but ASCII.
    """
    if output == "json":
        return json.dumps(_document(progress, writer), indent=1, allow_nan=False) + "\n"
    tracks = list(progress.tracks.values())
    found = lines(progress, tracks, width or UNLIMITED, ascii_only=ascii_only, details=True)
    return "\n".join(map(as_text, found)) + "\n"


def _document(progress: Progress, writer: Writer | None) -> dict[str, Any]:
    best = progress.best
    return {
        "name": progress.name,
        "objective": {"metric": progress.objective.metric, "mode": progress.objective.mode},
        "writer": asdict(writer) if writer is not None else None,
        "planned": progress.planned,
        "done": progress.done,
        "counts": progress.counts,
        "elapsed_s": progress.elapsed_s,
        "eta_s": progress.eta_s,
        "best_trial": best.id if best is not None else None,
        "trials": [_trial(progress, track) for track in progress.tracks.values()],
    }


def _trial(progress: Progress, track: Track) -> dict[str, Any]:
    found = track.curve(progress.objective)
    return {
        "id": track.id,
        "changed": plain(track.changed),
        "seed": track.seed,
        "state": track.state.value,
        "reason": track.reason.value if track.reason is not None else None,
        "detail": track.detail,
        "step": track.step,
        "steps": track.steps,
        "last": last(track, progress.objective.metric),
        "best": track.best,
        "time_s": track.time_s(progress.at),
        "curve_metric": found[0] if found is not None else None,
        "curve": found[1].values if found is not None else [],
    }

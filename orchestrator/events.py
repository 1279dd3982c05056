"""`events.jsonl`: what happened, one JSON object a line, derived from the ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.layout import write_whole
from orchestrator.ledger import Event


def to_line(event: Event) -> str:
    """Return one event as a line of strict JSON."""
    at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
    fields = {"seq": event.seq, "at": at, "kind": event.kind}
    if event.trial_id is not None:
        fields["trial_id"] = event.trial_id
    if event.detail:
        fields["detail"] = event.detail
    return json.dumps(fields, allow_nan=False) + "\n"


def write_events(path: Path, events: Sequence[Event]) -> None:
    """Write the file anew: a line that a crash cut short is mended by the next start."""
    write_whole(path, "".join(to_line(event) for event in events))


def append_events(path: Path, events: Sequence[Event]) -> None:
    """Append events that came since."""
    if events:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(to_line(event) for event in events))

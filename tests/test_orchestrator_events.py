"""`events.jsonl`: strict JSON, one line an event."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.events import append_events, to_line, write_events
from orchestrator.ledger import Event

EVENTS = st.builds(
    Event,
    seq=st.integers(1, 10**9),
    at=st.floats(0, 4e9),
    kind=st.sampled_from(["started", "ended"]),
    trial_id=st.none() | st.just("abc"),
    detail=st.text(),
)


@given(event=EVENTS)
def test_an_event_is_one_line_that_reads_back(event: Event) -> None:
    line = to_line(event)
    assert line.count("\n") == 1 and line.isascii()
    fields = json.loads(line)
    assert (fields["seq"], fields["kind"]) == (event.seq, event.kind)
    assert fields.get("trial_id") == event.trial_id
    assert fields.get("detail", "") == event.detail
    at = datetime.fromisoformat(fields["at"])
    assert at.utcoffset() is not None
    assert abs(at.timestamp() - event.at) < 0.002


def test_the_file_is_written_anew_and_then_grows(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"seq": 1, "a line that a crash cut sho')
    first, second = (Event(seq, 0.0, "ended", "t", "") for seq in (1, 2))
    write_events(path, [first])
    append_events(path, [second])
    append_events(path, [])
    assert path.read_text() == to_line(first) + to_line(second)
    assert [p.name for p in tmp_path.iterdir()] == ["events.jsonl"]

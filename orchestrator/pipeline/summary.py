"""How a pipeline ended, in a few lines."""

from __future__ import annotations

from orchestrator.leaderboard.text import number, one_line
from orchestrator.pipeline.report import report_cards
from orchestrator.pipeline.stages import Outcome


def summary(outcome: Outcome) -> str:
    """Return the figures at the top of the report, one a line."""
    lines = []
    for card in report_cards(outcome.directory, outcome.record):
        below = f" ({card.below})" if card.below else ""
        lines.append(one_line(f"{card.title}: {card.figure}{below}"))
    for gate in (outcome.final or {}).get("gates", []):
        mark = "passed" if gate["passed"] else "FAILED"
        lines.append(one_line(f"  {mark} {gate['name']}: {_said(gate['value'])}"))
    return "\n".join(lines)


def _said(value: float | None) -> str:
    return "not measured" if value is None else number(value)

"""A section of `logs/v50_debug_log.md`: one command, for a person who asks what happened."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import Exit

if TYPE_CHECKING:
    from orchestrator.journal.run import Run

FIRST_LINES, LAST_LINES = 200, 400
"""Lines of what was said that are kept: the beginning and the end."""

MEANINGS = {
    Exit.OK: "ok",
    Exit.BUG: "a bug in the program",
    Exit.USAGE: "refused: nothing was trained or written",
    Exit.FAILED_TRIALS: "some trials failed",
    Exit.STORAGE: "the disk, or a damaged file",
    Exit.LOCKED: "another process writes to the run",
    Exit.INTERRUPTED: "stopped by a limit or a signal; it can be resumed",
    Exit.SECOND_INTERRUPT: "interrupted",
}


class Said:
    """What was said, its beginning and its end where it was much."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._last: list[str] = []
        self._left_out = 0

    def add(self, text: str) -> None:
        """Keep the lines of a text."""
        for line in text.rstrip("\n").split("\n"):
            if len(self._first) < FIRST_LINES:
                self._first.append(line)
                continue
            self._last.append(line)
            if len(self._last) > 2 * LAST_LINES:
                self._left_out += len(self._last) - LAST_LINES
                del self._last[:-LAST_LINES]

    def lines(self) -> list[str]:
        """Return what was kept, and how much was not."""
        over = max(0, len(self._last) - LAST_LINES)
        left_out = self._left_out + over
        gap = [f"… {left_out:,} lines left out …"] if left_out else []
        return [*self._first, *gap, *self._last[over:]]


@dataclass(frozen=True)
class Section:
    """One command, when it is over.

    Args:
        invocation: What names this one call in all three files.
        command: As typed, secrets masked.
        folder: In which it was typed.
        started_at: ISO 8601, UTC.
        duration_s: Seconds from its start to its end.
        exit_code: Of the process.
        runs: What was trained or read.
        said: Lines, secrets masked.
    """

    invocation: str
    command: str
    folder: str
    started_at: str
    duration_s: float
    exit_code: int
    runs: Sequence[Run]
    said: Sequence[str]

    def to_markdown(self) -> str:
        """Return it as Markdown; what was typed and said stands in code blocks only."""
        meaning = MEANINGS.get(Exit(self.exit_code)) if self.exit_code in [*Exit] else None
        ended = f"exit code {self.exit_code}" + (f" ({meaning})" if meaning else "")
        facts = [
            f"- invocation: {self.invocation}",
            f"- ended: {ended} after {self.duration_s:.1f} s",
        ]
        for run in self.runs:
            facts += [
                f"- run: {_code(str(run.directory.path))}",
                f"- config hash: {run.config_hash}",
                f"- data hash: {run.data_hash}",
            ]
        typed = _fenced("console", [f"{self.folder}$ {self.command}"])
        said = _fenced("text", self.said) if self.said else ["Nothing was said."]
        named = re.match(r"[a-z]+( [a-z]+)?(?![^ ])", self.command)  # the program and the command
        title = f"## {self.started_at}{f' {named.group()}' if named else ''}"
        parts = [[title], typed, facts, said]
        return "\n".join("\n".join(part) + "\n" for part in parts) + "\n"


def _code(text: str) -> str:
    """Return text as inline code, whatever is in it."""
    marks = "`" * (_longest_run([text]) + 1)
    return f"{marks} {text} {marks}" if "`" in text else f"`{text}`"


def _fenced(kind: str, lines: Sequence[str]) -> list[str]:
    """Return lines as a code block that nothing in them can end."""
    fence = "`" * max(3, _longest_run(lines) + 1)
    return [f"{fence}{kind}", *lines, fence]


def _longest_run(lines: Iterable[str]) -> int:
    return max((len(marks) for line in lines for marks in re.findall("`+", line)), default=0)

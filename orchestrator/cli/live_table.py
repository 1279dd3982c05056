"""The progress of a sweep on a terminal: drawn again in place about once a second."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.style import Style as RichStyle
from rich.text import Text

from orchestrator.progress_table import Line, Style, lines, plain

if TYPE_CHECKING:
    from orchestrator.progress import Progress, Track

FRAME_LINES = 5
"""What is not a trial: two lines of summary, an empty one, the headings, the rest."""

STYLES = {
    Style.PLAIN: None,
    Style.FAINT: RichStyle(dim=True),
    Style.STRONG: RichStyle(bold=True),
    Style.GOOD: RichStyle(color="green"),
    Style.BAD: RichStyle(color="red"),
    Style.BUSY: RichStyle(color="cyan"),
}


class LiveTable:
    """Implements `orchestrator.watch.Audience`. Use as a context manager.

    It draws when it is shown something and has no thread of its own. The cursor stays visible:
    a process that is killed leaves a terminal that is as it was. A terminal that is closed ends
    no sweep.

    Args:
        terminal: Where to draw.
        ascii_only: Whether it can show nothing but ASCII.
    """

    def __init__(self, terminal: TextIO, *, ascii_only: bool = False) -> None:
        self._console = Console(file=terminal, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            vertical_overflow="crop",
        )
        self._ascii_only = ascii_only
        self._drawn: list[Line] = []
        self._terminal = terminal
        self._width = 0
        self._measure()

    def __enter__(self) -> LiveTable:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._live.stop()

    def looks_at(self, progress: Progress) -> Sequence[Track]:
        """Return the trials that the terminal has lines for."""
        return progress.select(max(1, self._console.height - FRAME_LINES - 1))

    def show(self, progress: Progress) -> None:
        """Draw the sweep as it stands."""
        self._measure()
        width = max(20, self._console.width - 1)  # the last column is where terminals wrap
        self._drawn = lines(progress, self.looks_at(progress), width, ascii_only=self._ascii_only)
        with contextlib.suppress(OSError):
            if not self._live.is_started:
                self._live.start()
                self._console.show_cursor(True)
            self._live.update(Frame(self._drawn), refresh=True)

    def say(self, text: str) -> None:
        """Print a line above the table."""
        with contextlib.suppress(OSError):
            self._console.print(Text(text), soft_wrap=True)

    def _measure(self) -> None:
        """Take the terminal's size, and go up by the lines that a narrower one has wrapped."""
        with contextlib.suppress(OSError):
            self._console.size = os.get_terminal_size(self._terminal.fileno())
        width = self._console.width
        if width < self._width:
            lengths = [cell_len(plain(line)) for line in self._drawn]
            wrapped = sum(max(0, math.ceil(length / width) - 1) for length in lengths)
            up = (ControlType.CURSOR_UP, 1)
            for _ in range(wrapped):
                clear = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), up)
                with contextlib.suppress(OSError):
                    self._console.control(clear)
        self._width = width


@dataclass(frozen=True)
class Frame:
    """Lines as Rich draws them, without its layout: they fit already."""

    drawn: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.drawn:
            for span in line:
                yield Segment(span.text, STYLES[span.style])
            yield Segment.line()

"""What is told of a command while it is carried out; loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orchestrator.journal.run import Run


class Record(Protocol):
    """What is told of a command while it is carried out."""

    def begin(self) -> None:
        """The command was understood, and is about to be carried out."""

    def heard(self, text: str) -> None:
        """A person was told something, or data were printed."""

    def works_on(self, run: Callable[[], Run]) -> None:
        """It trains or reads a run; `run` returns it, and is called where that is written down."""

    def end(self, exit_code: int) -> None:
        """It is over; of a command that never began nothing is kept."""


class NoJournal:
    """Implements `Record` where none is kept."""

    def begin(self) -> None:
        pass

    def heard(self, text: str) -> None:
        pass

    def works_on(self, run: Callable[[], Run]) -> None:
        pass

    def end(self, exit_code: int) -> None:
        pass

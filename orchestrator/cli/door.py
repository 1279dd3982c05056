"""Which door of the program was taken: `arbiter` or `spectramind`.

Both open on the same commands. A door has a name, the task that is meant where none is named, and
a journal of its commands, or none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from orchestrator.journal.record import NoJournal, Record

FIRST = "arbiter"
"""What the program is called in all that other rooms say."""


@dataclass(frozen=True)
class Door:
    """One of the names of the program.

    Args:
        name: As it is typed.
        commands: The commands behind it.
        task: The option of the group `task` where nothing that was typed or read names one.
        journal: Is told of each command.
    """

    name: str = FIRST
    commands: frozenset[str] = frozenset()
    task: str | None = None
    journal: Record = field(default_factory=NoJournal)

    def spoken(self, text: str) -> str:
        """Return a text with the commands in it as they are typed at this door."""
        if self.name == FIRST or not self.commands:
            return text
        names = "|".join(map(re.escape, sorted(self.commands)))
        return re.sub(rf"(?<![\w./-]){FIRST} (?=(?:{names})(?![\w-]))", f"{self.name} ", text)


_taken = Door()


def enter(door: Door) -> None:
    """Take a door; from then on it is `here()`."""
    global _taken
    _taken = door


def here() -> Door:
    """Return the door that was taken."""
    return _taken

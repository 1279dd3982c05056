"""A terminal just good enough to see what a program left on it."""

from __future__ import annotations

import re

CONTROL = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])")


class Screen:
    """Lines of text with a cursor; it scrolls without end and forgets nothing.

    Args:
        width: Columns, after which a line wraps.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines = [""]
        self.row = self.column = 0
        self.cursor_shown = True

    def feed(self, text: str) -> None:
        """Take what was written."""
        while text:
            control = CONTROL.match(text)
            if control is not None:
                self._obey(control[1] + control[3], control[2])
                text = text[control.end() :]
                continue
            self._put(text[0])
            text = text[1:]

    def _obey(self, command: str, value: str) -> None:
        if command == "A":
            self.row -= int(value or 1)
            assert self.row >= 0, "went above what it had drawn"
        elif command == "K":
            self.lines[self.row] = ""
        elif command in ("?h", "?l") and value == "25":
            self.cursor_shown = command == "?h"
        else:
            assert command == "m", f"not expected: {command!r} {value!r}"

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
            return
        if character == "\n" or self.column == self.width:
            self.row, self.column = self.row + 1, 0
            if self.row == len(self.lines):
                self.lines.append("")
        if character != "\n":
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1

    @property
    def text(self) -> str:
        """What can be read on it, without trailing spaces."""
        return "\n".join(line.rstrip() for line in self.lines)

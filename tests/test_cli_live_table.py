"""The live table, drawn on a terminal that remembers what it was told."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from orchestrator.cli import console
from orchestrator.cli.live_table import LiveTable
from orchestrator.progress import Progress
from tests.sweeps import tiny_plan
from tests.terminal import Screen
from tests.test_orchestrator_progress import Sweep

PROGRAM = "from orchestrator.cli import main; main()"


class Terminal:
    """A pseudo-terminal; what is written to it can be seen on a `Screen`."""

    def __init__(self, columns: int, rows: int) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(columns, rows)
        self.file: TextIO = os.fdopen(os.dup(self.slave), "w", encoding="utf-8")
        self._written = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.columns = columns

    def _read(self) -> None:
        while True:
            try:
                found = os.read(self.master, 65536)
            except OSError:  # the last writer has gone
                return
            self._written += found

    def close(self) -> str:
        """Return all that was written."""
        self.file.close()
        os.close(self.slave)
        self._reader.join()
        os.close(self.master)
        return self._written.decode()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    yield


def half_done() -> Progress:
    sweep = Sweep(40)
    for i in range(20):
        sweep.start(f"t{i}")
        sweep.finish(f"t{i}", value=1.0 + i)
    sweep.start("t20", "t21")
    return sweep.progress


@pytest.mark.usefixtures("environment")
def test_the_table_is_drawn_in_place_and_fits_the_terminal() -> None:
    terminal = Terminal(80, 24)
    with LiveTable(terminal.file) as table:
        table.show(half_done())
        table.say("SIGINT: writing checkpoints")
        table.show(half_done())
    text = terminal.close()
    screen = Screen(80)
    screen.feed(text)
    left = screen.text.splitlines()
    assert screen.cursor_shown
    assert left[0] == "SIGINT: writing checkpoints"
    assert left[1].startswith("hand  20 of 40 done, 2 running, 18 waiting")
    assert screen.text.count("20 of 40 done") == 1 and len(left) == 24
    assert left[-1].startswith("not shown: ")
    assert "\x1b[32m" in text and "finished ★" in text


@pytest.mark.usefixtures("environment")
def test_a_terminal_made_narrower_is_drawn_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal(100, 24)
    with LiveTable(terminal.file, ascii_only=True) as table:
        table.show(half_done())
        terminal.resize(30, 24)
        table.show(half_done())
    text = terminal.close()
    assert text.isascii() and "\x1b[3" not in text  # no colour
    first, second = text.split("\r\x1b[2K\x1b[1A", 1)
    drawn = Screen(100)
    drawn.feed(first)
    lengths = [len(line) for line in drawn.text.split("\n")]
    as_wrapped = sum(max(1, math.ceil(length / 30)) for length in lengths)
    assert as_wrapped > len(lengths)
    ups = second[: second.index("hand")].count("\x1b[1A") + 1
    assert ups == as_wrapped - 1  # to the first line of the old table, as the terminal shows it


def test_a_terminal_that_was_closed_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    file = os.fdopen(slave, "w", encoding="utf-8")
    os.close(master)
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    with pytest.raises(IsADirectoryError), console.following() as audience:
        audience.show(half_done())
        console.say("still here")
        raise IsADirectoryError("an error of the sweep, not of the terminal")
    with contextlib.suppress(OSError):
        file.close()


def test_a_sweep_on_a_terminal_leaves_its_table_and_the_best(tmp_path: Path) -> None:
    tiny_plan(tmp_path)
    path = str(tmp_path / "tiny.toml")
    terminal = Terminal(100, 30)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "sweep", "--strategy", path, "--executor", "inline"],
        env={k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        | {"ARBITER_RUNS": str(tmp_path / "runs"), "TERM": "xterm"},
        stdin=terminal.slave,
        stdout=terminal.slave,
        stderr=terminal.slave,
        timeout=100,
    )
    text = terminal.close()
    assert done.returncode == 0, text
    screen = Screen(100)
    screen.feed(text)
    left = screen.text
    assert screen.cursor_shown
    assert left.count("4 of 4 done") == 1 and "running" not in left
    assert left.count("60/60") == 4 and left.count("★") == 1
    assert left.index("★") < left.index("rank") < left.index("next: arbiter leaderboard ")
    assert left.rstrip().splitlines()[-1] in text.splitlines()[-1]

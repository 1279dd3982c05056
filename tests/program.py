"""The program in this process, in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli import app, console, spectramind


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@dataclass
class Program:
    """Runs `arbiter`, or `spectramind`, with a folder as the current one and its `runs` below it."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    name: str = "arbiter"

    def __call__(self, *arguments: str) -> Done:
        self.monkeypatch.setattr(console, "_quiet", False)
        self.monkeypatch.setattr("sys.argv", [self.name, *arguments])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            (app if self.name == "arbiter" else spectramind).run()
        said = self.capsys.readouterr()
        assert "Traceback" not in said.err, said.err
        return Done(int(str(ended.value.code)), said.out, said.err)

    def refuses(self, *arguments: str, code: int) -> str:
        """Run a command that must be refused and write nothing; return what it said."""
        before = self.tree()
        done = self(*arguments)
        assert (done.code, done.out) == (code, ""), done
        assert self.tree() == before
        return done.err

    def tree(self) -> dict[str, tuple[int, int, bytes]]:
        """Return everything below the folder, with its bytes."""
        return {
            str(path): (
                path.lstat().st_mtime_ns,
                path.lstat().st_mode,
                path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
            )
            for path in self.folder.rglob("*")
        }

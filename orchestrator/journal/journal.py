"""Write down one command: as it begins, the runs it works on, and how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ArbiterError
from orchestrator.journal.files import alone, append
from orchestrator.journal.section import Said, Section

if TYPE_CHECKING:
    from orchestrator.journal.run import Run

LOGS, SECTIONS, EVENTS = "logs", "v50_debug_log.md", "events.jsonl"


class Journal:
    """Implements `Record` in the files of a folder.

    What cannot be written is said once, and the command goes on without it. Of what is typed and
    said, what looks like a secret is masked. Imports happen where something is written: completion and
    help need none.

    Args:
        folder: Where `logs/` and the summary are.
        command: The program and its arguments, as typed.
        trouble: Takes a line for a person.
    """

    def __init__(
        self, folder: Path, command: Sequence[str], trouble: Callable[[str], None]
    ) -> None:
        self.folder = folder
        self.command = shlex.join(command)
        self.invocation = secrets.token_hex(6)
        self._trouble = trouble
        self._began_s: float | None = None
        self._said = Said()
        self._runs: dict[Path, Run] = {}
        self._gave_up = False
        self._git_commit: str | None = None

    def begin(self) -> None:
        from orchestrator.provenance import masked

        self._began_at, self._began_s = _now(), time.monotonic()
        self.command = masked(self.command)
        itself = {"pid": os.getpid(), "host": socket.gethostname()}
        self._write(
            lambda: self._event("command_started", command=self.command, **itself), self._began_at
        )

    def heard(self, text: str) -> None:
        self._said.add(text)

    def works_on(self, run: Callable[[], Run]) -> None:
        with contextlib.suppress(ArbiterError):  # a damaged run: the command itself refuses it
            self._note(run())

    def _note(self, run: Run) -> None:
        from orchestrator.provenance import git_commit

        self._runs[run.directory.path] = run
        self._git_commit = git_commit()

        def note() -> None:
            self._event(
                "run_began",
                run_id=run.id,
                run_directory=str(run.directory.path),
                config_hash=run.config_hash,
                data_hash=run.data_hash,
            )
            self._summarise(run, None)

        self._write(note)

    def end(self, exit_code: int) -> None:
        if self._began_s is None:
            return
        from orchestrator.journal.run import read_run
        from orchestrator.provenance import masked

        duration_s = time.monotonic() - self._began_s
        said = [_printable(masked(line)) for line in self._said.lines()]
        for path, run in self._runs.items():  # as they were trained, where that was changed
            with contextlib.suppress(ArbiterError, OSError):
                self._runs[path] = read_run(run.directory)
        section = Section(
            invocation=self.invocation,
            command=_printable(self.command),
            folder=_printable(str(self.folder)),
            started_at=self._began_at,
            duration_s=duration_s,
            exit_code=exit_code,
            runs=list(self._runs.values()),
            said=said,
        )

        def note() -> None:
            append(self.folder / LOGS / SECTIONS, section.to_markdown())
            for run in self._runs.values():
                self._summarise(run, (exit_code, duration_s))
            self._event("command_ended", exit_code=exit_code, duration_seconds=round(duration_s, 3))

        self._write(note)

    def _write(self, note: Callable[[], None], at: str | None = None) -> None:
        """Write under the lock; where that fails, say so and write nothing more."""
        if self._gave_up:
            return
        self._at = at or _now()
        try:
            with alone(self.folder / LOGS):
                note()
        except OSError as error:  # a lock that is not let go is one, too
            self._gave_up = True
            where = error.filename or self.folder / LOGS
            why = error.strerror or "another process holds its lock"
            self._trouble(f"note: no journal of this command: cannot write {where}: {why}")

    def _event(self, kind: str, **fields: Any) -> None:
        document = {"at": self._at, "invocation": self.invocation, "kind": kind, **fields}
        append(self.folder / LOGS / EVENTS, json.dumps(document, allow_nan=False) + "\n")

    def _summarise(self, run: Run, ended: tuple[int, float] | None) -> None:
        from orchestrator.journal.summary import FILE, Entry, put
        from orchestrator.provenance import made_with

        made = made_with()
        exit_code, duration_s = ended or (None, None)
        entry = Entry(
            invocation=self.invocation,
            run_id=run.id,
            command=self.command,
            started_at=self._began_at,
            finished_at=None if ended is None else self._at,
            duration_seconds=None if duration_s is None else round(duration_s, 3),
            exit_code=exit_code,
            config_hash=run.config_hash,
            data_hash=run.data_hash,
            git_commit=self._git_commit,
            python_version=made["python"],
            platform=made["platform"],
            run_directory=str(run.directory.path),
            configs=run.snapshots,
        )
        aside = put(self.folder / FILE, entry)
        if aside is not None:
            self._trouble(f"note: {FILE} was damaged: it is {aside.name} now, a new one is begun")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)

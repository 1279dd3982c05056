"""Where everything of a sweep lies, and who may write there."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from orchestrator.errors import LockedError, Problem, StorageError, UsageError, gathering, nearest


def runs_root() -> Path:
    """Return the folder of all run directories: `$ARBITER_RUNS` or `./runs`, absolute."""
    return Path(os.environ.get("ARBITER_RUNS") or "runs").absolute()


@dataclass(frozen=True)
class Writer:
    """The process that writes to a run directory."""

    pid: int
    host: str


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one sweep.

    Args:
        path: `runs/<name>-<yyyymmdd-hhmmss>-<hash4>`, absolute.
    """

    path: Path

    @property
    def plan(self) -> Path:
        """The plan as it was made."""
        return self.path / "plan.json"

    @property
    def ledger(self) -> Path:
        """The record of the sweep."""
        return self.path / "ledger.db"

    @property
    def events(self) -> Path:
        """What happened, one JSON object a line; derived from the ledger."""
        return self.path / "events.jsonl"

    @property
    def provenance(self) -> Path:
        """With what it was made: versions, machine, command."""
        return self.path / "provenance.json"

    @property
    def stop_file(self) -> Path:
        """Exists once the sweep was asked to stop; every worker looks for it."""
        return self.path / "stop"

    @property
    def scratch(self) -> Path:
        """What the executor needs while it runs; removed at its end."""
        return self.path / ".executor"

    def trial(self, trial_id: str) -> Path:
        """Folder of one trial: `config.yaml`, `checkpoints/`, `evaluations/`, `tb/`, `log.txt`."""
        return self.path / "trials" / trial_id

    def config(self, trial_id: str) -> Path:
        """The resolved config of one trial."""
        return self.trial(trial_id) / "config.yaml"

    def shown(self) -> str:
        """Return the path as a person would type it here."""
        try:
            return str(self.path.relative_to(Path.cwd()))
        except ValueError:
            return str(self.path)

    @property
    def holder(self) -> Path:
        """Who holds the lock; left behind by a process that was killed."""
        return self.path / "run.lock.json"

    def writer(self) -> Writer | None:
        """Return the process that trains here, or None; takes no lock.

        Of a process on another machine it cannot be told whether it still lives.
        """
        try:
            found = json.loads(self.holder.read_text())
            since_s = self.holder.stat().st_mtime
            writer = Writer(int(found["pid"]), str(found["host"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if writer.host == socket.gethostname() and not _lives(writer.pid, since_s):
            return None
        return writer

    def _named_writer(self) -> Writer | None:
        """Return who holds the lock; one who took it this moment is given the time to say so."""
        for _ in range(25):
            if (writer := self.writer()) is not None:
                return writer
            if self.holder.exists():
                break
            time.sleep(0.02)
        return None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one writer.

        The lock is the operating system's: it ends with the process that holds it.

        Raises:
            LockedError: Another process is.
            UsageError: The folder is a link: what it points at may belong to somebody else.
        """
        if self.path.is_symlink():
            message = f"got a link to {self.path.readlink()}, expected the run folder itself"
            raise UsageError(Problem(message, self.shown()))
        lock = FileLock(self.path / "run.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            found = self._named_writer()
            who = f"process {found.pid} on {found.host}" if found else "another process"
            raise LockedError(
                Problem(
                    f"{who} writes to this sweep",
                    self.shown(),
                    f"arbiter status {self.shown()} shows how it goes",
                )
            ) from error
        try:
            itself = {"pid": os.getpid(), "host": socket.gethostname()}
            write_whole(self.holder, json.dumps(itself))
            yield
        finally:
            self.holder.unlink(missing_ok=True)
            lock.release()


def _lives(pid: int, before_s: float) -> bool:
    """Return whether a process still runs that was there before a time in seconds since 1970."""
    try:
        process = psutil.Process(pid)
        # A killed one stays in the table until its parent asks; its number may be another's by now.
        return bool(
            process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= before_s + 1
        )
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # somebody else's
        return True


def new_run_directory(root: Path, name: str, plan_hash: str) -> RunDirectory:
    """Return a directory that does not exist yet; nothing is written."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:60] or "sweep"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for n in itertools.count(1):
        again = "" if n == 1 else f"-{n}"  # two in the same second
        path = root / f"{safe}-{stamp}{again}-{plan_hash[:4]}"
        if not path.exists():
            return RunDirectory(path)
    raise AssertionError("unreachable")


def find_same_sweep(root: Path, plan_hash: str) -> RunDirectory | None:
    """Return the newest run directory of the same plan, or None.

    Raises:
        StorageError: The newest one that may be it has a damaged plan: starting anew beside it
            would train again what it holds.
    """
    found = [path for path in root.glob(f"*-{plan_hash[:4]}") if not path.is_symlink()]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        directory = RunDirectory(path)
        if not directory.plan.exists() and not directory.ledger.exists():
            continue
        if read_plan(directory)["hash"] == plan_hash:
            return directory
    return None


def read_plan(directory: RunDirectory) -> dict[str, Any]:
    """Return what `plan.json` holds.

    Raises:
        StorageError: It is missing or damaged.
    """
    try:
        plan = json.loads(directory.plan.read_text(encoding="utf-8"))
        if isinstance(plan["hash"], str) and isinstance(plan["trials"], list):
            return dict(plan)
        why = "it has no hash or no trials"
    except OSError as error:
        why = str(error.strerror)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        size = directory.plan.stat().st_size
        why = "it is empty" if not size else f"not the JSON of a plan ({type(error).__name__})"
    raise StorageError(
        Problem(
            f"plan.json cannot be used: {why}",
            directory.shown(),
            f"arbiter doctor {directory.shown()} says what is whole; sweep --fresh starts anew",
        )
    )


def find_run(given: str | None) -> RunDirectory:
    """Return the run directory of a path, of a name under the runs root, or the newest.

    Raises:
        UsageError: There is none.
    """
    root = runs_root()
    hint = "arbiter sweep --strategy grid --scale smoke starts one"
    if given is None:
        ledgers = sorted(root.glob("*/ledger.db"), key=lambda path: path.stat().st_mtime)
        if not ledgers:
            raise UsageError(Problem("no sweep yet", f"runs folder {root}", hint))
        return RunDirectory(ledgers[-1].parent)
    for path in (Path(given).absolute(), root / given):
        with contextlib.suppress(OSError):  # a name too long for the file system
            if (path / "ledger.db").is_file():
                return RunDirectory(path)
    names = sorted(path.parent.name for path in root.glob("*/ledger.db"))
    if names:
        hint = f"the last ones are {', '.join(names[-3:])}"
    message = f"no sweep of the path or name {given!r}{nearest(given, names)}"
    raise UsageError(Problem(message, f"runs folder {root}", hint))


def all_runs(root: Path) -> list[RunDirectory]:
    """Return all runs below the root, newest first; a link may lead to somebody else's."""
    ledgers = [path for path in root.glob("*/ledger.db") if not path.parent.is_symlink()]
    newest_first = sorted(ledgers, key=lambda path: path.stat().st_mtime, reverse=True)
    return [RunDirectory(path.parent) for path in newest_first]


def name_of(run: RunDirectory, root: Path) -> str:
    """Return what names a run on the command line: its folder's name, or its path."""
    return run.path.name if run.path.parent == root else str(run.path)


RUNS_FOLDER = "runs folder"
RUNS_HINT = "set ARBITER_RUNS to a folder you may write to, or unset it to use ./runs"
HOME_HINT = "set ARBITER_HOME to a folder you may write to, or unset it to use your cache folder"


def check_folders() -> None:
    """Refuse folders that a sweep could not write to: of the runs, and the one a person named
    for the cache.

    Raises:
        UsageError: Each that is not a folder, or not writable.
    """
    with gathering() as gather:
        with gather.step():
            check_writable(runs_root())
        with gather.step():
            if home := os.environ.get("ARBITER_HOME"):
                check_writable(Path(home).absolute(), "ARBITER_HOME", HOME_HINT)


def check_writable(root: Path, what: str = RUNS_FOLDER, hint: str = RUNS_HINT) -> None:
    """Refuse a folder that cannot be written to, without leaving anything there.

    Raises:
        UsageError: It is not a folder, or not writable.
    """
    folder, reason = root, None
    try:
        while not folder.exists() and not folder.is_symlink() and folder != folder.parent:
            folder = folder.parent
        if folder.is_symlink() and not folder.exists():
            reason = f"{folder} is a link to what is not there"
        elif not folder.is_dir():
            reason = f"{folder} is not a folder"
        elif folder.is_relative_to("/proc") or folder.is_relative_to("/sys"):
            reason = f"{folder} belongs to the kernel"
        elif not os.access(folder, os.W_OK | os.X_OK):
            reason = f"{folder} is not writable"
        elif os.statvfs(folder).f_flag & os.ST_RDONLY:
            reason = f"{folder} is on a read-only file system"
    except OSError as error:
        reason = error.strerror
    if reason:
        raise UsageError(Problem(f"cannot write: {reason}", f"{what} {root}", hint))


def free_bytes(root: Path) -> int:
    """Return what is free on the disk where the runs lie, or will."""
    folder = root
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def write_whole(path: Path, text: str) -> None:
    """Write a small file under another name and rename it: readers see all of it or none."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)

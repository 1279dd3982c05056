"""What Ray reads from the environment, and what is refused before Ray is imported."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shlex
import stat
from pathlib import Path

from platformdirs import user_state_path

from orchestrator.errors import Problem, UsageError, gathering

SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1000000",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}

TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
ELSEWHERE = "set ARBITER_HOME to a folder you may write to"
DASHBOARD_NEEDS = ("aiohttp", "aiohttp_cors", "opentelemetry.exporter.prometheus")
"""Packages of `ray[default]` without which Ray starts no dashboard."""


def prepare() -> None:
    """Set what Ray reads when it is imported; call it before."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def check(dashboard: bool, address: str | None) -> None:
    """Refuse what Ray would only trip over later. Loads no Ray and writes nothing.

    Args:
        dashboard: Whether Ray's dashboard is asked for.
        address: The cluster to join; None where one is started here.

    Raises:
        UsageError: All that is wrong, at once.
    """
    with gathering() as gather:
        with gather.step():
            _check_mode()
        with gather.step():
            if address is not None:
                check_address(address)
        with gather.step():
            if address is not None:
                cluster_token()
        with gather.step():
            in_a_file = dashboard or TOKEN_PATH in os.environ
            if in_a_file and address is None and not os.environ.get(TOKEN):
                check_private(token_path())
        with gather.step():
            if dashboard:
                _check_dashboard_extra()


def _check_mode() -> None:
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() != "token":
        raise UsageError(
            Problem(
                f"RAY_AUTH_MODE: got {mode!r}, expected 'token': without one, whoever reaches"
                " Ray's ports can run code as you",
                "environment",
                "unset RAY_AUTH_MODE",
            )
        )


def check_address(address: str) -> None:
    """Refuse an address that is neither `auto` nor a host and a port.

    Raises:
        UsageError: It is of another form.
    """
    if address == "auto":
        return
    if address.startswith("ray://"):
        raise UsageError(
            Problem(
                f"got {address!r}: a client of Ray is no node of its cluster, and the ledger is"
                " written on the machine where the sweep is started",
                "--address",
                "start the sweep on a node of the cluster, with --address auto",
            )
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UsageError(
            Problem(
                f"got {address!r}, expected HOST:PORT or auto",
                "--address",
                "--address 10.0.0.1:6379, as `ray start --head` printed it",
            )
        )


def cluster_token_place() -> str:
    """Return where Ray looks for the token of a cluster that is joined."""
    if os.environ.get(TOKEN):
        return f"the environment's {TOKEN}"
    return os.environ.get(TOKEN_PATH) or str(default_path())


def cluster_token() -> str:
    """Return the token of a cluster that is joined.

    Raises:
        UsageError: There is none.
    """
    given = os.environ.get(TOKEN)
    if given:
        return given
    path = Path(cluster_token_place())
    try:
        token = path.read_text(encoding="utf-8").strip()
        found = "an empty file"
    except OSError as error:
        token, found = "", error.strerror or "nothing that can be read"
    except UnicodeDecodeError:
        token, found = "", "no text"
    if token:
        return token
    raise UsageError(
        Problem(
            f"the cluster's token: got {found}, expected the token that it was started with",
            str(path),
            f"copy it there (chmod 600), or set {TOKEN_PATH} to its file or {TOKEN} to itself",
        )
    )


def default_path() -> Path:
    """Return where Ray itself looks for a token that nothing names."""
    return Path.home() / ".ray" / "auth_token"


def _check_dashboard_extra() -> None:
    missing = [name for name in DASHBOARD_NEEDS if not _installed(name)]
    if missing:
        raise UsageError(
            Problem(
                f"Ray has no dashboard without {', '.join(missing)}",
                "--dashboard",
                "pip install 'ray[default,tune]'",
            )
        )


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a package above it
        return False


def token_path() -> Path:
    """Return where the token lies while there is a dashboard to log in to."""
    given = os.environ.get(TOKEN_PATH)
    if given:
        return Path(given).absolute()
    home = os.environ.get("ARBITER_HOME")
    return (Path(home).absolute() if home else user_state_path("arbiter")) / "ray_token"


def how_to_log_in(place: str | None = None) -> str:
    """Return what shows the token; never the token itself, which would stay in a log.

    Args:
        place: The file it lies in; None for the one that Ray's environment names.
    """
    if os.environ.get(TOKEN):
        return f"the token is the value of {TOKEN}"
    return f"`cat {shlex.quote(place or cluster_token_place())}` shows the token"


def check_private(path: Path) -> None:
    """Refuse a token file that somebody else may have read or put there.

    Raises:
        UsageError: It is no plain file of this user alone. A file that is missing is none.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        message = f"cannot read the token of Ray: {error.strerror}"
        raise UsageError(Problem(message, str(path), ELSEWHERE)) from error
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        got, hint = "something else", f"remove it, or set {TOKEN_PATH} to a file of your own"
    elif found.st_uid != os.getuid():
        got, hint = "another user's", f"remove it, or set {TOKEN_PATH} to a file of your own"
    elif mode & 0o077:
        got = f"mode {mode:04o}: others may have read it"
        hint = f"rm {path} (a new one is made), or chmod 600 {path} if you trust them"
    elif not found.st_size:
        got, hint = "an empty one", f"rm {path} (a new one is made)"
    else:
        return
    raise UsageError(
        Problem(f"the token of Ray: got {got}, expected a file of mode 0600", str(path), hint)
    )


def provide_token(dashboard: bool) -> Path | None:
    """Have a token for a cluster that is started here.

    Without a dashboard nobody types it: it stays in the environment of this process tree,
    where Ray would write a file that others can read.

    Args:
        dashboard: Whether a person logs in with it, and finds it in a file then.

    Returns:
        The file that it lies in; None where it is in the environment alone.

    Raises:
        UsageError: The file is not this user's alone.
    """
    if os.environ.get(TOKEN):
        return None
    if not dashboard and TOKEN_PATH not in os.environ:
        os.environ[TOKEN] = secrets.token_hex(32)
        return None
    path = token_path()
    write_token(path)
    os.environ[TOKEN_PATH] = str(path)
    return path


def write_token(path: Path) -> None:
    """Make a token file of mode 0600, whole or not at all; one that exists stays.

    Raises:
        UsageError: One exists that is not this user's alone, or none can be written.
    """
    check_private(path)
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(path)
    except OSError as error:
        message = f"cannot write the token of Ray: {error.strerror}"
        raise UsageError(Problem(message, str(path), ELSEWHERE)) from error
    check_private(path)


def _write_once(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(descriptor)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename it replaces nobody's: the first one wins
    finally:
        draft.unlink()

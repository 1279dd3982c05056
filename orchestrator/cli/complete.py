"""What a shell offers while a command is typed. Looks at names only, and loads nothing heavy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from orchestrator.errors import ArbiterError

Completer = Callable[[str], list[str]]
MOST_RUNS = 20


def among(*names: str) -> Completer:
    """Return a completer of fixed names."""
    return lambda incomplete: _starting(incomplete, names)


def templates(incomplete: str) -> list[str]:
    """Complete the name of a template that ships; the shell itself completes paths."""
    from orchestrator.shared_files import find

    return _starting(incomplete, sorted(p.stem for p in find("sweep_templates").glob("*.toml")))


def tiers(incomplete: str) -> list[str]:
    """Complete the name of a tier."""
    return _starting(incomplete, ["auto", *_options("tier")])


def runs(incomplete: str) -> list[str]:
    """Complete the name of a run, the newest first."""
    return _starting(incomplete, _runs())


def run_and_trial(incomplete: str) -> list[str]:
    """Complete the name of a run, or the id of a trial of the newest one."""
    return _starting(incomplete, [*_runs(), *_trials()])


def changes(incomplete: str) -> list[str]:
    """Complete the name of a run, or a setting."""
    return [*runs(incomplete), *settings(incomplete)]


def replay(incomplete: str) -> list[str]:
    """Complete a run, a trial or a setting."""
    return [*run_and_trial(incomplete), *settings(incomplete)]


def settings(incomplete: str) -> list[str]:
    """Complete the key of a setting, or an option of a group (`tier=cpu`)."""
    from orchestrator.groups import GROUPS
    from orchestrator.settings import setting_keys

    group, is_given, _ = incomplete.partition("=")
    if is_given:
        names = [f"{group}={option}" for option in _options(group)] if group in GROUPS else []
        return _starting(incomplete, names)
    if not incomplete:  # two hundred keys help nobody
        return [f"{name}=" for name in GROUPS]
    return _starting(incomplete, [f"{name}=" for name in (*GROUPS, *setting_keys())])


def ablation(incomplete: str) -> list[str]:
    """Complete the key of a setting, of an ablation too."""
    from orchestrator.ablation.settings import PREFIX, AblationSettings

    own = [f"{PREFIX}{name}=" for name in AblationSettings.model_fields]
    return [*settings(incomplete), *(_starting(incomplete, own) if incomplete else [PREFIX])]


def _options(group: str) -> list[str]:
    from orchestrator.shared_files import find

    return sorted(path.stem for path in (find("configs") / group).glob("*.yaml"))


def _runs() -> list[str]:
    from orchestrator.layout import runs_root

    with contextlib.suppress(OSError):
        ledgers = [(path.stat().st_mtime, path) for path in runs_root().glob("*/ledger.db")]
        return [path.parent.name for _, path in sorted(ledgers, reverse=True)[:MOST_RUNS]]
    return []


def _trials() -> list[str]:
    from orchestrator.layout import find_run
    from orchestrator.ledger import Ledger

    with (
        contextlib.suppress(ArbiterError),
        contextlib.closing(Ledger.read(find_run(None).ledger)) as ledger,
    ):
        return [trial.id for trial in ledger.trials()]
    return []


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]

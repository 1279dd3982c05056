"""Settings typed over those of a sweep that exists, and which of them may be.

A setting that decides no result (how a run is executed, limited, watched or kept) may change
between two attempts. One that decides the result would make it another trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.compose import Composition, Layer, check
from orchestrator.errors import COMMAND_LINE, Problem, UsageError, gathering
from orchestrator.fitting import best_fit
from orchestrator.groups import compose_groups
from orchestrator.hardware import Hardware
from orchestrator.overrides import parse_overrides
from orchestrator.space_table import full_key
from orchestrator.spellings import ATTENTION, attention, micro_batch, respell
from orchestrator.toml_file import flatten
from trainer.config import RunConfig
from trainer.epochs import in_steps
from trainer.errors import InputError
from trainer.identity import deciding_settings, trial_id
from trainer.tasks import data_hash, vocab_size

PATHS = ("data.dataset_path", "data.tokenizer_path")
"""Not these decide, but what is found there: the data may have moved."""


@dataclass(frozen=True)
class Change:
    """One setting, as it was and as it is to be; None where that kind of run has it not."""

    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{_shown(self.before)} → {_shown(self.after)}"


@dataclass(frozen=True)
class Revision:
    """Settings to put over those of a run.

    Args:
        settings: Dotted key to (value, place).
        deferred: What means a setting only beside the others (`spellings.DEFERRED`).
        notes: What was read as what.
        typed: The arguments as they were given.
        automatic: The machine that each trial's tier is chosen for; None where it is not.
    """

    settings: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    deferred: Mapping[str, tuple[str, Any, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    typed: tuple[str, ...] = ()
    automatic: Hardware | None = None

    def __bool__(self) -> bool:
        return bool(self.settings or self.deferred)

    def over(self, config: RunConfig) -> RunConfig:
        """Return a run config with the settings put over its own.

        Raises:
            UsageError: All that is wrong with the result, each with its place.
        """
        own = {key: (value, "the sweep") for key, value in flatten(config.model_dump()).items()}
        composition = Composition(own).over(Layer(self.settings))
        settled: dict[str, tuple[Any, str]] = {}
        for key, given in self.deferred.items():
            if key == ATTENTION:
                value: Any = attention(given, composition.settings["tier.device"][0])
            else:
                value = micro_batch(given, composition.settings["training.batch_size"][0])
            settled[key] = (value, given[2])
        composition = composition.over(Layer(settled))
        try:
            revised = in_steps(check(composition.settings))
        except InputError as error:
            raise UsageError(Problem(str(error), COMMAND_LINE, error.hint)) from error
        if self.automatic is None:
            return revised
        wanted = {key.removeprefix("tier.") for key in settled}
        wanted |= {
            key.removeprefix("tier.")
            for key, (_, place) in self.settings.items()
            if place == COMMAND_LINE
        }
        try:
            return best_fit(revised, vocab_size(revised), self.automatic, wanted) or revised
        except InputError:  # who trains it says what is wrong with the data
            return revised


def read_revision(arguments: Sequence[str], hardware: Hardware) -> Revision:
    """Read `key=value` arguments, and `tier=NAME`.

    Raises:
        UsageError: All that cannot be put over a sweep.
    """
    given = parse_overrides(arguments)
    settings: dict[str, tuple[Any, str]] = {}
    with gathering() as gather:
        for group, option in given.groups.items():
            with gather.step():
                settings |= _group(group, option, hardware)
        for key in given.axes:
            message = f"{key}: got several values, expected one: the trials are there already"
            hint = f"arbiter sweep --strategy TEMPLATE {key}=…"
            gather.problems.append(Problem(message, COMMAND_LINE, hint))
        read = respell({key: (value, COMMAND_LINE) for key, value in given.settings.items()})
        gather.problems += read.problems
        for key, typed in read.settings.items():
            with gather.step():
                settings[full_key(key, COMMAND_LINE)] = typed
    automatic = hardware if given.groups.get("tier") == "auto" else None
    return Revision(settings, read.deferred, tuple(read.notes), tuple(arguments), automatic)


def _group(group: str, option: str, hardware: Hardware) -> dict[str, tuple[Any, str]]:
    if group != "tier":
        message = f"{group}={option}: a sweep that exists takes single settings, and tier=NAME"
        raise UsageError(Problem(message, COMMAND_LINE, "key=value"))
    name = hardware.best_tier() if option == "auto" else option
    settings = compose_groups({"tier": name}, ()).layer.settings
    return {key: value for key, value in settings.items() if key.startswith("tier.")}


def changes(before: RunConfig, after: RunConfig) -> dict[str, Change]:
    """Return the settings that differ, by dotted key."""
    old, new = flatten(before.model_dump()), flatten(after.model_dump())
    return {
        key: Change(old.get(key), new.get(key))
        for key in [*new, *(key for key in old if key not in new)]
        if old.get(key) != new.get(key)
    }


def deciding_changes(before: RunConfig, after: RunConfig, its_id: str) -> dict[str, Change]:
    """Return the changes that would make it another trial.

    Args:
        before: As the trial was planned.
        after: As it would be.
        its_id: The trial's id; data that moved keeps it.

    Raises:
        UsageError: The data of a new path cannot be read.
    """
    decides = {*flatten(deciding_settings(before)), *flatten(deciding_settings(after))}
    found = {key: change for key, change in changes(before, after).items() if key in decides}
    moved = {key: found.pop(key) for key in PATHS if key in found}
    if moved and not found:
        try:
            if trial_id(after, data_hash(after)) == its_id:
                return {}
        except InputError as error:
            raise UsageError(Problem(str(error), COMMAND_LINE, error.hint)) from error
    return found | moved


def described(differences: Iterable[Mapping[str, Change]]) -> list[str]:
    """Return a line a setting, `key: before → after`, over the trials of a sweep."""
    lines: dict[str, dict[str, None]] = {}
    for difference in differences:
        for key, change in difference.items():
            lines.setdefault(key, {})[str(change)] = None
    return [f"{key}: {', '.join(texts)}" for key, texts in lines.items()]


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "none" if value is None else str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)

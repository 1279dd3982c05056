"""What the options of the Hydra groups set. With `overrides`, the only importer of Hydra."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.compose import Layer
from orchestrator.errors import COMMAND_LINE, Problem, UsageError, gathering, nearest
from orchestrator.shared_files import find
from orchestrator.toml_file import flatten

GROUPS = ("task", "model", "trainer", "tier", "loss", "symbolic")
SPECIAL = "task_trainer"
"""What a trainer preset means for one task; it follows from both, nobody chooses it."""


def check_options(groups: Mapping[str, str]) -> None:
    """Refuse options of groups that do not exist. Hydra is not loaded for it.

    Raises:
        UsageError: There is no such option.
    """
    with gathering() as gather:
        for group, option in groups.items():
            with gather.step():
                check_option(group, option, COMMAND_LINE)


def check_option(group: str, option: Any, place: str) -> None:
    """Refuse an option that its group does not have.

    Raises:
        UsageError: There is no such option.
    """
    known = options_of(group)
    if option not in known:
        offered = ["auto", *known] if group == "tier" else known
        message = f"no {group} {option!r}{nearest(str(option), offered)}"
        raise UsageError(Problem(message, place, f"{group} is one of {', '.join(offered)}"))


def options_of(group: str) -> tuple[str, ...]:
    """Return the options of a group."""
    return tuple(sorted(path.stem for path in (find("configs") / group).glob("*.yaml")))


def place_of(group: str, option: str) -> str:
    """Return where an option is written."""
    return f"configs/{group}/{option}.yaml"


def group_of(place: str) -> str:
    """Return the group of a place that `place_of` names; "" of any other."""
    folder, _, rest = place.partition("/")
    return rest.partition("/")[0] if folder == "configs" else ""


@dataclass(frozen=True)
class Chosen:
    """The options of all groups, composed.

    Args:
        layer: What they set.
        scale: The scale they ask for.
        options: Option by group.
        ablation: What they set of an ablation: key to (value, source).
    """

    layer: Layer
    scale: str | None
    options: Mapping[str, str]
    ablation: Mapping[str, tuple[Any, str]] = field(default_factory=dict)


def compose_groups(groups: Mapping[str, str], explicit: Iterable[str]) -> Chosen:
    """Return what the options of the Hydra groups set.

    Args:
        groups: Option by group; others take the default of `configs/config.yaml`.
        explicit: Groups that a person chose. A tier that was picked by machine does not set
            the effective batch, or the same command would learn something else elsewhere.

    Raises:
        UsageError: There is no such option.
    """
    check_options(groups)
    import omegaconf

    folder = find("configs")
    config = _composed(folder, tuple(f"{group}={option}" for group, option in groups.items()))
    settings: dict[str, tuple[Any, str]] = {}
    options: dict[str, str] = {}
    ablation: dict[str, tuple[Any, str]] = {}
    scale = None
    for group, option in config.hydra.runtime.choices.items():
        if option is None or group not in (*GROUPS, SPECIAL):
            continue
        if group != SPECIAL:
            options[group] = option
        elif not (folder / group / f"{option}.yaml").exists():
            continue  # nothing special to this task
        for place, tables in _written(folder, group, option):
            scale = tables.pop("scale", scale)
            for key, value in tables.pop("ablation", {}).items():
                ablation[key] = (value, place)
            if group == "tier" and group not in explicit:
                tables.pop("training", None)
            for key in flatten(tables):
                settings[key] = (omegaconf.OmegaConf.select(config, key), place)
    return Chosen(Layer(settings), scale, options, ablation)


@functools.cache  # axes over groups and the steps of a pipeline ask for the same again
def _composed(folder: Path, overrides: tuple[str, ...]) -> Any:
    """Return what Hydra makes of the options, read-only."""
    import omegaconf
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(folder), version_base=None):
        config = compose("config", overrides=[*overrides], return_hydra_config=True)
    omegaconf.OmegaConf.set_readonly(config, True)
    return config


@functools.cache
def _loaded(path: Path) -> Any:
    """Return a file of the groups, read-only."""
    import omegaconf

    tables = omegaconf.OmegaConf.load(path)
    omegaconf.OmegaConf.set_readonly(tables, True)
    return tables


def _written(folder: Path, group: str, option: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the tables of an option, those of the options it builds on first."""
    import omegaconf

    found = omegaconf.OmegaConf.to_container(
        _loaded(folder / group / f"{option}.yaml"), resolve=False
    )
    assert isinstance(found, dict)
    tables = {str(key): value for key, value in found.items()}
    for base in tables.pop("defaults", []):
        if base != "_self_":
            yield from _written(folder, group, base)
    yield place_of(group, option), tables

"""What the options of the Hydra groups set. With `overrides`, the only importer of Hydra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.compose import Layer
from orchestrator.errors import COMMAND_LINE, Problem, UsageError, nearest
from orchestrator.shared_files import find
from orchestrator.toml_file import flatten

GROUPS = ("task", "model", "trainer", "tier")


def check_options(groups: Mapping[str, str]) -> None:
    """Refuse options of groups that do not exist. Hydra is not loaded for it.

    Raises:
        UsageError: There is no such option.
    """
    problems = []
    for group, option in groups.items():
        known = sorted(path.stem for path in (find("configs") / group).glob("*.yaml"))
        if option not in known:
            problems.append(
                Problem(
                    f"no {group} {option!r}{nearest(option, known)}",
                    COMMAND_LINE,
                    f"{group} is one of {', '.join(known)}",
                )
            )
    if problems:
        raise UsageError(*problems)


def compose_groups(groups: Mapping[str, str], explicit: Iterable[str]) -> tuple[Layer, str | None]:
    """Return the settings of the Hydra groups, and the scale they ask for.

    Args:
        groups: Option by group; others take the default of `configs/config.yaml`.
        explicit: Groups that a person chose. A tier that was picked by machine does not set
            the effective batch, or the same command would learn something else elsewhere.

    Raises:
        UsageError: There is no such option.
    """
    check_options(groups)
    import omegaconf
    from hydra import compose, initialize_config_dir

    folder = find("configs")
    with initialize_config_dir(str(folder), version_base=None):
        config = compose(
            "config",
            overrides=[f"{group}={option}" for group, option in groups.items()],
            return_hydra_config=True,
        )
    settings: dict[str, tuple[Any, str]] = {}
    scale = None
    for group, option in config.hydra.runtime.choices.items():
        if option is None or "/" in group or group not in GROUPS:
            continue
        place = f"configs/{group}/{option}.yaml"
        tables = omegaconf.OmegaConf.to_container(
            omegaconf.OmegaConf.load(folder / group / f"{option}.yaml"), resolve=False
        )
        assert isinstance(tables, dict)
        scale = tables.pop("scale", scale)
        if group == "tier" and group not in explicit:
            tables.pop("training", None)
        for key in flatten({str(k): v for k, v in tables.items()}):
            settings[key] = (omegaconf.OmegaConf.select(config, key), place)
    return Layer(settings), scale

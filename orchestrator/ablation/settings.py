"""What may be said of an ablation: `ablation.…` in a trainer preset or on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.errors import Problem, UsageError, gathering, nearest
from orchestrator.explain import explain
from orchestrator.space_table import parse_seeds

SECTION = "ablation"
PREFIX = f"{SECTION}."


class AblationSettings(BaseModel):
    """Variants of one configuration, each compared with the baseline, seed by seed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    mode: Literal["grid", "one-at-a-time", "leave-one-out"] = Field(
        "grid",
        description="all combinations of the axes; the baseline and each axis' other values alone;"
        " or the baseline and each part that is on in it switched off alone",
    )
    seeds: int | list[int] = Field(
        3, description="a count or a list; the same for every variant, so that they are paired"
    )
    baseline: dict[str, Any] | str | None = Field(
        None,
        description="what the variants are compared with, as values of the axes (`key=value,…`);"
        " none: the configuration without the axes",
    )
    parallel_runs: int | None = Field(
        None, ge=1, description="most cohorts at once; none: as many as the machine has room for"
    )
    max_runs: int | None = Field(
        None,
        ge=1,
        description="most trials; whole variants only, and the baseline is always among them",
    )
    top_n: int = Field(
        10, ge=1, description="variants shown at the end and in the leaderboard's first table"
    )
    retry_failed: int = Field(
        0,
        ge=0,
        description="times a failed trial is tried again; one that diverged or ran out of memory"
        " would do so again and is not",
    )
    randomize_order: bool = Field(
        False, description="start the trials in an order drawn by the plan's hash"
    )
    timeout_minutes: float | None = Field(
        None, gt=0, description="wall clock of each trial (`limits.wall_clock_minutes`)"
    )


def read_settings(given: Mapping[str, tuple[Any, str]]) -> AblationSettings:
    """Return the settings of an ablation.

    Args:
        given: Name without `ablation.` to (value, place).

    Raises:
        UsageError: All that is wrong, each with its place.
    """
    names = [f"{PREFIX}{name}" for name in AblationSettings.model_fields]
    with gathering() as gather:
        if "seeds" in given:
            with gather.step():
                parse_seeds(*given["seeds"])
        try:
            return AblationSettings.model_validate({k: value for k, (value, _) in given.items()})
        except ValidationError as error:
            by_name: dict[str, list[Any]] = {}
            for item in error.errors():
                by_name.setdefault(str(item["loc"][0]), []).append(item)
        for name, items in by_name.items():
            if name == "seeds":
                continue  # said above
            hint = ""
            message = explain(f"{PREFIX}{name}", items, ())
            if items[0]["type"] == "extra_forbidden":
                message = f"unknown key {PREFIX}{name}{nearest(f'{PREFIX}{name}', names)}"
                hint = f"one of {', '.join(names)}"
            gather.problems.append(Problem(message, given[name][1], hint))
    raise UsageError(*gather.problems)

"""What a person asked for: as it was typed, and as it was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.ablation.settings import PREFIX, AblationSettings
from orchestrator.axis import Axis
from orchestrator.compose import Composition, Layer
from orchestrator.errors import COMMAND_LINE, Problem, UsageError
from orchestrator.overrides import Overrides
from orchestrator.space import Space, space_of
from orchestrator.space_table import SEED, parse_seeds
from orchestrator.template import SearchSection, Template


@dataclass(frozen=True)
class Request:
    """What a person asked for, as given on the command line.

    Args:
        base_config: A TOML file (or a trial's YAML snapshot), or None.
        strategy: Name or path of a sweep template; None is a single run.
        search: Search method instead of the template's.
        scale: Name of a scale, or None for full size.
        tier: Name of a tier, or None to pick one by machine.
        seeds: Number of seeds a point instead of the template's.
        max_trials: Most trials the plan may have; None: the template's, or `space_check.LARGEST_PLAN`.
        overrides: Positional arguments, Hydra's grammar.
        name: Of the run directory, instead of the template's.
        task: Option of the group `task` where neither a file nor the command line names a task.
        settings: Settings that options of a command stand for: dotted key to (value, option).
        ablation: Whether its axes are varied around a baseline (`orchestrator.ablation`); they are
            then typed, and no template is needed.
    """

    base_config: Path | None = None
    strategy: str | None = None
    search: str | None = None
    scale: str | None = None
    tier: str | None = None
    seeds: int | None = None
    max_trials: int | None = None
    overrides: tuple[str, ...] = ()
    name: str | None = None
    task: str | None = None
    settings: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    ablation: bool = False


@dataclass
class Reading:
    """A request, read but not yet put together; `automatic` once it is where nobody named a tier.

    `about` is what was said of an ablation, name to (value, place), and `ablation` what that means.
    """

    request: Request
    base: Layer = field(default_factory=lambda: Layer({}))
    template: Template | None = None
    overrides: Overrides = field(default_factory=Overrides)
    typed: dict[str, tuple[Any, str]] = field(default_factory=dict)
    deferred: dict[str, tuple[str, Any, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    axes: tuple[Axis, ...] = ()
    listed: list[Axis] = field(default_factory=list)
    composition: Composition = field(default_factory=lambda: Composition({}))
    scale: str | None = None
    automatic: bool = False
    about: dict[str, tuple[Any, str]] = field(default_factory=dict)
    ablation: AblationSettings | None = None

    @property
    def search(self) -> SearchSection:
        """Who proposes, as the template says."""
        return self.template.search if self.template else SearchSection()

    @property
    def method(self) -> str:
        """The search method that is used."""
        if self.ablation is not None:
            return self.ablation.mode
        return self.search.method if self.request.search is None else self.request.search

    @property
    def method_place(self) -> str:
        """Where the search method was given."""
        if self.ablation is not None:
            return self.place_about("mode")
        if self.request.search is not None or self.template is None:
            return "--search"
        return self.template.file.place("search.method")

    @property
    def most(self) -> int | None:
        """Most trials the plan may have, if somebody said; of an ablation whole variants."""
        if self.ablation is not None and self.ablation.max_runs is not None:
            seeds = len(self.seeds() or (None,))
            if self.ablation.max_runs < seeds:
                message = (
                    f"ablation.max_runs: got {self.ablation.max_runs}, expected at least"
                    f" {seeds}, the seeds of the baseline"
                )
                hint = f"ablation.max_runs={2 * seeds}, or fewer ablation.seeds"
                raise UsageError(Problem(message, self.place_about("max_runs"), hint))
            return self.ablation.max_runs // seeds * seeds
        return self.request.max_trials or self.search.max_trials

    @property
    def space_place(self) -> str:
        """Where the space was given."""
        if self.request.ablation:
            return COMMAND_LINE
        return f"[space] of {self.request.strategy}"

    def seeds(self, scaled: tuple[int, ...] | None = None) -> tuple[int, ...] | None:
        """Return the seeds of each point; None: the one of the settings.

        Args:
            scaled: The scale's, in place of the template's.

        Raises:
            UsageError: More were asked for than a point may have.
        """
        if self.request.seeds is not None:
            return parse_seeds(self.request.seeds, COMMAND_LINE)
        if SEED in self.typed:
            return None
        if self.ablation is not None:
            return parse_seeds(self.ablation.seeds, self.place_about("seeds"))
        return scaled or (self.template.seeds if self.template else None)

    def place_about(self, name: str) -> str:
        """Return where a setting of the ablation was given."""
        return self.about[name][1] if name in self.about else f"{PREFIX}{name}"

    def space(self, axes: Sequence[Axis]) -> Space:
        """Return what is searched.

        Args:
            axes: The template's, or what a scale made of them. Typed values and axes have the
                last word.
        """
        left = [axis for axis in axes if axis.key not in self.typed]
        return space_of([*left, *self.listed], self.template.require if self.template else ())

    @property
    def fixed(self) -> dict[str, Any]:
        """What the command line sets, by dotted key; the largest value of an axis."""
        largest = {axis.key: max(axis.numbers) for axis in self.listed if axis.numbers}
        return {key: value for key, (value, _) in self.typed.items()} | largest

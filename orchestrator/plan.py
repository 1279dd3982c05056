"""The ordered, de-duplicated trials of a sweep, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

from orchestrator.axis import Axis
from orchestrator.compose import (
    COMMAND_LINE,
    Composition,
    Layer,
    fill,
    named,
)
from orchestrator.draw import Draw
from orchestrator.errors import Problem, UsageError, nearest
from orchestrator.hardware import Hardware
from orchestrator.objective import Objective
from orchestrator.placeholders import names_in
from orchestrator.request import Request, full_size, read_request
from orchestrator.scale import scale
from orchestrator.space import Space, space_of
from orchestrator.strategy import make_strategy
from orchestrator.template import (
    SearchSection,
    Template,
)
from orchestrator.toml_file import flatten
from orchestrator.trial import SEED, Trial, draw_trials
from trainer.config import TierConfig
from trainer.identity import fingerprint
from trainer.tasks import metrics

LARGEST_PLAN = 10_000
"""Trials a plan may have unless `--max-trials` says otherwise."""


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Args:
        name: For the run directory and the reports.
        trials: In the order in which they start.
        axes: Dotted keys that vary.
        objective: What ranks.
        duplicates: Points that were the same trial as an earlier one, and left out.
        data_hashes: Content hashes of what is trained on.
        sources: Dotted key to where its value came from; keys not in it are defaults.
        notes: What a person should know.
    """

    name: str
    trials: tuple[Trial, ...]
    axes: tuple[str, ...]
    objective: Objective
    duplicates: int
    data_hashes: tuple[str, ...]
    sources: dict[str, str]
    notes: list[str] = field(default_factory=list)

    @property
    def hash(self) -> str:
        """Identify the sweep: its trials and what ranks them. Same hash, same sweep."""
        return fingerprint(
            {"trials": [trial.id for trial in self.trials], "objective": asdict(self.objective)}
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {
            "name": self.name,
            "hash": self.hash,
            "objective": asdict(self.objective),
            "axes": self.axes,
            "duplicates": self.duplicates,
            "notes": self.notes,
            "trials": [
                {
                    "id": t.id,
                    "point_id": t.point_id,
                    "seed": t.seed,
                    "changed": t.changed,
                    "parameters": t.parameters,
                    "steps": t.config.training.steps,
                    "tokens": t.tokens,
                    "flops": t.flops,
                }
                for t in self.trials
            ],
        }

    def to_json(self, reused: Mapping[str, str] | None = None) -> str:
        """Return the plan as `plan.json` holds it.

        Args:
            reused: Trial to the run it is reused from.
        """
        document = self.to_dict() | {"reused": dict(reused or {})}
        return json.dumps(document, indent=1, allow_nan=False)


def make_plan(request: Request, hardware: Hardware) -> Plan:
    """Turn a request into the trials it means.

    Raises:
        UsageError: All that is wrong with the request; nothing has been written.
    """
    reading = read_request(request, hardware)
    composition, template = reading.composition, reading.template
    axes: tuple[Axis, ...] = ()
    seeds: tuple[int, ...] | None = None
    search, objective = SearchSection(), Objective()
    if template is not None:
        axes, seeds = template.axes, template.seeds
        search, objective = template.search, template.objective
    if reading.scale is not None:
        small, axes, scaled_seeds = scale(
            reading.scale, full_size(reading), template, axes, reading.fixed
        )
        linked = [key for key, (value, _) in composition.settings.items() if names_in(value)]
        shrunk = {
            key: (value, place)
            for key, (value, place) in small.settings.items()
            if key not in linked or not place.startswith("--scale")  # they follow what fills them
        }
        composition = composition.over(Layer(shrunk))
        seeds = scaled_seeds or seeds
    composition = composition.over(Layer(reading.typed))
    if request.seeds is not None:
        seeds = tuple(range(request.seeds))
        if SEED in reading.typed:
            message = f"got --seeds {request.seeds} and {SEED}={reading.typed[SEED][0]}"
            raise UsageError(Problem(f"{message}, expected one of them", COMMAND_LINE))
    elif SEED in reading.typed:
        seeds = None

    for axis in axes:
        if axis.key in reading.typed:
            value = reading.typed[axis.key][0]
            composition.notes.append(f"axis {axis.key} is set to {value} on the {COMMAND_LINE}")
    axes = tuple(a for a in axes if a.key not in reading.typed)
    space = space_of([*axes, *reading.listed], template.require if template else ())
    _check_tier(composition, hardware)
    chosen = seeds or (None,)
    most = request.max_trials or search.max_trials
    method = request.search or search.method
    _check_space(request, space, chosen, most, method)
    strategy = make_strategy(
        method,
        space,
        search.seed,
        "--search" if request.search or template is None else template.file.place("search.method"),
    )
    facts: dict[tuple[Any, ...], tuple[str, int]] = {}
    draw = Draw(strategy, space, composition)
    trials, duplicates = draw_trials(draw, chosen, most, facts)
    composition.notes.extend(draw.notes())
    if duplicates:
        composition.notes.append(f"{duplicates} duplicate trials were left out")
    if most is not None and len(trials) >= most:
        composition.notes.extend(_cut(space, len(trials), len(chosen), duplicates))
    return Plan(
        name=request.name or _name(template, composition, space.axes),
        trials=tuple(trials),
        axes=tuple(axis.key for axis in space.axes),
        objective=_objective(objective, trials, template),
        duplicates=duplicates,
        data_hashes=tuple(sorted({data for data, _ in facts.values()})),
        sources={key: source for key, (_, source) in composition.settings.items()}
        | ({SEED: "seeds"} if seeds is not None else {}),
        notes=composition.notes,
    )


def _cut(space: Space, planned: int, seeds: int, duplicates: int) -> list[str]:
    """Say that the plan is a part of the space, where it is."""
    if not space.finite:
        return []
    wanted = space.size * seeds - duplicates
    bound = "" if space.exact else "up to "
    return [f"{planned} of {bound}{wanted:,} trials are planned"] if planned < wanted else []


def _name(template: Template | None, composition: Composition, axes: Sequence[Axis]) -> str:
    """Return the name of the sweep; the placeholders in it are those of all its trials."""
    if template is None:
        return "train"
    place = template.file.place("name")
    for name in names_in(template.name):
        if (key := named(name)[0]) in [axis.key for axis in axes]:
            message = f"name: got {{{{{name}}}}}, which is not one value: {key} is an axis"
            raise UsageError(Problem(message, place, "in [model], name names each trial"))
    return str(fill({**composition.settings, "name": (template.name, place)})["name"][0])


def _check_space(
    request: Request, space: Space, seeds: Sequence[int | None], most: int | None, method: str
) -> None:
    for axis in space.axes:
        if axis.key == SEED:
            raise UsageError(
                Problem(
                    "the seed is no axis: it is the unit of evidence",
                    axis.source,
                    "seeds = 3 in [space], or --seeds 3",
                )
            )
    _check_continuous(space, most, method)
    if not space.finite:
        return
    count = space.size * len(seeds)
    if most is None and count > LARGEST_PLAN:
        factors = [
            f"{' = '.join(axis.key for axis in group)} {len(group[0].values)}"
            for group in space.dimensions
        ]
        bound = "" if space.exact else "up to "
        product = " x ".join([*factors, f"seeds {len(seeds)}"])
        raise UsageError(
            Problem(
                f"got {bound}{count:,} trials ({product}), expected at most {LARGEST_PLAN:,}",
                f"[space] of {request.strategy}",
                "fewer values, or --search random --max-trials 100",
            )
        )


def _check_continuous(space: Space, most: int | None, method: str) -> None:
    """Refuse a continuum of values where it would have to be listed, or without an end."""
    problems = []
    for axis in (axis for axis in space.axes if axis.continuous):
        leaf = axis.key.rpartition(".")[2]
        if method == "grid":
            assert axis.interval is not None
            step = "" if axis.interval.log else "a step, or "
            problems.append(
                Problem(
                    f"axis {axis.key}: got a continuous range, a grid needs values to list",
                    axis.source,
                    f"--search random --max-trials 100, or give {leaf} {step}points = 5",
                )
            )
        elif most is None:
            problems.append(
                Problem(
                    f"axis {axis.key}: got a continuous range and no number of trials, the search"
                    " would not end",
                    axis.source,
                    "--max-trials 100, or max_trials = 100 in [search]",
                )
            )
    if problems:
        raise UsageError(*problems)


def _check_tier(composition: Composition, hardware: Hardware) -> None:
    """Refuse a tier that does not fit on this machine; all trials have the same one."""
    settings = composition.settings
    own = {key.removeprefix("tier."): v for key, (v, _) in settings.items() if key[:5] == "tier."}
    try:
        tier = TierConfig.model_validate(own)
    except ValidationError:  # the trials say it with its place
        return
    refusal = hardware.refuse(tier)
    if refusal is not None:
        key = refusal.partition(" ")[0]
        place = settings[key if key in settings else "tier.name"][1]
        raise UsageError(Problem(refusal, place, _tier_hint(refusal, hardware)))


def _tier_hint(refusal: str, hardware: Hardware) -> str:
    if refusal.startswith("tier.cpus"):
        return f"tier.cpus={hardware.cpus}"
    return "--tier cpu trains on the CPU"


def _objective(
    objective: Objective, trials: Sequence[Trial], template: Template | None
) -> Objective:
    """Refuse an objective that no trial will ever report."""
    for task, config in {t.config.data.task: t.config for t in trials}.items():
        names = metrics(config)
        if objective.metric not in names:
            raise UsageError(
                Problem(
                    f"objective.metric: got {objective.metric!r}, which task {task} does not"
                    f" report{nearest(objective.metric, names)}",
                    template.file.place("objective.metric") if template else "",
                    f"one of {', '.join(names)}",
                )
            )
    return objective


def sources_of(plan: Plan) -> Mapping[str, tuple[Any, str]]:
    """Return every setting of the first trial with where it came from."""
    trial = plan.trials[0]
    flat = flatten(trial.config.model_dump())
    return {
        key: (value, "axis" if key in trial.changed else plan.sources.get(key, "default"))
        for key, value in flat.items()
    }

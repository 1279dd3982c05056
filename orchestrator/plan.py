"""The ordered, de-duplicated trials of a sweep, before anything runs."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.compose import (
    COMMAND_LINE,
    Composition,
    Layer,
    Overrides,
    check,
    check_fields,
    check_options,
    compose_groups,
    read_override,
)
from orchestrator.errors import Problem, UsageError, gathering, nearest
from orchestrator.hardware import Hardware
from orchestrator.objective import Objective
from orchestrator.scale import scale
from orchestrator.shared_files import find_template
from orchestrator.space import Axis, Space, space_of
from orchestrator.strategy import make_strategy
from orchestrator.template import (
    SearchSection,
    Template,
    full_key,
    make_axis,
    read_base_config,
    read_template,
)
from orchestrator.toml_file import flatten
from trainer.config import RunConfig
from trainer.errors import InputError
from trainer.footprint import parameter_count, step_flops
from trainer.identity import fingerprint, point_id, trial_id
from trainer.tasks import data_hash, vocab_size

SEED = "training.seed"
AUTO = ("tier", "auto")
MOST_PARAMETERS = 10**15
LARGEST_PLAN = 10_000
"""Trials a plan may have unless `--max-trials` says otherwise."""


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
        max_trials: Most trials the plan may have; None: the template's, or `LARGEST_PLAN`.
        overrides: Positional arguments, Hydra's grammar.
        name: Of the run directory, instead of the template's.
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


@dataclass(frozen=True)
class Trial:
    """One point of the space with one seed.

    Args:
        id: Hash of what decides its result.
        position: Place in the plan, from 0.
        point_id: Shared by the seeds of a point.
        seed: `training.seed`.
        changed: Axis to value.
        config: The checked run config.
        parameters: Trained parameters.
        flops: Estimated floating-point operations of the whole run.
    """

    id: str
    position: int
    point_id: str
    seed: int
    changed: dict[str, Any]
    config: RunConfig
    parameters: int
    flops: float


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

    def to_json(self) -> str:
        """Return the plan as `plan.json` holds it."""
        return json.dumps(
            {
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
                        "flops": t.flops,
                    }
                    for t in self.trials
                ],
            },
            indent=1,
            allow_nan=False,
        )


@dataclass
class _Reading:
    """A request, read but not yet put together."""

    base: Layer = field(default_factory=lambda: Layer({}))
    template: Template | None = None
    overrides: Overrides = field(default_factory=Overrides)
    typed: dict[str, tuple[Any, str]] = field(default_factory=dict)
    listed: list[Axis] = field(default_factory=list)
    composition: Composition = field(default_factory=lambda: Composition({}))
    scale: str | None = None

    @property
    def fixed(self) -> dict[str, Any]:
        """What the command line sets, by dotted key; the largest value of an axis."""
        numbers = {a.key: [v for v in a.values if type(v) in (int, float)] for a in self.listed}
        largest = {key: max(values) for key, values in numbers.items() if values}
        return {key: value for key, (value, _) in self.typed.items()} | largest


def make_plan(request: Request, hardware: Hardware) -> Plan:
    """Turn a request into the trials it means.

    Raises:
        UsageError: All that is wrong with the request; nothing has been written.
    """
    reading = _read(request, hardware)
    composition, template = reading.composition, reading.template
    axes: tuple[Axis, ...] = ()
    seeds: tuple[int, ...] | None = None
    search, objective = SearchSection(), Objective()
    if template is not None:
        axes, seeds = template.axes, template.seeds
        search, objective = template.search, template.objective
    if reading.scale is not None:
        small, axes, scaled_seeds = scale(
            reading.scale, _full_size(reading), template, axes, reading.fixed
        )
        composition = composition.over(small)
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
    space = space_of([*(a for a in axes if a.key not in reading.typed), *reading.listed])
    chosen = seeds or (None,)
    most = request.max_trials or search.max_trials
    _check_space(request, space, chosen, most)
    method = request.search or search.method
    strategy = make_strategy(
        method,
        space,
        search.seed,
        "--search" if request.search or template is None else template.file.place("search.method"),
    )
    facts: dict[tuple[Any, ...], tuple[str, int]] = {}
    trials, duplicates = _trials(composition, strategy, space.axes, chosen, most, facts)
    if duplicates:
        composition.notes.append(f"{duplicates} duplicate trials were left out")
    wanted = space.size * len(chosen) - duplicates
    if most is not None and len(trials) < wanted:
        how = " in the grid's order: --search random draws them evenly" if method == "grid" else ""
        composition.notes.append(f"{len(trials)} of {wanted:,} trials are planned{how}")
    _check_fit(trials, hardware)
    return Plan(
        name=request.name or (template.name if template else "train"),
        trials=tuple(trials),
        axes=tuple(axis.key for axis in space.axes),
        objective=_objective(objective, trials, template),
        duplicates=duplicates,
        data_hashes=tuple(sorted({data for data, _ in facts.values()})),
        sources={key: source for key, (_, source) in composition.settings.items()}
        | ({SEED: "seeds"} if seeds is not None else {}),
        notes=composition.notes,
    )


def _read(request: Request, hardware: Hardware) -> _Reading:
    """Read all that a request names, and check each setting for itself.

    Raises:
        UsageError: All that is wrong, at once.
    """
    reading = _Reading()
    with gathering() as gather:
        with gather.step():
            if request.base_config is not None:
                reading.base = read_base_config(request.base_config)
        with gather.step():
            if request.strategy is not None:
                reading.template = read_template(find_template(request.strategy))
        files_are_read = not gather.problems
        for argument in request.overrides:
            with gather.step():
                read_override(argument, reading.overrides)
        for key, value in reading.overrides.settings.items():
            with gather.step():
                reading.typed[_once(key, reading)] = (value, COMMAND_LINE)
        for key, values in reading.overrides.axes.items():
            with gather.step():
                axis = make_axis(_once(key, reading), values, COMMAND_LINE)
                _check_axis(request, axis)
                reading.listed.append(axis)
        groups = dict(reading.overrides.groups)
        with gather.step():
            if request.tier is not None and "tier" in groups:
                message = f"got --tier {request.tier} and tier={groups['tier']}"
                raise UsageError(Problem(f"{message}, expected one of them", COMMAND_LINE))
        if request.tier is not None:
            groups["tier"] = request.tier
        explicit = {group for group, option in groups.items() if (group, option) != AUTO}
        if groups.get("tier", "auto") == "auto":
            groups["tier"] = hardware.best_tier()
        with gather.step():
            check_options(groups)
        if files_are_read and not explicit & {"model", "task"}:  # these say which keys there are
            with gather.step():
                check_fields(_files(reading).over(Layer(reading.typed)).settings)
    _compose(request, hardware, reading, groups, explicit)
    check_fields(reading.composition.over(Layer(reading.typed)).settings)
    return reading


def _once(key: str, reading: _Reading) -> str:
    full = full_key(key, COMMAND_LINE)
    if full in reading.typed or full in [axis.key for axis in reading.listed]:
        raise UsageError(Problem(f"{full} is given twice", COMMAND_LINE, "give each setting once"))
    return full


def _check_axis(request: Request, axis: Axis) -> None:
    values = ",".join(str(value) for value in axis.values)
    if request.strategy is None:
        raise UsageError(
            Problem(
                f"{axis.key}: got {len(axis.values)} values, a single run takes one",
                axis.source,
                f"arbiter sweep --strategy TEMPLATE {axis.key}={values}",
            )
        )


def _compose(
    request: Request,
    hardware: Hardware,
    reading: _Reading,
    groups: Mapping[str, str],
    explicit: Collection[str],
) -> None:
    """Put the groups, the base config and the template over each other."""
    group_layer, group_scale = compose_groups(groups, explicit)
    reading.scale = request.scale or group_scale
    composition = _files(reading, Composition({}).over(group_layer))
    if "tier" in explicit:  # a person's word now, against a file's from before
        own = {k: v for k, v in group_layer.settings.items() if k.startswith("tier.")}
        composition = composition.over(Layer(own))
    for key, (value, place) in group_layer.settings.items():
        after, source = composition.settings.get(key, (value, place))
        group = place.split("/")[1]
        if group in explicit and group != "tier" and after != value:
            composition.notes.append(
                f"{group}={groups[group]} sets {key} {value}; {source} {after}"
            )
    if "tier" not in explicit and composition.settings["tier.name"][0] == groups["tier"]:
        device = "no GPU is in use" if not hardware.gpus else f"{min(hardware.gpus):.0f} GiB a GPU"
        composition.notes.append(f"tier {groups['tier']}: {device}")
    reading.composition = composition


def _files(reading: _Reading, under: Composition | None = None) -> Composition:
    composition = (under or Composition({})).over(reading.base)
    return composition.over(reading.template.layer) if reading.template else composition


def _full_size(reading: _Reading) -> dict[str, Any]:
    """Return every setting as it is without a scale and, if it is whole so, the command line."""
    try:
        config = check(reading.composition.settings)
    except UsageError:  # the command line may give what the files lack
        config = check(reading.composition.over(Layer(reading.typed)).settings)
    return flatten(config.model_dump())


def _check_space(
    request: Request, space: Space, seeds: Sequence[int | None], most: int | None
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
    count = space.size * len(seeds)
    if most is None and count > LARGEST_PLAN:
        factors = [f"{axis.key} {len(axis.values)}" for axis in space.axes]
        product = " x ".join([*factors, f"seeds {len(seeds)}"])
        raise UsageError(
            Problem(
                f"got {count:,} trials ({product}), expected at most {LARGEST_PLAN:,}",
                f"[space] of {request.strategy}",
                "fewer values, or --search random --max-trials 100",
            )
        )


def _check_fit(trials: Sequence[Trial], hardware: Hardware) -> None:
    refused: dict[str, list[str]] = {}
    for trial in trials:
        refusal = hardware.refuse(trial.config.tier)
        if refusal is not None:
            refused.setdefault(refusal, []).append(trial.id)
    problems = [
        Problem(
            f"{refusal} (trial {ids[0]}{f' and {len(ids) - 1} more' if ids[1:] else ''})",
            "--tier",
            "--tier cpu trains on the CPU",
        )
        for refusal, ids in refused.items()
    ]
    if problems:
        raise UsageError(*problems)


def _trials(
    composition: Composition,
    strategy: Any,
    axes: Sequence[Axis],
    seeds: Sequence[int | None],
    most: int | None,
    hashes: dict[tuple[Any, ...], tuple[str, int]],
) -> tuple[list[Trial], int]:
    """Ask the strategy until it has no more points, or `most` trials are planned."""
    sources = {axis.key: axis.source for axis in axes}
    trials: dict[str, Trial] = {}
    problems: dict[str, Problem] = {}
    duplicates = 0
    while (most is None or len(trials) < most) and (points := strategy.ask(256)):
        for point in points:
            for seed in seeds:
                if most is not None and len(trials) >= most:
                    break
                values = {key: (value, sources[key]) for key, value in point.items()}
                if seed is not None:
                    values[SEED] = (seed, "seeds")
                try:
                    config = composition.config(values)
                    data, vocabulary = _data_facts(config, hashes)
                    trial = _trial(config, len(trials), dict(point), data, vocabulary)
                except UsageError as error:
                    problems |= {str(problem): problem for problem in error.problems}
                    continue
                except InputError as error:
                    key = str(error).partition(":")[0]
                    place = composition.settings.get(key, (None, ""))[1]
                    problem = Problem(str(error), place, error.hint)
                    problems[str(problem)] = problem
                    continue
                duplicates += trial.id in trials
                trials.setdefault(trial.id, trial)
        if len(problems) > 20:
            break
    if problems:
        raise UsageError(*problems.values())
    return list(trials.values()), duplicates


def _trial(
    config: RunConfig, position: int, changed: dict[str, Any], data: str, vocabulary: int
) -> Trial:
    batch = config.training.batch_size
    tokens = (config.data.p**2 // 2 if batch == "full" else batch) * config.seq_len  # type: ignore[union-attr]
    parameters = parameter_count(config, vocabulary)
    try:
        flops = step_flops(config, vocabulary, int(tokens)) * config.training.steps
    except OverflowError:
        flops = math.inf
    if parameters >= MOST_PARAMETERS or not math.isfinite(flops):
        raise UsageError(
            Problem(
                f"got about 1e{len(str(parameters)) - 1} parameters and {flops:.2g} operations,"
                f" expected fewer than {MOST_PARAMETERS:.0e} parameters",
                "[model]",
            )
        )
    return Trial(
        id=trial_id(config, data),
        position=position,
        point_id=point_id(config, data),
        seed=config.training.seed,
        changed=changed,
        config=config,
        parameters=parameters,
        flops=flops,
    )


def _data_facts(
    config: RunConfig, known: dict[tuple[Any, ...], tuple[str, int]]
) -> tuple[str, int]:
    """Return the data's hash and the vocabulary; trials mostly share them."""
    key = (config.data, getattr(config.model, "vocab_size", None))
    if key not in known:
        known[key] = data_hash(config), vocab_size(config)
    return known[key]


def _objective(
    objective: Objective, trials: Sequence[Trial], template: Template | None
) -> Objective:
    """Refuse an objective that no trial will ever report."""
    known = {
        "corpus": ("loss", "perplexity", "bits_per_byte", "accuracy"),
        "modular": ("loss", "accuracy"),
    }
    for task in {t.config.data.task for t in trials}:
        names = [f"val/{name}" for name in known[task]]
        if task == "modular":
            names += ["grok/memorised_step", "grok/generalised_step"]
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

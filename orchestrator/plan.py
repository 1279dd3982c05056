"""The ordered, de-duplicated trials of a sweep, before anything runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

from orchestrator.axis import Axis
from orchestrator.compose import Composition, Layer, fill, named
from orchestrator.draw import Draw
from orchestrator.errors import COMMAND_LINE, Problem, UsageError, nearest
from orchestrator.hardware import Hardware
from orchestrator.layering import full_size
from orchestrator.objective import Objective
from orchestrator.placeholders import names_in
from orchestrator.reading import read_request
from orchestrator.request import Request
from orchestrator.scale import scale
from orchestrator.space import Space
from orchestrator.space_check import check_space
from orchestrator.space_table import SEED
from orchestrator.strategy import make_strategy
from orchestrator.template import Template
from orchestrator.toml_file import flatten
from trainer.config import RunConfig, TierConfig
from trainer.errors import InputError
from trainer.footprint import parameter_count, step_flops
from trainer.identity import fingerprint, trial_and_point_id
from trainer.tasks import data_hash, metrics, vocab_size

MOST_PARAMETERS = 10**15
MOST_PROBLEMS = 20


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


def make_plan(request: Request, hardware: Hardware) -> Plan:
    """Turn a request into the trials it means.

    Raises:
        UsageError: All that is wrong with the request; nothing has been written.
    """
    reading = read_request(request, hardware)
    composition, template = reading.composition, reading.template
    axes, scaled_seeds = reading.axes, None
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
    composition = composition.over(Layer(reading.typed))
    for axis in axes:
        if axis.key in reading.typed:
            value = reading.typed[axis.key][0]
            composition.notes.append(f"axis {axis.key} is set to {value} on the {COMMAND_LINE}")
    _check_tier(composition, hardware)
    seeds = reading.seeds(scaled_seeds)
    chosen = seeds or (None,)
    space, most = reading.space(axes), reading.most
    check_space(space, len(chosen), most, reading.method, reading.space_place)
    strategy = make_strategy(reading.method, space, reading.search.seed, reading.method_place)
    facts: dict[tuple[Any, ...], tuple[str, int]] = {}
    draw = Draw(strategy, space, composition)
    trials, duplicates = _trials(draw, chosen, most, facts)
    composition.notes.extend(draw.notes())
    if duplicates:
        composition.notes.append(f"{duplicates} duplicate trials were left out")
    if most is not None and len(trials) >= most:
        composition.notes.extend(_cut(space, len(trials), len(chosen), duplicates))
    return Plan(
        name=request.name or _name(template, composition, space.axes),
        trials=tuple(trials),
        axes=tuple(axis.key for axis in space.axes),
        objective=_objective(template, trials),
        duplicates=duplicates,
        data_hashes=tuple(sorted({data for data, _ in facts.values()})),
        sources={
            key: source
            for key, (_, source) in {
                **composition.settings,
                **draw.settings(trials[0].changed),
            }.items()
        }
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
        if (key := named(name)[0]) in [key for axis in axes for key in axis.keys]:
            message = f"name: got {{{{{name}}}}}, which is not one value: {key} is an axis"
            raise UsageError(Problem(message, place, "in [model], name names each trial"))
    return str(fill({**composition.settings, "name": (template.name, place)})["name"][0])


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


def _trials(
    draw: Draw,
    seeds: Sequence[int | None],
    most: int | None,
    hashes: dict[tuple[Any, ...], tuple[str, int]],
) -> tuple[list[Trial], int]:
    """Draw points until there are no more, or `most` trials are planned."""
    composition = draw.composition
    trials: dict[str, Trial] = {}
    problems: dict[str, Problem] = {}
    duplicates = 0
    for point in draw:
        for seed in seeds:
            if most is not None and len(trials) >= most:
                break
            values = draw.settings(point)
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
        if len(problems) > MOST_PROBLEMS or (most is not None and len(trials) >= most):
            break
    if problems:
        raise UsageError(*problems.values())
    if not trials:
        draw.refuse_nothing()
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
    trial, point = trial_and_point_id(config, data)
    return Trial(
        id=trial,
        position=position,
        point_id=point,
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


def _objective(template: Template | None, trials: Sequence[Trial]) -> Objective:
    """Refuse an objective that no trial will ever report."""
    objective = template.objective if template else Objective()
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

"""The ordered, de-duplicated trials of a sweep, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.compose import (
    Composition,
    Layer,
    Overrides,
    check,
    compose_groups,
    parse_overrides,
)
from orchestrator.errors import Problem, UsageError, gathering
from orchestrator.hardware import Hardware
from orchestrator.objective import Objective
from orchestrator.scale import scale
from orchestrator.shared_files import find_template
from orchestrator.space import Axis, space_of
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


def make_plan(request: Request, hardware: Hardware) -> Plan:
    """Turn a request into the trials it means.

    Raises:
        UsageError: All that is wrong with the request; nothing has been written.
    """
    template: Template | None = None
    base, overrides = Layer({}), Overrides()
    typed: dict[str, tuple[Any, str]] = {}
    listed: list[Axis] = []
    place = "command line"
    with gathering() as gather:
        with gather.step():
            overrides = parse_overrides(request.overrides)
        with gather.step():
            base = read_base_config(request.base_config) if request.base_config else base
        with gather.step():
            template = read_template(find_template(request.strategy)) if request.strategy else None
        for key, value in overrides.settings.items():
            with gather.step():
                typed[full_key(key, place)] = (value, place)
        for key, values in overrides.axes.items():
            with gather.step():
                listed.append(make_axis(key, values, place))

    groups = dict(overrides.groups)
    if request.tier is not None:
        groups["tier"] = request.tier
    explicit = set(groups)
    notes = []
    if groups.get("tier", "auto") == "auto":
        explicit.discard("tier")
        groups["tier"] = hardware.best_tier()
        device = "no GPU is in use" if not hardware.gpus else f"{min(hardware.gpus):.0f} GiB a GPU"
        notes.append(f"tier {groups['tier']}: {device}")
    group_layer, group_scale = compose_groups(groups, explicit)

    composition = Composition({}, notes).over(group_layer).over(base)
    axes: tuple[Axis, ...] = ()
    seeds: tuple[int, ...] | None = None
    search, objective = SearchSection(), Objective()
    if template is not None:
        composition = composition.over(template.layer)
        axes, seeds = template.axes, template.seeds
        search, objective = template.search, template.objective
    scale_name = request.scale or group_scale
    if scale_name is not None:
        flat = flatten(check(composition.settings).model_dump())
        small, axes, scaled_seeds = scale(scale_name, flat, template, axes)
        composition = composition.over(small)
        seeds = scaled_seeds or seeds
    composition = composition.over(Layer(typed))
    if request.seeds is not None:
        seeds = tuple(range(request.seeds))

    fixed = {axis.key for axis in axes} & set(typed)
    axes = tuple(
        axis for axis in axes if axis.key not in fixed
    )  # the command line has the last word
    space = space_of([*axes, *listed])
    if any(axis.key == "training.seed" for axis in space.axes):
        raise UsageError(
            Problem(
                "the seed is no axis: it is the unit of evidence",
                "[space] training.seed",
                "seeds = 3, or --seeds 3",
            )
        )
    method = request.search or search.method
    strategy = make_strategy(
        method, space, search.seed, "--search" if request.search else "[search] method"
    )
    most = request.max_trials or search.max_trials
    chosen = seeds or (None,)
    if most is None and space.size * len(chosen) > LARGEST_PLAN:
        raise UsageError(
            Problem(
                f"{space.size * len(chosen):,} trials ({_product(space.axes, len(chosen))}):"
                f" expected at most {LARGEST_PLAN:,}",
                "[space]",
                "fewer values, or --search random --max-trials 100",
            )
        )
    facts: dict[tuple[Any, ...], tuple[str, int]] = {}
    trials, duplicates = _trials(composition, strategy, space.axes, chosen, most, facts)
    if duplicates:
        composition.notes.append(f"{duplicates} duplicate trials were left out")
    problems = {
        refusal: Problem(
            f"trial {t.id}: {refusal}", f"tier {t.config.tier.name}", "--tier cpu, or --gpus 0"
        )
        for t in trials
        if (refusal := hardware.refuse(t.config.tier)) is not None
    }
    if problems:
        raise UsageError(*problems.values())
    return Plan(
        name=request.name or (template.name if template else "train"),
        trials=tuple(trials),
        axes=tuple(axis.key for axis in space.axes),
        objective=_objective(objective, trials),
        duplicates=duplicates,
        data_hashes=tuple(sorted({data for data, _ in facts.values()})),
        sources={key: source for key, (_, source) in composition.settings.items()},
        notes=composition.notes,
    )


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
                    values["training.seed"] = (seed, "seeds")
                try:
                    config = composition.config(values)
                    data, vocabulary = _data_facts(config, hashes)
                except UsageError as error:
                    problems |= {str(problem): problem for problem in error.problems}
                    continue
                except InputError as error:
                    problem = Problem(str(error), "", error.hint)
                    problems[str(problem)] = problem
                    continue
                trial = _trial(config, len(trials), dict(point), data, vocabulary)
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
    return Trial(
        id=trial_id(config, data),
        position=position,
        point_id=point_id(config, data),
        seed=config.training.seed,
        changed=changed,
        config=config,
        parameters=parameter_count(config, vocabulary),
        flops=step_flops(config, vocabulary, int(tokens)) * config.training.steps,
    )


def _data_facts(
    config: RunConfig, known: dict[tuple[Any, ...], tuple[str, int]]
) -> tuple[str, int]:
    """Return the data's hash and the vocabulary; trials mostly share them."""
    key = (config.data, getattr(config.model, "vocab_size", None))
    if key not in known:
        known[key] = data_hash(config), vocab_size(config)
    return known[key]


def _objective(objective: Objective, trials: Sequence[Trial]) -> Objective:
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
                    f"task {task} does not report {objective.metric!r}",
                    "[objective] metric",
                    f"one of {', '.join(names)}",
                )
            )
    return objective


def _product(axes: Sequence[Axis], seeds: int) -> str:
    factors = [f"{axis.key} {len(axis.values)}" for axis in axes]
    return " x ".join([*factors, f"seeds {seeds}"])


def sources_of(plan: Plan) -> Mapping[str, tuple[Any, str]]:
    """Return every setting of the first trial with where it came from."""
    trial = plan.trials[0]
    flat = flatten(trial.config.model_dump())
    return {
        key: (value, "axis" if key in trial.changed else plan.sources.get(key, "default"))
        for key, value in flat.items()
    }

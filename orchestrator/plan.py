"""The ordered, de-duplicated trials of a sweep, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

from orchestrator.ablation.settings import AblationSettings
from orchestrator.ablation.variants import AXIS, around_baseline, untried
from orchestrator.automatic import choose, sayings
from orchestrator.axis import Axis
from orchestrator.compose import Composition, Layer, fill, named
from orchestrator.draw import Draw
from orchestrator.errors import COMMAND_LINE, Problem, UsageError, gathering, nearest
from orchestrator.fitting import PLACE
from orchestrator.groups import place_of
from orchestrator.hardware import Hardware
from orchestrator.layering import full_size
from orchestrator.objective import Objective, objective_of
from orchestrator.placeholders import names_in
from orchestrator.reading import read_request
from orchestrator.request import Request
from orchestrator.scale import scale
from orchestrator.settings import default_of
from orchestrator.space import Space
from orchestrator.space_check import check_space
from orchestrator.space_table import SEED
from orchestrator.strategy import AROUND, make_strategy, points_asked
from orchestrator.sweep_id import sweep_hash
from orchestrator.template import Template
from orchestrator.toml_file import flatten
from orchestrator.trial import DataFacts, Trial, draw_trials, make_trial
from trainer.config import BYTES, CorpusData, DecoderConfig, RunConfig, TierConfig
from trainer.errors import InputError
from trainer.grokking import HOLD
from trainer.identity import without_effect
from trainer.tasks import metrics


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
        baseline: Id of the point that the others are compared with; None where there is none.
        ablation: How its trials are started and shown; None of any other sweep.
    """

    name: str
    trials: tuple[Trial, ...]
    axes: tuple[str, ...]
    objective: Objective
    duplicates: int
    data_hashes: tuple[str, ...]
    sources: dict[str, str]
    notes: list[str] = field(default_factory=list)
    baseline: str | None = None
    ablation: AblationSettings | None = None

    @property
    def hash(self) -> str:
        """Identify the sweep: its trials and what judges them. Same hash, same sweep."""
        return sweep_hash(
            [trial.id for trial in self.trials], asdict(self.objective), self.baseline
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
            **({} if self.baseline is None else {"baseline": self.baseline}),
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
    if reading.ablation is not None:
        place = reading.place_about("baseline")
        space = around_baseline(space, composition, reading.ablation, place)
        if reading.ablation.mode == "leave-one-out":
            composition.notes.extend(untried(space))
    check_space(space, len(chosen), most, reading.method, reading.space_place)
    strategy = make_strategy(reading.method, space, reading.search.seed, reading.method_place)
    facts = DataFacts()
    draw = Draw(strategy, space, composition)
    trials, duplicates = draw_trials(draw, chosen, most, facts)
    planned, fitted = trials[0].config.tier, _own_tier(composition)
    trials = choose(trials, hardware, fitted, automatic=reading.automatic)
    if reading.automatic:
        composition.notes.extend(sayings(trials, hardware))
    composition.notes.extend(draw.notes())
    composition.notes.extend(_unused_symbols(trials))
    if duplicates:
        composition.notes.append(_left_out(duplicates))
    if most is not None and len(trials) >= most and space.finite:
        wanted = points_asked(reading.method, space) * len(chosen) - duplicates
        cut = _cut(space, len(trials), wanted)
        if cut and reading.ablation is not None:
            cut.append(f"ablation.max_runs is spent on whole variants of {len(chosen)} seeds")
        composition.notes.extend(cut)
    if reading.ablation is not None:
        _refuse_alone(trials, most)
    first = composition.settings | draw.settings(trials[0].changed)
    _refuse_idle(trials, first)
    return Plan(
        name=request.name or _name(template, composition, space.axes),
        trials=tuple(trials),
        axes=tuple(axis.key for axis in space.axes),
        objective=_objective(template, trials),
        duplicates=duplicates,
        data_hashes=facts.hashes,
        sources={key: source for key, (_, source) in first.items()}
        | ({SEED: "seeds"} if seeds is not None else {})
        | dict.fromkeys(_differing(planned, trials[0].config.tier), PLACE),
        notes=composition.notes,
        baseline=trials[0].point_id if space.baseline or reading.method in AROUND else None,
        ablation=reading.ablation,
    )


def _refuse_alone(trials: Sequence[Trial], most: int | None) -> None:
    """Refuse a baseline that nothing is compared with."""
    if len({trial.point_id for trial in trials}) > 1:
        return
    message, hint = "got the baseline alone, expected a variant that is something else", ""
    if most is not None and len(trials) >= most:
        hint = f"ablation.max_runs={2 * most} leaves room for one variant"
    raise UsageError(Problem(message, COMMAND_LINE, hint or AXIS))


def _refuse_idle(trials: Sequence[Trial], settings: Mapping[str, tuple[Any, str]]) -> None:
    """Refuse a setting that has no effect in any trial. Its default, as a snapshot has it, is none.

    Args:
        trials: Of the plan.
        settings: Dotted key to (value, source), of the first of them.
    """
    problems = []
    for key, why in without_effect(trials[0].config).items():
        if key not in settings or settings[key][0] == default_of(key, settings):
            continue
        if all(key in without_effect(trial.config) for trial in trials):
            value, place = settings[key]
            message = f"{key}: got {value}, which has no effect: {why}"
            problems.append(Problem(message, place, f"leave {key} out"))
    if problems:
        raise UsageError(*problems)


def _unused_symbols(trials: Sequence[Trial]) -> list[str]:
    """Say that a vocabulary is larger than what bytes can use, as where no tokenizer was named."""
    most = BYTES
    for config in (trial.config for trial in trials):
        data, model = config.data, config.model
        bytewise = isinstance(data, CorpusData) and data.tokenizer == "byte"
        if bytewise and isinstance(model, DecoderConfig) and model.vocab_size is not None:
            most = max(most, model.vocab_size)
    if most == BYTES:
        return []
    return [
        f'model.vocab_size = {most}: data.tokenizer = "byte" uses {BYTES} of'
        " them; data.tokenizer=bpe trains a vocabulary of that size"
    ]


def _left_out(duplicates: int) -> str:
    """Say how many trials were the same as an earlier one."""
    were = "trials were" if duplicates > 1 else "trial was"
    return f"{duplicates:,} duplicate {were} left out"


def _cut(space: Space, planned: int, wanted: int) -> list[str]:
    """Say that the plan is a part of what was asked for, where it is."""
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


def _own_tier(composition: Composition) -> set[str]:
    """Return the settings of the tier that somebody has set, by name."""
    group = place_of("tier", composition.options.get("tier", ""))
    return {
        key.removeprefix("tier.")
        for key, (_, place) in composition.settings.items()
        if key.startswith("tier.") and place != group
    }


def _differing(before: TierConfig, after: TierConfig) -> list[str]:
    return [
        f"tier.{name}"
        for name in TierConfig.model_fields
        if getattr(before, name) != getattr(after, name)
    ]


def _tier_hint(refusal: str, hardware: Hardware) -> str:
    if refusal.startswith("tier.cpus"):
        return f"tier.cpus={hardware.cpus}"
    if refusal.startswith("tier.workers"):
        return f"tier.workers={hardware.cpus} tier.cpus=1"
    return "--tier cpu trains on the CPU"


def _objective(template: Template | None, trials: Sequence[Trial]) -> Objective:
    if template is None or "objective" not in template.file.tables:
        own = {objective_of(trial.config.data.task) for trial in trials}
        return _reported(own.pop() if len(own) == 1 else Objective(), trials)
    return _reported(template.objective, trials, template.file.place("objective.metric"))


def _reported(objective: Objective, trials: Sequence[Trial], place: str = "") -> Objective:
    """Refuse an objective that no trial will ever report."""
    for task, config in {t.config.data.task: t.config for t in trials}.items():
        names = metrics(config)
        if objective.metric not in names:
            raise UsageError(
                Problem(
                    f"objective.metric: got {objective.metric!r}, which task {task} does not"
                    f" report{nearest(objective.metric, names)}",
                    place,
                    f"one of {', '.join(names)}",
                )
            )
    for config in (t.config for t in trials if objective.event):
        training = config.training
        if (evaluations := -(-training.steps // training.eval_interval)) < HOLD:
            raise UsageError(
                Problem(
                    f"objective.metric: {objective.metric} takes {HOLD} evaluations in a row, the"
                    f" run has {evaluations}: training.eval_interval is {training.eval_interval} of"
                    f" {training.steps} steps",
                    place,
                    f"training.eval_interval={max(1, training.steps // 20)}",
                )
            )
    return objective


def plan_of_configs(
    name: str,
    entries: Sequence[tuple[RunConfig, dict[str, Any]]],
    objective: Objective,
    sources: Mapping[str, str],
) -> Plan:
    """Return the plan of run configs that are whole already.

    Args:
        name: For the run directory and the reports.
        entries: A config and the axes' values of it, for each trial.
        objective: What ranks.
        sources: Dotted key to where its value came from.

    Raises:
        UsageError: All that is wrong with the trials.
    """
    facts = DataFacts()
    trials: dict[str, Trial] = {}
    with gathering() as gather:
        for config, changed in entries:
            with gather.step():
                try:
                    trial = make_trial(config, len(trials), changed, facts)
                except InputError as error:
                    raise UsageError(Problem(str(error), "", error.hint)) from error
                trials.setdefault(trial.id, trial)
    planned = list(trials.values())
    duplicates = len(entries) - len(planned)
    return Plan(
        name=name,
        trials=tuple(planned),
        axes=tuple({key: None for trial in planned for key in trial.changed}),
        objective=_reported(objective, planned),
        duplicates=duplicates,
        data_hashes=facts.hashes,
        sources=dict(sources),
        notes=[_left_out(duplicates)] if duplicates else [],
    )


def sources_of(plan: Plan) -> Mapping[str, tuple[Any, str]]:
    """Return every setting of the first trial with where it came from."""
    trial = plan.trials[0]
    flat = flatten(trial.config.model_dump())
    return {
        key: (value, "axis" if key in trial.changed else plan.sources.get(key, "default"))
        for key, value in flat.items()
    }

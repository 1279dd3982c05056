"""From `ablate …` to trials: which variants, which baseline, and what is refused."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from orchestrator.ablation.settings import AblationSettings
from orchestrator.ablation.variants import around_baseline
from orchestrator.compose import Composition, Layer
from orchestrator.errors import UsageError
from orchestrator.groups import compose_groups
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request
from orchestrator.space import Space
from orchestrator.strategy import make_strategy
from tests.sweeps import CPU_ONLY, tiny_plan

BASE = (
    "task=modular",
    "trainer=ablation",
    "model=quadratic_mlp",
    "data.p=13",
    "model.dim=16",
    "training.steps=60",
)
DECAY = "training.weight_decay=0.0,0.05,0.1"
RATE = "training.learning_rate=0.001,0.01"


@cache
def plan_of(*words: str, base: tuple[str, ...] = BASE) -> Plan:
    return make_plan(Request(ablation=True, overrides=(*base, *words)), CPU_ONLY)


def points(plan: Plan) -> list[dict[str, Any]]:
    """The planned points in order, without their sections."""
    found: dict[str, dict[str, Any]] = {}
    for trial in plan.trials:
        changed = {key.rpartition(".")[2]: value for key, value in trial.changed.items()}
        found.setdefault(trial.point_id, changed)
    return [*found.values()]


def refusal(*words: str, base: tuple[str, ...] = BASE) -> str:
    with pytest.raises(UsageError) as caught:
        plan_of(*words, base=base)
    return str(caught.value)


def test_a_grid_is_three_variants_of_three_seeds_with_the_baseline_first() -> None:
    plan = plan_of(DECAY, "ablation.seeds=3")
    assert points(plan) == [{"weight_decay": v} for v in (0.1, 0.0, 0.05)]  # 0.1 is the default
    assert [trial.seed for trial in plan.trials] == [0, 1, 2] * 3
    assert plan.baseline == plan.trials[0].point_id
    assert json.loads(plan.to_json())["baseline"] == plan.baseline
    assert plan.duplicates == 0
    assert points(plan_of(DECAY)) == points(plan)  # three seeds are the default


def test_a_baseline_that_is_no_grid_point_is_planned_too() -> None:
    plan = plan_of("training.weight_decay=0.0,0.2", RATE, "ablation.seeds=1")
    own = {"weight_decay": 0.1, "learning_rate": 0.0003}
    assert points(plan)[0] == own and len(points(plan)) == 5
    assert own not in points(plan)[1:]


def test_one_at_a_time_changes_one_axis_of_the_baseline() -> None:
    words = ("ablation.mode=one-at-a-time", "ablation.seeds=2")
    base = "ablation.baseline=training.weight_decay=0.05,learning_rate=0.01"
    assert points(plan_of(DECAY, RATE, *words, base)) == [
        {"weight_decay": 0.05, "learning_rate": 0.01},
        {"weight_decay": 0.0, "learning_rate": 0.01},
        {"weight_decay": 0.1, "learning_rate": 0.01},
        {"weight_decay": 0.05, "learning_rate": 0.001},
    ]


def test_leave_one_out_takes_the_value_of_an_axis_that_is_off() -> None:
    plan = plan_of(DECAY, "training.warmup_steps=0,5", "ablation.mode=leave-one-out")
    # The warm-up is off in the baseline already.
    assert points(plan) == [
        {"weight_decay": 0.1, "warmup_steps": 0},
        {"weight_decay": 0.0, "warmup_steps": 0},
    ]
    untried = [note for note in plan.notes if "untried" in note]
    assert len(untried) == 2 and "training.weight_decay=0.05 untried" in untried[0]
    assert "ablation.baseline='training.weight_decay=0.05' starts from it" in untried[0]
    assert "training.learning_rate: got 0.001, 0.01, leave-one-out needs" in refusal(
        RATE, "ablation.mode=leave-one-out"
    )
    assert "nothing is on that task modular could leave out" in refusal(
        "ablation.mode=leave-one-out"
    )


@pytest.mark.parametrize(
    "given",
    [
        "ablation.baseline=training.weight_decay=0.05",
        "ablation.baseline='training.weight_decay=0.05'",
        "ablation.baseline={training.weight_decay: 0.05}",
        "ablation.baseline={training: {weight_decay: 0.05}}",
        "ablation.baseline=weight_decay=0.05",
    ],
)
def test_a_baseline_is_named_in_any_of_these_ways(given: str) -> None:
    plan = plan_of(DECAY, given)
    assert points(plan)[0] == {"weight_decay": 0.05}
    assert len(points(plan)) == 3


def test_another_baseline_is_another_sweep() -> None:
    hashes = {
        plan_of("training.weight_decay=0.1,0.2", f"ablation.baseline=weight_decay={value}").hash
        for value in (0.1, 0.2)
    }
    assert len(hashes) == 2


@pytest.mark.parametrize("given", ["ablation.seeds=4,9", "ablation.seeds=[4,9]"])
def test_seeds_are_listed_and_the_same_for_every_variant(given: str) -> None:
    plan = plan_of(DECAY, given)
    assert [trial.seed for trial in plan.trials] == [4, 9] * 3


def test_a_group_is_an_axis_and_the_baseline_the_option_that_it_is_composed_of() -> None:
    base = tuple(word for word in BASE if not word.startswith("model"))
    models = "model=quadratic_mlp,small_decoder"
    plan = plan_of(models, "ablation.seeds=1", "ablation.baseline=model=small_decoder", base=base)
    assert points(plan) == [{"model": "small_decoder"}, {"model": "quadratic_mlp"}]
    plan = plan_of(models, "ablation.seeds=1", base=base)
    # None of the two is what a decoder is by default: the baseline is a third point.
    assert points(plan)[0] == {} and len(points(plan)) == 3


def test_max_runs_keeps_the_baseline_and_whole_variants() -> None:
    plan = plan_of(DECAY, RATE, "ablation.max_runs=8", "ablation.seeds=3")
    assert [trial.seed for trial in plan.trials] == [0, 1, 2, 0, 1, 2]
    assert plan.baseline == plan.trials[0].point_id
    assert "6 of 21 trials are planned" in plan.notes
    assert any("whole variants of 3 seeds" in note for note in plan.notes)
    assert "ablation.max_runs: got 2, expected at least 3" in refusal(DECAY, "ablation.max_runs=2")
    assert "ablation.max_runs=6 leaves room" in refusal(DECAY, "ablation.max_runs=3")


def test_a_timeout_is_the_wall_clock_of_each_trial() -> None:
    plan = plan_of(DECAY, "ablation.timeout_minutes=2.5")
    assert {trial.config.limits.wall_clock_minutes for trial in plan.trials} == {2.5}
    assert plan.hash == plan_of(DECAY).hash  # a limit decides no result


def test_how_trials_are_started_is_no_part_of_the_plan() -> None:
    words = ("randomize_order=true", "parallel_runs=2", "retry_failed=3", "top_n=1")
    plan = plan_of(DECAY, *(f"ablation.{word}" for word in words))
    assert plan.hash == plan_of(DECAY).hash
    assert plan.to_dict() == plan_of(DECAY).to_dict()
    assert plan.ablation is not None and plan.ablation.parallel_runs == 2


def test_the_preset_carries_every_setting_and_the_command_line_decides() -> None:
    plan = plan_of(DECAY)
    assert plan.ablation is not None and plan.ablation.top_n == 10
    changed = plan_of(DECAY, "ablation.top_n=2").ablation
    assert changed is not None and changed.top_n == 2
    assert changed == plan.ablation.model_copy(update={"top_n": 2})


def test_all_that_is_wrong_is_said_at_once_with_its_name() -> None:
    wrong = {
        "ablation.mod=grid": "unknown key ablation.mod - did you mean ablation.mode?",
        "ablation.mode=grd": "did you mean grid?",
        "ablation.seeds=0": "seeds: got 0, expected a count from 1",
        "ablation.top_n=0": "ablation.top_n: got 0, expected at least 1",
        "ablation.parallel_runs=1.5": "ablation.parallel_runs: got 1.5, expected a whole number",
        "ablation.timeout_minutes=0": "ablation.timeout_minutes: got 0, expected more than 0",
        "ablation.retry_failed=-1": "ablation.retry_failed: got -1, expected at least 0",
        "ablation.randomize_order=1": "ablation.randomize_order: got 1, expected true or false",
        "training.warmup_steps=x": "training.warmup_steps: got 'x', expected a whole number",
    }
    said = refusal(DECAY, *wrong)
    assert [text for text in wrong.values() if text not in said] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ablation.seeds=[1,1]",), "seeds: got 1, expected each seed once"),
        (("ablation.top_n=1", "ablation.top_n=2"), "ablation.top_n is given twice"),
        (
            (
                "ablation.seeds=2",
                "training.seed=4",
                "ablation.timeout_minutes=2",
                "limits.wall_clock_minutes=3",
            ),
            "got ablation.timeout_minutes and limits.wall_clock_minutes=3",
        ),
        (("ablation.baseline=training.learning_rate=1",), "training.learning_rate is varied by no"),
        (("ablation.baseline=weight_decai=1",), "unknown setting weight_decai - did you mean"),
        (("ablation.baseline=nothing",), "ablation.baseline: got 'nothing', expected values of"),
        (("ablation.baseline={}",), "ablation.baseline: got {}, expected values of axes"),
    ],
)
def test_what_is_wrong_is_said_with_its_name(words: tuple[str, ...], expected: str) -> None:
    said = refusal(DECAY, *words)
    assert expected in said
    assert "training.seed=4" not in words or "got ablation.seeds and training.seed=4" in said


def test_there_must_be_something_to_compare() -> None:
    assert "got no axis" in refusal()
    assert "got the baseline alone" in refusal("training.weight_decay=0.1,0.1")
    assert "a grid needs values to list" in refusal("training.weight_decay=interval(0,1)")


def test_a_search_around_a_point_names_it_as_the_baseline(tmp_path: Any) -> None:
    """In any sweep: the first value of each axis is what the others are compared with."""
    tiny_plan(tmp_path)
    request = Request(strategy=str(tmp_path / "tiny.toml"), search="one-at-a-time")
    plan = make_plan(request, CPU_ONLY)
    assert plan.baseline == plan.trials[0].point_id
    assert tiny_plan(tmp_path).baseline is None
    assert "baseline" not in tiny_plan(tmp_path).to_dict()


def test_of_spectra_each_penalty_and_each_rule_that_is_on_is_left_out() -> None:
    chosen = compose_groups({"task": "ariel", "trainer": "ablation"}, {"task", "trainer"})
    on = Composition(dict(chosen.layer.settings), options=chosen.options)
    off = on.over(Layer({"loss.composite.fft.weight": (0.0, "test")}))
    settings = AblationSettings(mode="leave-one-out")
    space = around_baseline(Space(), on, settings, "test")
    weights = [f"loss.composite.{t}.weight" for t in ("smoothness", "fft", "nonnegativity")]
    rules = [f"symbolic.{r}.enabled" for r in ("molecular_fingerprint", "gravitational_lensing")]
    parts = [*weights, "loss.composite.asymmetry.weight", *rules]
    assert [axis.key for axis in space.axes] == parts  # the likelihood stays
    assert space.baseline == dict(zip(parts, (0.1, 0.1, 0.05, 0.05, True, True), strict=True))
    asked = make_strategy("leave-one-out", space, 0, "test").ask(99)
    assert [{k: v for k, v in p.items() if v != space.baseline[k]} for p in asked] == [
        {},
        *({weight: 0.0} for weight in parts[:4]),
        *({rule: False} for rule in rules),
    ]
    assert [axis.key for axis in around_baseline(Space(), off, settings, "test").axes] == [
        part for part in parts if "fft" not in part
    ]

"""Times until a run generalises on the leaderboard, where some runs end before they do."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from orchestrator.layout import RunDirectory
from orchestrator.leaderboard import Leaderboard, build, rank, render
from orchestrator.leaderboard.survival import log_rank, quantile, survival
from orchestrator.ledger import State, TrialRecord
from orchestrator.objective import Objective, Observation
from orchestrator.plan import make_plan
from orchestrator.request import Request
from orchestrator.trial_page import read_trial_page, render_trial
from orchestrator.verify import find_damage
from tests.sweeps import CPU_ONLY, run_plan, tiny_plan
from trainer.reporting import Reason

GENERALISED, DELAY = "grok/generalised_step", "grok/delay"
HALF = Fraction(1, 2)
GROKS = (
    *("data.p=23", "data.train_frac=0.8", "model.dim=64", "training.learning_rate=0.03"),
    *("training.beta2=0.98", "training.grad_clip=null", "training.eval_interval=5"),
)


def seen(*values: float) -> list[Observation]:
    """Observations; a negative number is a censored one."""
    return [Observation(abs(value), censored=value < 0) for value in values]


def trials(
    points: dict[str, list[float]],
    metric: str = GENERALISED,
    reason: Reason = Reason.FINISHED,
    step: int = 4_000,
    **final: float,
) -> list[TrialRecord]:
    """Runs of 4,000 steps; a negative time is how long a run was watched that did not get there."""
    found = []
    for point, values in points.items():
        for seed, value in enumerate(values):
            own = {metric: value} if value > 0 else {}
            found.append(
                TrialRecord(
                    id=f"{point}{seed}",
                    position=len(found),
                    point_id=point,
                    seed=seed,
                    changed={"training.weight_decay": point},
                    config={"training": {"eval_interval": 10}},
                    state=State.ENDED,
                    reason=reason,
                    step=step if value > 0 else int(-value) + 20,
                    final={"grok/state": 1.0} | own | final,
                )
            )
    return found


def board(found: list[TrialRecord], **objective: Any) -> Leaderboard:
    chosen = Objective(**({"metric": GENERALISED} | objective))
    return build(found, chosen, title="decay", run_directory="runs/decay")


# The estimate


def test_a_curve_worked_by_hand() -> None:
    # Six seeds: 10, 20+, 30, 30, 50+, 60. After 10: 5/6. At 30 four are watched and two happen:
    # 5/6 * 1/2 = 5/12. At 60 one of one: 0.
    observations = seen(10, -20, 30, 30, -50, 60)
    curve = survival(observations)
    assert curve == [(10, Fraction(5, 6)), (30, Fraction(5, 12)), (60, 0)]
    assert quantile(curve, HALF) == 30
    assert quantile(curve, Fraction(1, 4)) == 30 and quantile(curve, Fraction(3, 4)) == 60
    assert survival(seen(-10, -20)) == [] and quantile([], HALF) is None
    # A run that is censored when another one happens was still watched then.
    assert survival(seen(10, -10)) == [(10, HALF)]


@pytest.mark.parametrize("seed", range(20))
def test_the_curve_and_its_median_are_those_of_scipy(seed: int) -> None:
    from scipy.stats import CensoredData, ecdf

    draw = random.Random(seed)
    n = draw.randint(2, 12)
    observations = [
        Observation(draw.randint(1, 9) * 100.0, censored=draw.random() < 0.4) for _ in range(n)
    ]
    data = CensoredData(
        uncensored=[o.value for o in observations if not o.censored],
        right=[o.value for o in observations if o.censored],
    )
    theirs = ecdf(data).sf
    curve = survival(observations)
    for time, left in curve:
        assert theirs.evaluate(time) == pytest.approx(float(left))
    reached = [t for t, p in zip(theirs.quantiles, theirs.probabilities, strict=True) if p <= 0.5]
    # scipy lists the times of censored ones too, and sums in floating point.
    assert quantile(curve, HALF) == (reached[0] if reached else None)


# Apart or not


@pytest.mark.parametrize("seed", range(5))
def test_the_test_of_many_seeds_is_the_log_rank_test_of_scipy(seed: int) -> None:
    from scipy.stats import CensoredData, logrank

    draw = random.Random(seed)
    points = [
        [
            Observation(float(draw.randint(1, 20 + 8 * n)), censored=draw.random() < 0.3)
            for _ in range(12)
        ]
        for n in range(2)
    ]
    theirs = logrank(
        *(
            CensoredData(
                uncensored=[o.value for o in point if not o.censored],
                right=[o.value for o in point if o.censored],
            )
            for point in points
        )
    )
    chance = log_rank(*points)
    assert chance.test == "log-rank test"
    assert chance.share == pytest.approx(theirs.pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        ((10, 20, 30), (40, 50, 60), 2 / 20),  # only the two extreme deals part them as far
        ((10, 20, 30), (-90, -90, -90), 2 / 20),
        ((10, 20, 30, 40), (-90, -90, -90, -90), 2 / 70),
        ((10,), (20,), 1.0),
        ((-90, -90), (-90, -90), 1.0),
    ],
)
def test_few_seeds_are_dealt_out_in_all_ways(
    a: tuple[float, ...], b: tuple[float, ...], share: float
) -> None:
    chance = log_rank(seen(*a), seen(*b))
    assert (chance.share, chance.test) == (pytest.approx(share), "exact log-rank test")
    assert log_rank(seen(*b), seen(*a)).share == pytest.approx(share)


def test_points_that_are_alike_are_seldom_told_apart() -> None:
    draw, found = random.Random(1), 0
    for _ in range(200):
        a, b = (
            [Observation(min(t := draw.expovariate(1), 1.5), t > 1.5) for _ in range(4)]
            for _ in "ab"
        )
        found += log_rank(a, b).share < 0.05
    assert found <= 200 * 0.07


# The ranking


def test_a_censored_run_is_no_number() -> None:
    points = {
        "never": [-4000, -4000, -4000],
        "seldom": [100, -4000, -4000],
        "often": [900, 700, -4000],
        "always": [400, 300, 800],
    }
    entries = rank(trials(points), Objective(GENERALISED))
    assert [(e.point_id, e.rank, e.value) for e in entries] == [
        ("always", 1, 400.0),
        ("often", 2, 900.0),
        ("seldom", 3, None),
        ("never", 4, None),
    ]
    always, often, seldom, never = entries
    assert (always.spread, always.bound, always.n_censored) == (500.0, None, 0)
    assert (often.spread, often.interval, often.bound) == (None, (700.0, 4000.0), 4000.0)
    assert (seldom.n_censored, never.n_censored) == (2, 3)
    assert (seldom.left, never.left) == (2 / 3, 1.0)
    assert seldom.seed_values == (100.0, None, None)
    assert seldom.seed_bounds == (None, 4000.0, 4000.0)
    assert "seeds 1, 2: grok/generalised_step is more than 4000" in seldom.reason
    longest = rank(trials(points), Objective(GENERALISED, mode="max"))
    assert [e.point_id for e in longest] == ["never", "seldom", "often", "always"]


def test_points_of_which_as_little_is_known_share_a_rank() -> None:
    points = {"a": [-4000, -4000], "b": [-4000, -4000], "longer": [-8000, -8000]}
    entries = rank(trials(points), Objective(GENERALISED))
    assert [(e.point_id, e.rank) for e in entries] == [("a", 1), ("b", 1), ("longer", 3)]


@pytest.mark.parametrize("reason", list(Reason))
def test_a_run_counts_as_watched_where_it_ended_by_design(reason: Reason) -> None:
    found = [replace(t, step=129) for t in trials({"p": [-100]}, reason=reason)]
    (entry,) = rank(found, Objective(GENERALISED))
    if reason is Reason.FINISHED:
        assert entry.seed_bounds == (110.0,)  # evaluated at …, 110, 120 and at its end
    elif reason in (Reason.BUDGET, Reason.WALL_CLOCK):
        assert entry.seed_bounds == (100.0,)  # evaluated at …, 100, 110, 120
    else:
        assert entry.rank is None and entry.seed_bounds == (None,)
        assert entry.state == reason.value


def test_one_lost_seed_leaves_a_point_unranked_as_ever() -> None:
    found = trials({"p": [100, 200]}) + trials({"p": [-50]}, reason=Reason.DIVERGED)
    (entry,) = rank(found, Objective(GENERALISED))
    assert entry.rank is None and entry.state == "incomplete"


def test_a_delay_is_censored_at_its_ratio() -> None:
    objective = Objective(DELAY)
    found = trials({"p": [5.0, -4000]}, DELAY, **{"grok/memorised_step": 100.0})
    (entry,) = rank(found, objective)
    assert (entry.value, entry.seed_bounds) == (5.0, (None, 40.0))
    (entry,) = rank(trials({"p": [-4000]}, DELAY), objective)
    assert entry.rank is None
    assert entry.reason == (
        "grok/delay cannot be known: it never memorised, or was not evaluated often enough"
    )


def test_a_sweep_that_trains_ranks_what_did_not_generalise(tmp_path: Path) -> None:
    tiny_plan(
        tmp_path,
        steps=200,
        weight_decays=(0.0, 2.0),
        checkpoint=60,
        extra=f"[objective]\nmetric = '{GENERALISED}'\n",
    )
    plan = make_plan(Request(strategy=str(tmp_path / "tiny.toml"), overrides=GROKS), CPU_ONLY)
    outcome = run_plan(plan, tmp_path / "run")
    never, groks = sorted(outcome.board.entries, key=lambda e: e.changed["training.weight_decay"])
    assert (groks.rank, groks.n_censored, never.rank, never.n_censored) == (1, 0, 2, 2)
    assert groks.value is not None and never.value is None and never.bound == 190
    document = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    assert document["entries"][1][f"{GENERALISED}_lower_bound"] == 190
    directory = RunDirectory(tmp_path / "run")
    shown = render_trial(read_trial_page(directory, groks.trial_ids[0]), "table")
    assert "grokking " in shown and "generalised: memorised at step " in shown
    assert re.search(r"step-\d+-generalised", shown)
    assert find_damage(directory).problems == []


# What a person and a program read


def mixed() -> list[TrialRecord]:
    return trials({"2.0": [400, 300, 800, 500], "0.5": [900, -4000, -4000, -4000]})


def test_every_format_says_what_is_not_known() -> None:
    shown = board(mixed())
    assert shown.criterion.startswith("grok/generalised_step, lower is better; Kaplan-Meier median")
    for output in ("table", "md", "html"):
        text = render(shown, output).replace("&gt;", ">").replace("&#62;", ">")
        assert "> 4000" in text and "400 (IQR 200)" in text and "inf" not in text.split()
        assert "3 runs of 8 ended before grok/generalised" in text.replace("&#95;", "_")
    document = json.loads(render(shown, "json"))
    assert document["objective"]["statistic"] == "median"
    best, last = document["entries"]
    assert (best["n_censored"], best[GENERALISED], best[f"{GENERALISED}_lower_bound"]) == (
        0,
        400.0,
        None,
    )
    assert (last["n_censored"], last[GENERALISED], last[f"{GENERALISED}_lower_bound"]) == (
        3,
        None,
        4000.0,
    )
    assert last["seed_bounds"] == [None, 4000.0, 4000.0, 4000.0]
    rows = list(csv.DictReader(io.StringIO(render(shown, "csv"), newline="")))
    assert rows[1][GENERALISED] == "" and rows[1][f"{GENERALISED}_lower_bound"] == "4000.0"
    partly = board(trials({"2.0": [400, 300, -4000], "1.0": [350, 350, 350]}))
    assert "400 (IQR 300 to > 4000)" in render(partly, "table")


def test_the_lead_is_judged_by_the_log_rank_test() -> None:
    verdict = board(mixed()).verdict
    assert verdict is not None and "(exact log-rank test)" in verdict.note
    assert verdict.note.startswith("Ranks 1 and 2 are at 400 (IQR 200) and > 4000; chance alone")
    both = board(trials({"2.0": [400, 300, 800, 500], "0.5": [900, 910, 920, 930]})).verdict
    assert both is not None and both.told_apart
    assert both.note.startswith("Ranks 1 and 2 are 510 apart; ")
    alone = board(trials({"2.0": [400], "0.5": [-4000]})).verdict
    assert alone is not None and not alone.told_apart and "One seed per point" in alone.note


def test_a_ledger_that_says_mean_is_judged_by_the_median_too() -> None:
    shown = board(mixed(), statistic="mean")
    assert shown.entries[0].value == 400 and "mean" not in shown.criterion


def test_runs_that_lost_it_again_are_counted() -> None:
    found = trials({"2.0": [400, 300]}, **{"grok/state": 3.0})
    assert any("2 of 2 runs had generalised and lost it" in note for note in board(found).notes)

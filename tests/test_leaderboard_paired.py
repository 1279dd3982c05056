"""Variants against their baseline: hand-worked intervals, the correction, and what is not claimed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest

from orchestrator.leaderboard import Comparison, Leaderboard, build, render, render_top
from orchestrator.leaderboard.paired import Judgement, Paired, compare, holm, paired
from orchestrator.leaderboard.ranking import rank
from orchestrator.ledger import TrialRecord
from orchestrator.objective import Objective
from trainer.reporting import Reason

SCORE = Objective("val/score", "max")
Values = Mapping[str, Sequence[float | None]]
"""Objective of each seed by point; None where it diverged."""


def trials_of(values: Values, objective: Objective = SCORE) -> list[TrialRecord]:
    return [
        TrialRecord(
            id=f"{point}-{seed}",
            position=place * 100 + seed,
            point_id=point,
            seed=seed,
            changed={"training.weight_decay": place / 10},
            config={},
            reason=Reason.DIVERGED if value is None else Reason.FINISHED,
            final={} if value is None else {objective.metric: value},
        )
        for place, (point, seeds) in enumerate(values.items())
        for seed, value in enumerate(seeds)
    ]


def compared(values: Values, objective: Objective = SCORE) -> dict[str, Paired]:
    """The points against the first of them."""
    return paired(rank(trials_of(values, objective), objective), next(iter(values)), objective)


def board_of(values: Values, top_n: int | None = 10, objective: Objective = SCORE) -> Leaderboard:
    return build(
        trials_of(values, objective),
        objective,
        title="decay",
        run_directory="runs/decay-ab12",
        comparison=Comparison(next(iter(values)), top_n),
    )


# Differences 0.02, 0.03, 0.07: mean 0.04, sample variance 0.0007, standard error sqrt(0.0007 / 3).
BASE = (0.40, 0.50, 0.60)
BETTER = (0.42, 0.53, 0.67)


def test_the_interval_of_three_seeds_is_the_one_worked_by_hand() -> None:
    found = compare(BETTER, BASE)
    error = math.sqrt(0.0007 / 3)
    assert found.difference == pytest.approx(0.04)
    assert found.interval == pytest.approx((0.04 - 4.3027 * error, 0.04 + 4.3027 * error), rel=1e-4)
    # With two degrees of freedom P(|T| > t) = 1 - t / sqrt(2 + t²).
    t = 0.04 / error
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_what_a_seed_does_to_both_cancels_out() -> None:
    """The seeds spread a hundred times as far as the variant changes them."""
    base, variant = (0.1, 0.5, 0.9), (0.111, 0.510, 0.909)
    found = compared({"base": base, "variant": variant})["variant"]
    assert found.judgement is Judgement.BETTER
    shuffled = compared({"base": base, "variant": (0.909, 0.111, 0.510)})["variant"]
    assert shuffled.judgement is Judgement.NOT_SEPARABLE


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; the last may not fall below the third.
        (
            {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005},
            {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06},
        ),
        ({"a": 0.6, "b": 0.5}, {"b": 1.0, "a": 1.0}),
        ({"a": 0.02}, {"a": 0.02}),
        ({}, {}),
    ],
)
def test_holm_is_as_worked_by_hand(p: dict[str, float], expected: dict[str, float]) -> None:
    assert holm(p) == pytest.approx(expected)


@pytest.mark.parametrize(("mode", "judgement"), [("max", "better"), ("min", "worse")])
def test_better_follows_the_direction_of_the_objective(mode: str, judgement: str) -> None:
    objective = Objective("val/score", mode)  # type: ignore[arg-type]
    higher = tuple(value + 0.1 + noise for value, noise in zip(BASE, (0, 1e-3, 2e-3), strict=True))
    lower = tuple(2 * value - up for value, up in zip(BASE, higher, strict=True))
    found = compared({"base": BASE, "higher": higher, "lower": lower}, objective)
    assert found["higher"].judgement.value == judgement
    assert {found["higher"].judgement, found["lower"].judgement} == {
        Judgement.BETTER,
        Judgement.WORSE,
    }
    ranked = rank(trials_of({"base": BASE, "higher": higher, "lower": lower}), objective)
    assert ranked[0].point_id == ("higher" if mode == "max" else "lower")


def test_a_difference_that_is_clear_alone_may_be_lost_among_many_variants() -> None:
    alone = compared({"base": BASE, "variant": (0.42, 0.53, 0.625)})
    assert alone["variant"].judgement is Judgement.BETTER
    noise = {f"noise{i}": tuple(Random(i).gauss(v, 0.05) for v in BASE) for i in range(5)}
    among = compared({"base": BASE, "variant": (0.42, 0.53, 0.625)} | noise)
    assert among["variant"].p == alone["variant"].p
    assert among["variant"].judgement is Judgement.NOT_SEPARABLE
    low, high = among["variant"].interval or (0, 0)
    assert low > 0 and high > 0  # the interval is of this variant alone, and the notes say so


def test_one_seed_has_a_difference_and_no_measure_of_chance() -> None:
    values = {"base": (0.4,), "variant": (0.5,)}
    found = compared(values)["variant"]
    assert found == Paired(Judgement.ONE_SEED, 1, pytest.approx(0.1))
    assert any("One seed: they have no interval" in note for note in board_of(values).notes)


def test_differences_that_do_not_spread_are_not_proof() -> None:
    """A t-test would be sure; of two ways to swap within each of three seeds, 2 in 8 part as well."""
    shifted = compared({"base": (0.25, 0.5, 0.75), "variant": (0.375, 0.625, 0.875)})["variant"]
    assert (shifted.interval, shifted.p) == (None, 0.25)
    assert shifted.judgement is Judgement.NOT_SEPARABLE
    rounded = compared({"base": BASE, "variant": tuple(v + 0.1 for v in BASE)})["variant"]
    assert rounded.p == 0.25  # 0.1 is added up to rounding
    six = tuple(i / 8 for i in range(6))
    many = compared({"base": six, "variant": tuple(v + 0.5 for v in six)})["variant"]
    assert (many.p, many.judgement) == (2 / 2**6, Judgement.BETTER)


def test_identical_results_are_called_so() -> None:
    values = {"base": BASE, "idle": BASE, "other": BETTER}
    assert compared(values)["idle"] == Paired(Judgement.SAME, 3, 0.0, None, 1.0, 1.0)
    assert any("made no difference to it" in note for note in board_of(values).notes)


def test_a_variant_that_lost_a_seed_is_not_compared_by_those_it_has_left() -> None:
    values: Values = {"base": BASE, "lost": (0.9, None, 0.95), "other": BETTER}
    assert compared(values).keys() == {"base", "other"}
    assert any("1 variant is not compared" in note for note in board_of(values).notes)
    assert compared({"base": (0.4, None, 0.6), "other": BETTER}) == {}
    board = board_of({"base": (0.4, None, 0.6), "other": BETTER})
    assert any("it has not all its seeds finished" in note for note in board.notes)


def test_other_seeds_are_no_pairs() -> None:
    trials = trials_of({"base": BASE, "other": BETTER})
    trials = [replace(t, seed=t.seed + 1) if t.point_id == "other" else t for t in trials]
    assert paired(rank(trials, SCORE), "base", SCORE).keys() == {"base"}


def test_times_that_may_be_censored_have_no_difference() -> None:
    objective = Objective("grok/generalised_step", "min", "median")
    board = board_of({"base": (10.0, 20.0), "other": (5.0, 6.0)}, objective=objective)
    assert not board.paired and any("Nothing is compared" in note for note in board.notes)


def test_without_any_difference_few_sweeps_claim_one() -> None:
    """Six variants of no effect, three to six seeds: at most 5 % of sweeps call one better or worse.

    Without the correction it would be far more, which is what shows that the test can fail.
    """
    draw = Random(0)
    sweeps, claimed, uncorrected = 150, 0, 0
    for sweep in range(sweeps):
        n = 3 + sweep % 4
        seeds = [draw.gauss(0.5, 0.1) for _ in range(n)]
        values = {f"p{i}": [seed + draw.gauss(0.0, 0.01) for seed in seeds] for i in range(7)}
        found = compared(values)
        claims = {Judgement.BETTER, Judgement.WORSE}
        claimed += any(one.judgement in claims for one in found.values())
        uncorrected += any(one.p is not None and one.p < 0.05 for one in found.values())
    error = math.sqrt(0.05 * 0.95 / sweeps)
    assert claimed / sweeps < 0.05 + 3 * error
    assert uncorrected / sweeps > 0.15


def test_a_useful_term_is_told_from_a_useless_one() -> None:
    """Judged over many sweeps: the useful one is found nearly always, the useless hardly ever."""
    draw = Random(1)
    useful, useless = 0, 0
    for _ in range(40):
        seeds = [draw.gauss(0.5, 0.1) for _ in range(5)]
        found = compared(
            {
                name: [seed + effect + draw.gauss(0.0, 0.005) for seed in seeds]
                for name, effect in (("base", 0.0), ("useful", 0.03), ("useless", 0.0))
            }
        )
        useful += found["useful"].judgement is Judgement.BETTER
        useless += found["useless"].judgement is not Judgement.NOT_SEPARABLE
    assert useful >= 38
    assert useless <= 6


SEVERAL: Values = {
    "base": BASE,
    "better": tuple(v + 0.1 + n for v, n in zip(BASE, (0, 1e-3, 2e-3), strict=True)),
    "noise": (0.41, 0.49, 0.60),
    "lost": (0.5, None, 0.6),
}


def test_every_format_says_the_same() -> None:
    board = board_of(SEVERAL)
    document = json.loads(render(board, "json"))
    assert document["baseline"] == "base"
    by_trial = {entry["trial_ids"][0]: entry for entry in document["entries"]}
    better = by_trial["better-0"]
    assert better["judgement"] == "better" and better["pairs"] == 3
    assert better["difference_low"] < better["difference"] < better["difference_high"]
    assert better["p_value"] < better["p_corrected"] < 0.05
    assert (
        by_trial["base-0"]["judgement"] == "baseline" and by_trial["base-0"]["difference"] is None
    )
    assert by_trial["lost-0"]["judgement"] is None
    rows = {row["trial_ids"]: row for row in csv.DictReader(io.StringIO(render(board, "csv")))}
    row = next(row for ids, row in rows.items() if "better-0" in ids)
    assert float(row["difference"]) == better["difference"]
    for format in ("table", "md", "html"):
        text = render(board, format)
        for words in ("difference (95 % interval)", "not separable", "better", "+0.1010"):
            assert words in text, (format, words)
        assert "Holm" in text and "Of 2 variants, 1 better and 0 worse" in text
    assert "+0.1010 (+0.0985 to +0.1035)" in render_top(board, 9)


def test_only_so_many_variants_are_in_the_first_table() -> None:
    values: Values = {f"p{i}": (0.1 * i, 0.1 * i + 0.01) for i in range(5)}
    markdown = render(board_of(values, top_n=2), "md")
    best, lower = markdown.partition("## Ranked lower")[::2]
    assert "## Best 2 points" in best
    assert [line.split(" |")[0] for line in best.splitlines() if line[:3] in ("| 1", "| 2")] == [
        "| 1",
        "| 2",
    ]
    assert [line[:3] for line in lower.splitlines() if line.startswith("| ")][2:] == [
        "| 3",
        "| 4",
        "| 5",
    ]
    page = render(board_of(values, top_n=2), "html")
    assert page.index("Best 2 points") < page.index("Ranked lower")
    assert "Ranked lower" not in render(board_of(values, top_n=5), "md")
    assert len(json.loads(render(board_of(values, top_n=2), "json"))["entries"]) == 5


def test_a_sweep_without_a_baseline_is_as_it_was() -> None:
    trials = trials_of(SEVERAL)
    plain = build(trials, SCORE, title="decay", run_directory="runs/decay-ab12")
    for format in ("table", "md", "csv", "json", "html"):
        text = render(plain, format)
        assert "difference" not in text and "judgement" not in text and "baseline" not in text


def test_of_many_axes_a_variant_is_named_by_what_it_changes() -> None:
    keys = [f"loss.composite.{term}.weight" for term in ("smoothness", "fft", "asymmetry")]
    base = dict.fromkeys(keys, 0.1) | {"symbolic": "all"}
    changed = {
        "base": base,
        "better": base | {keys[0]: 0.0},
        "noise": base | {keys[1]: 0.5, "symbolic": "none"},
        "lost": {key: base[key] for key in keys},
    }
    trials = [replace(t, changed=changed[t.point_id]) for t in trials_of(SEVERAL)]
    made = Comparison("base", 10)
    board = build(trials, SCORE, title="terms", run_directory="runs/t", comparison=made)
    names = {e.point_id: board.variant(e) for e in board.entries}
    assert names == {
        "base": "baseline",
        "better": "smoothness.weight 0",
        "noise": "fft.weight 0.5, symbolic none",
        "lost": "no symbolic",
    }
    for format in ("table", "md", "html"):
        assert "smoothness.weight 0" in render(board, format), format
    assert "composite" not in render(board, "table")
    entries = json.loads(render(board, "json"))["entries"]
    assert {e["variant"]: e["changed"][keys[1]] for e in entries} == {
        names[point]: values[keys[1]] for point, values in changed.items()
    }


def test_of_spectra_the_physical_baseline_is_told_apart_from_the_one_compared_with() -> None:
    trials = [
        replace(
            t,
            config={"data": {"task": "ariel"}},
            final={**t.final, "baseline/score": 0.3 + t.seed / 10, "baseline/rmse_ppm": 90.0},
        )
        for t in trials_of({"base": BASE, "other": BETTER})
    ]
    board = build(trials, SCORE, title="terms", run_directory="runs/t")
    (note,) = (note for note in board.notes if "baseline" in note)
    assert "score 0.3 to 0.5, rmse_ppm 90 (by the seed, which splits the planets)." in note


def test_links_are_escaped_and_relative() -> None:
    board = replace(board_of(SEVERAL), links=(("Loss | <b>", 'diagnostics/a b"><script>.html'),))
    page, markdown = render(board, "html"), render(board, "md")
    assert 'href="diagnostics/a%20b%22%3E%3Cscript%3E.html"' in page
    assert "<b>" not in page.partition("Diagnostics")[2] and "Loss | <b>" not in markdown
    assert "](diagnostics/a%20b%22%3E%3Cscript%3E.html)" in markdown

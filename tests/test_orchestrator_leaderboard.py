"""The leaderboard: who is ranked, by what, and that what a user wrote stays data."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from orchestrator.errors import StorageError
from orchestrator.leaderboard import (
    FORMATS,
    Leaderboard,
    build,
    rank,
    render,
    render_top,
    write_leaderboard,
)
from orchestrator.leaderboard.chance import chance_of_gap
from orchestrator.ledger import State, TrialRecord
from orchestrator.objective import Objective
from trainer.reporting import Reason

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = (
    "<script>alert(1)</script></script></style></title>|](javascript:alert(2))"
    " [x](javascript:alert(3)) ![i](https://evil.example/i.png) <img src=x onerror=alert(4)>"
    " \"onmouseover='alert(5)\n\n# h\r\n| --- |\x1b[2J\x00\x9b1m `code` **b** \\| \\"
    " <https://evil.example> https://evil.example www.evil.example me@evil.example \u202etxt\ud800"
)


def trial(
    point: str,
    seed: int = 0,
    loss: float | None = None,
    *,
    position: int = 0,
    changed: dict[str, Any] | None = None,
    state: State = State.ENDED,
    reason: Reason | None = Reason.FINISHED,
    detail: str = "",
    test: float | None = None,
    final: dict[str, float] | None = None,
) -> TrialRecord:
    """A trial of point `point` that took 10 s and 100 steps."""
    metrics = dict(final or {})
    if loss is not None:
        metrics["val/loss"] = loss
    if test is not None:
        metrics["test/loss"] = test
    return TrialRecord(
        id=f"{point}{seed}",
        position=position,
        point_id=point,
        seed=seed,
        changed={"model.n_layers": 2} if changed is None else changed,
        config={},
        state=state,
        reason=reason,
        detail=detail,
        step=100,
        active_s=10.0,
        final=metrics,
    )


def in_plan_order(*trials: TrialRecord) -> list[TrialRecord]:
    """The trials with their positions filled in."""
    return [TrialRecord(**{**vars(t), "position": place}) for place, t in enumerate(trials)]


def board_of(*trials: TrialRecord, **of_objective: Any) -> Leaderboard:
    """A leaderboard of the trials in plan order."""
    objective = Objective(**of_objective)
    return build(in_plan_order(*trials), objective, title="depth", run_directory="runs/depth-ab12")


def depth_sweep() -> list[TrialRecord]:
    """Four points with three seeds: two finished, one lost a seed, one has not begun."""
    losses = {2: (2.25, 2.5, 2.75), 4: (2.0, 2.125, 2.25)}
    trials = [
        trial(
            f"p{layers}",
            seed,
            loss,
            changed={"model.n_layers": layers, "training.optimizer": "adamw"},
            test=loss + 0.5,
            final={"baseline/unigram_loss": 3.0123},
        )
        for layers, values in losses.items()
        for seed, loss in enumerate(values)
    ]
    deep = {"model.n_layers": 8, "training.optimizer": "muon|x"}
    nan = "training loss is nan at step 40"
    trials += [
        trial("p8", 0, 1.5, changed=deep),
        trial("p8", 1, changed=deep, reason=Reason.DIVERGED, detail=nan),
        trial("p8", 2, 1.5, changed=deep),
    ]
    deeper = {"model.n_layers": 16, "training.optimizer": "muon|x"}
    trials += [
        trial("p16", seed, changed=deeper, state=State.WAITING, reason=None) for seed in range(3)
    ]
    return trials


# Ranking


def test_seeds_become_one_figure_worked_by_hand() -> None:
    best, second, *_ = rank(in_plan_order(*depth_sweep()), Objective())
    assert (best.point_id, best.rank, second.point_id, second.rank) == ("p4", 1, "p2", 2)
    # 2.0, 2.125, 2.25: mean 2.125; squared deviations 2 * 0.125 ** 2 over n - 1 = 2.
    assert best.value == 2.125 and best.spread == 0.125 and best.interval == (2.0, 2.25)
    assert best.seed_values == (2.0, 2.125, 2.25) and best.trial_ids == ("p40", "p41", "p42")
    assert (best.n_finished, best.n_seeds, best.steps, best.active_s) == (3, 3, 300, 30.0)
    assert best.test == 2.625 and best.test_spread == 0.125
    assert second.test is None and second.test_spread is None


def test_median_has_the_interquartile_range() -> None:
    trials = in_plan_order(*(trial("p", s, v) for s, v in enumerate((1.0, 2.0, 4.0, 8.0, 100.0))))
    (entry,) = rank(trials, Objective(statistic="median"))
    assert (entry.value, entry.spread, entry.interval) == (4.0, 6.0, (2.0, 8.0))


def test_ties_share_a_rank_in_plan_order_and_the_next_is_skipped() -> None:
    # 0.1 + 0.2 + 0.3 in another order: a sum in floating point would break the tie.
    trials = in_plan_order(
        trial("worse", 0, 9.0),
        *(trial("b", s, v) for s, v in enumerate((0.3, 0.2, 0.1))),
        *(trial("a", s, v) for s, v in enumerate((0.1, 0.2, 0.3))),
    )
    entries = rank(list(reversed(trials)), Objective())
    assert [(e.point_id, e.rank) for e in entries] == [("b", 1), ("a", 1), ("worse", 3)]
    assert "2 points share rank 1" in " ".join(board_of(*trials).notes)


def test_max_ranks_the_highest_first() -> None:
    trials = in_plan_order(*(trial(p, 0, v) for p, v in (("a", 0.5), ("b", 0.75), ("c", -1.0))))
    assert [e.point_id for e in rank(trials, Objective(mode="max"))] == ["b", "a", "c"]
    assert [e.point_id for e in rank(trials, Objective(mode="min"))] == ["c", "a", "b"]


def test_a_point_that_lost_a_seed_is_not_ranked_by_the_others() -> None:
    entry = next(e for e in rank(in_plan_order(*depth_sweep()), Objective()) if e.n_finished == 2)
    assert entry.point_id == "p8" and entry.rank is None and entry.value is None
    assert entry.state == "incomplete"
    assert entry.reason == (
        "2 of 3 seeds finished; seed 1: diverged: training loss is nan at step 40"
    )
    assert entry.seed_values == (1.5, None, 1.5)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_not_ranked(loss: float) -> None:
    entries = rank(in_plan_order(trial("bad", 0, loss), trial("good", 0, 3.0)), Objective())
    assert [(e.point_id, e.rank) for e in entries] == [("good", 1), ("bad", None)]
    assert entries[1].reason == f"val/loss is {loss}, which is not finite"


def test_the_others_stand_below_in_plan_order_with_their_reason() -> None:
    stopped = [reason for reason in Reason if reason is not Reason.FINISHED]
    # Each reports an objective that would win.
    trials = [trial(r.name, 0, 0.0, reason=r, detail=f"because {r.name}") for r in stopped]
    trials += [
        trial("running", 0, 0.0, state=State.RUNNING, reason=None),
        trial("waiting", 0, state=State.WAITING, reason=None),
        trial("silent", 0),
        trial("good", 0, 3.0),
    ]
    first, *others = rank(in_plan_order(*trials), Objective())
    assert first.point_id == "good"
    assert all(e.rank is None and e.value is None and e.test is None for e in others)
    said = [(e.state, e.reason) for e in others]
    assert said == [
        *((r.value, f"because {r.name}") for r in stopped),
        ("running", ""),
        ("waiting", ""),
        ("finished", "val/loss was not reported"),
    ]


def test_seeds_that_share_a_fate_are_named_together() -> None:
    trials = in_plan_order(
        trial("p", 0, reason=Reason.PRUNED, detail="rung 50"),
        trial("p", 1, 2.0),
        trial("p", 5, reason=Reason.PRUNED, detail="rung 50"),
        *(trial("q", s, state=State.WAITING, reason=None) for s in range(2)),
    )
    mixed, waiting = rank(trials, Objective())
    assert mixed.reason == "1 of 3 seeds finished; seeds 0, 5: pruned: rung 50"
    assert (waiting.state, waiting.reason) == ("waiting", "")


def test_the_test_metric_needs_every_seed_and_a_validation_objective() -> None:
    one_lacks_it = [trial("p", 0, 1.0, test=1.0), trial("p", 1, 1.0)]
    assert rank(in_plan_order(*one_lacks_it), Objective())[0].test is None
    board = board_of(trial("p", 0, 1.0, test=7.0, final={"perf/s": 3.0}), metric="perf/s")
    assert board.entries[0].value == 3.0 and board.entries[0].test is None
    assert "test/" not in render(board, "csv")


def test_the_end_of_a_sweep_leaves_out_no_single_row() -> None:
    points = [trial(p, 0, float(n), changed={"x": p}) for n, p in enumerate("abcdefg")]
    six = render_top(board_of(*points[:6]), 5)
    assert "more" not in six and " f " in six
    assert "… and 2 more" in render_top(board_of(*points), 5)


def test_notes_say_what_a_reader_must_know() -> None:
    alone = " ".join(board_of(trial("p", 0, 1.0), trial("q", 0, 2.0)).notes)
    assert "One seed per point: the ranking has no measure of chance." in alone
    assert board_of(trial("p", 0, 1.0)).notes == (), "a single run is no ranking"
    notes = " ".join(board_of(*depth_sweep()).notes)
    assert "no measure of chance" not in notes
    assert "baseline/unigram_loss 3.012: what is reached without a look at the input" in notes
    assert "No val/loss is below it." not in notes
    untaught = board_of(trial("p", 0, 3.5, final={"baseline/unigram_loss": 3.0}))
    assert " ".join(untaught.notes).endswith("look at the input. No val/loss is below it.")
    assert "2 of 4 points are not ranked" in notes
    assert "Ranks 1 and 2 are 0.3750 apart; chance alone makes two points that are" in notes
    broken = board_of(trial("p", 0, 1.0, final={"baseline/x_loss": math.nan}))
    assert "baseline/" not in " ".join(broken.notes)
    near = [trial(p, s, v) for p in "ab" for s, v in enumerate((1.0, 2.0 + (p == "b") / 8))]
    assert "it takes more seeds to tell them apart" in " ".join(board_of(*near).notes)
    assert "No point is ranked" in " ".join(board_of(trial("p", 0)).notes)


# The formats


@pytest.mark.parametrize(("a", "b"), [(2, 2), (3, 3), (3, 8), (20, 20), (2, 100)])
def test_the_chance_of_a_gap_is_that_of_welch(a: int, b: int) -> None:
    from scipy import stats

    random = Random(a * b)
    first = [random.gauss(0, 1) for _ in range(a)]
    second = [random.gauss(1, 3) for _ in range(b)]
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert chance_of_gap(first, second).share == pytest.approx(expected, abs=1e-9)
    large = [v * 1e300 for v in first], [v * 1e300 for v in second]
    assert chance_of_gap(*large).share == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("median", [False, True])
@pytest.mark.parametrize("seeds", [2, 5])
def test_points_that_are_alike_are_seldom_told_apart(median: bool, seeds: int) -> None:
    """What is called chance below 1 in 20 happens by chance no more often, one draw in 500 apart."""
    random = Random(seeds)
    found = 0
    for _ in range(500):
        a, b = ([random.gauss(0, 1) for _ in range(seeds)] for _ in "ab")
        found += chance_of_gap(a, b, median=median).share < 0.05
    assert found <= 500 * 0.07


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [([3.0] * 2, [4.0] * 2, 1 / 3), ([3.0] * 4, [4.0] * 4, 1 / 35), ([3.0] * 2, [4.0] * 3, 0.1)],
)
def test_values_that_do_not_spread_are_no_proof(
    a: list[float], b: list[float], share: float
) -> None:
    from scipy import stats

    assert chance_of_gap(a, b).share == pytest.approx(share)
    assert stats.permutation_test(
        (a, b), lambda x, y: abs(sum(x) / len(x) - sum(y) / len(y)), alternative="greater"
    ).pvalue == pytest.approx(share)
    assert chance_of_gap(a, a, median=True).share == 1.0


def test_enough_seeds_tell_near_points_apart() -> None:
    """The spread of the seeds stays as it is with more of them; what is known of the mean grows."""
    for n, apart in ((2, False), (5, False), (100, True)):
        points = {p: [base + s % 2 for s in range(n)] for p, base in (("a", 0.0), ("b", 0.5))}
        board = board_of(*[trial(p, s, v) for p, vs in points.items() for s, v in enumerate(vs)])
        assert board.verdict is not None and board.verdict.told_apart is apart
        assert board.verdict.note in board.notes


def test_markdown_is_as_agreed() -> None:
    text = render(board_of(*depth_sweep()), "md")
    assert text == (GOLDEN / "leaderboard.md").read_text(encoding="utf-8")


def test_all_formats_tell_the_same() -> None:
    board = board_of(*depth_sweep())
    document = json.loads(render(board, "json"))
    rows = list(csv.DictReader(io.StringIO(render(board, "csv"), newline="")))
    page = Page(render(board, "html"))
    markdown = markdown_rows(render(board, "md"))
    table = render(board, "table")
    assert len(document["entries"]) == len(rows) == len(page.rows) == len(markdown) == 4
    for entry, row, cells, line in zip(document["entries"], rows, page.rows, markdown, strict=True):
        assert row["rank"] == ("" if entry["rank"] is None else str(entry["rank"]))
        assert row["val/loss"] == ("" if entry["val/loss"] is None else repr(entry["val/loss"]))
        assert row["model.n_layers"] == str(entry["changed"]["model.n_layers"])
        assert json.loads(row["trial_ids"]) == entry["trial_ids"]
        assert json.loads(row["seed_values"]) == entry["seed_values"]
        assert row["command"] == entry["command"] == page.commands[entry["trial_ids"][0]]
        # HTML and Markdown show the same text in the same columns, but for the test metric of the
        # best point: the page has it at the top.
        test = [] if entry["test/loss"] is None else ["2.6250 ± 0.1250"]
        shown = [text for text in cells if not text.startswith("copy")]
        assert shown == [text for text in line[:-1] if text and text not in test]
        assert not test or f"test/loss {test[0]}" in page.text
        assert line[-1] == entry["command"]
        for text in line[:3]:
            assert text in table
        assert ", ".join(entry["trial_ids"]) in table
    assert [row["rank"] for row in rows] == ["1", "2", "", ""]
    assert page.rows[0][:4] == ["1", "4", "adamw", "2.1250 ± 0.1250"]
    for note in board.notes:
        assert note in document["notes"] and note in page.text and note in table


def test_json_is_strict_and_exact() -> None:
    odd = {"model.scale": math.inf, "model.widths": [1, 0.1 + 0.2], "training.clip": None}
    text = render(board_of(trial("p", 0, 1 / 3, changed=odd), trial("q", 0, math.nan)), "json")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    document = json.loads(text, parse_constant=refuse)
    first = document["entries"][0]
    assert first["val/loss"] == 1 / 3
    assert first["changed"] == {
        "model.scale": "inf",
        "model.widths": [1, 0.1 + 0.2],
        "training.clip": None,
        "model.n_layers": None,
    }
    assert document["objective"]["metric"] == "val/loss" and document["n_trials"] == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("'=1", "''=1"),
        ("'quoted'", "'quoted'"),
        ("a=b", "a=b"),
        ('a,"b"\nc', 'a,"b"\nc'),
        (-1, "-1"),
        (-1.5e-300, "-1.5e-300"),
        (0.1 + 0.2, "0.30000000000000004"),
        (True, "true"),
        ([-1, "="], '[-1, "="]'),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
    ],
)
def test_csv_text_is_never_a_formula_and_numbers_stay_numbers(value: Any, expected: str) -> None:
    text = render(board_of(trial("p", 0, -1.0, changed={"model.x": value})), "csv")
    header, row = csv.reader(io.StringIO(text, newline=""))
    cells = dict(zip(header, row, strict=True))
    assert cells["model.x"] == expected
    assert float(cells["val/loss"]) == -1.0


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))))
@settings(max_examples=50, deadline=None)
def test_csv_round_trips(value: str) -> None:
    text = render(board_of(trial("p", 0, 1.0, changed={"model.x": value})), "csv")
    header, row = csv.reader(io.StringIO(text, newline=""))
    back = row[header.index("model.x")]
    assert not back.startswith(tuple("=+-@"))
    # One apostrophe guards what would be a formula without its apostrophes.
    formula = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
    guarded = back.startswith("'") and back.lstrip("'").startswith(formula)
    assert (back[1:] if guarded else back) == value


def test_short_headings_only_where_they_are_unambiguous() -> None:
    changed = {"model.size": 1, "data.size": 2, "training.warmup": 3, "x.rank": 4}
    header = render(board_of(trial("p", 0, 1.0, changed=changed)), "md").split("## Ranked")[1]
    assert "| rank | model.size | data.size | warmup | x.rank | val/loss |" in header
    names = render(board_of(trial("p", 0, 1.0, changed=changed)), "csv").splitlines()[0]
    assert names.startswith("rank,model.size,data.size,training.warmup,x.rank,val/loss,")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min 00 s"),
        (250, "4 min 10 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (93600, "26 h 00 min"),
    ],
)
def test_time_is_for_people(seconds: float, text: str) -> None:
    record = TrialRecord(**{**vars(trial("p", 0, 1.0)), "active_s": seconds})
    assert f"| {text} |" in render(board_of(record), "md")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of table, md, csv, json, html"):
        render(board_of(trial("p", 0, 1.0)), "xml")


@pytest.mark.parametrize("format", FORMATS)
def test_a_sweep_without_trials_has_a_leaderboard(format: str) -> None:
    text = render(board_of(), format)
    if format == "csv":
        assert text.startswith("rank,val/loss,") and text.count("\n") == 1
    else:
        assert "No point is ranked" in text


# Files


def test_four_files_are_written_whole(tmp_path: Path) -> None:
    board = board_of(*depth_sweep())
    write_leaderboard(tmp_path, board_of())
    with (tmp_path / "leaderboard.md").open() as reader:
        write_leaderboard(tmp_path, board)
        assert reader.read() == render(board_of(), "md"), "a reader sees one version"
    names = {f"leaderboard.{format}" for format in ("md", "csv", "json", "html")}
    assert {path.name for path in tmp_path.iterdir()} == names
    for format in ("md", "csv", "json", "html"):
        written = (tmp_path / f"leaderboard.{format}").read_bytes()
        assert written == render(board, format).encode()


def test_a_failed_write_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_leaderboard(tmp_path, board_of())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_leaderboard(tmp_path, board_of(*depth_sweep()))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_missing_directory_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write the leaderboard"):
        write_leaderboard(tmp_path / "absent", board_of())


# What a user wrote stays data


class Page(HTMLParser):
    """Elements, attributes, table rows and commands of an HTML page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.commands: dict[str, str] = {}
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [(name, value or "") for name, value in attrs]
        self.open.append(tag)
        if tag == "tbody":
            self.open.append("in-body")
        if tag == "tr" and "in-body" in self.open:
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        command = dict(attrs).get("data-command")
        if command:
            found = re.search(r"trials/(.*?)/config", command)
            assert found
            self.commands[found[1]] = command

    def handle_endtag(self, tag: str) -> None:
        self.open.append(f"/{tag}")
        if tag == "tbody":
            self.open = []

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.open and "in-body" in self.open and data.strip():
            self.rows[-1][-1] += data.strip()


def markdown_rows(text: str) -> list[list[str]]:
    """The texts of the body cells as a Markdown parser reads them."""
    rows: list[list[str]] = []
    inside = False
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        inside = (inside or token.type == "tbody_open") and token.type != "tbody_close"
        if inside and token.type == "tr_open":
            rows.append([])
        if inside and token.type == "inline":
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


def structure(text: str) -> Counter[str]:
    """What a Markdown parser makes of a text, the words left out."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    flat = [t.type for t in tokens]
    flat += [c.type for t in tokens for c in t.children or [] if c.type not in TEXT_TOKENS]
    return Counter(flat)


TEXT_TOKENS = ("text", "text_special", "code_inline")


def labelled(words: str) -> Leaderboard:
    """A leaderboard that has `words` wherever a user or an exception can put them."""
    trials = in_plan_order(
        trial("a", 0, 1.0, changed={f"model.{words}": words}, detail=words),
        trial("b", 0, 2.0, changed={f"model.{words}": [words]}, detail=words),
        trial("c", 0, changed={f"model.{words}": 1}, reason=Reason.FAILED, detail=words),
        trial("d", 0, 2.0, changed={f"model.{words}": 1}, final={f"baseline/{words}": 1.0}),
    )
    return build(trials, Objective(), title=words, run_directory=f"runs/{words}")


def test_hostile_words_add_nothing_to_the_html() -> None:
    plain, hostile = Page(render(labelled("word"), "html")), Page(render(labelled(HOSTILE), "html"))
    # Headings break at underscores; nothing else may depend on the words.
    assert hostile.elements == plain.elements
    for name, value in hostile.values:
        assert not name.startswith("on")
        assert name not in ("src", "href", "style", "action", "srcdoc", "xlink:href")
        if name not in ("title", "data-sort", "data-label", "data-command"):
            assert "javascript:" not in value and "evil" not in value
    assert [tag for tag, _ in hostile.elements].count("script") == 1


def test_hostile_words_form_no_markdown() -> None:
    hostile = render(labelled(HOSTILE), "md")
    assert structure(hostile) == structure(render(labelled("word"), "md"))
    # Renderers that link bare addresses find none to link.
    for bare in ("http://", "https://", "www.", "<", "javascript:alert(2))\\"):
        assert bare not in hostile
    assert not re.search(r"(?<!`)@|@(?!`)", hostile)
    counts = [len(row) for row in markdown_rows(hostile)]
    assert counts == [len(row) for row in markdown_rows(render(labelled("word"), "md"))]


@given(st.text(st.sampled_from("ab |\\`<>[]()!*_~&;:/@#$\n\r\x1b\u2028=-+."), min_size=1))
@settings(max_examples=100, deadline=None)
def test_no_words_change_the_markdown_columns(words: str) -> None:
    def sweep(detail: str) -> str:
        changed = {"model.x": detail, "model.y": "y"}
        return render(board_of(trial("p", 0, 1.0, changed=changed, detail=f"a {detail}")), "md")

    text = sweep(words)
    if words.split():
        assert structure(text) == structure(sweep("word"))
        (row,) = markdown_rows(text)
        assert row[1] == " ".join(words.split()).replace("\x1b", "\\x1b")


@pytest.mark.parametrize("format", ["table", "md", "html", "json", "csv"])
def test_no_control_character_reaches_a_terminal(format: str) -> None:
    text = render(labelled(HOSTILE), format)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e\ud800]", text)
    text.encode()


def test_json_has_hostile_words_verbatim() -> None:
    document = json.loads(render(labelled(HOSTILE), "json"))
    assert document["title"] == HOSTILE
    assert document["entries"][0]["reason"] == HOSTILE


def test_the_page_is_one_file_that_works_offline() -> None:
    html = render(board_of(*depth_sweep()), "html")
    assert "http://" not in html and "https://" not in html and "url(" not in html
    assert "@import" not in html
    page = Page(html)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {t for t, _ in page.elements}
    assert not [name for name, _ in page.values if name in ("src", "href", "style")]
    policy = next(value for name, value in page.values if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_the_policy_names_the_style_and_the_script_of_the_page() -> None:
    html = render(board_of(*depth_sweep()), "html")
    policy = next(value for _, value in Page(html).values if value.startswith("default-src"))
    for tag in ("style", "script"):
        (body,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_chart_is_drawn_from_two_ranked_points_up() -> None:
    assert "<svg" not in render(board_of(trial("p", 0, 1.0), trial("q", 0)), "html")
    many = [trial(f"p{i}", s, 1.0 + i + s / 8) for i in range(25) for s in range(2)]
    html = render(board_of(*many), "html")
    assert html.count('class="value"') == 20 and html.count('class="spread"') == 20
    assert "the best 20 of 25" in html
    positions = [float(x) for x in re.findall(r'class="value" cx="([\d.]+)%"', html)]
    assert positions == sorted(positions) and 0 < positions[0] < positions[-1] < 100
    same = [trial(f"p{i}", 0, 1.0) for i in range(2)]
    assert 'cx="50.0%"' in render(board_of(*same), "html")

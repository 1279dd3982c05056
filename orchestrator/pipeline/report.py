"""What a pipeline did, said from its record, its ledger and its evaluations.

Nothing in it is remembered from the process that writes it: `write_report` gives the same after
any number of kills. What depends on the clock stands in the last section alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.layout import RunDirectory, write_whole
from orchestrator.leaderboard.text import brief, duration, number, setting
from orchestrator.ledger import Event, Ledger, TrialRecord
from orchestrator.pipeline.document import (
    Block,
    Card,
    Chart,
    Curve,
    Document,
    Sample,
    Section,
    Table,
    Text,
)
from orchestrator.pipeline.evaluations import FINAL, all_on_the_way, read_evaluation
from orchestrator.pipeline.figures import moment
from orchestrator.pipeline.html import page
from orchestrator.pipeline.markdown import markdown
from orchestrator.pipeline.measured import cut_short, headline, seconds_of, tables_of
from orchestrator.pipeline.record import HOW, Record, Stage, StageState
from orchestrator.pipeline.training import boundaries
from orchestrator.toml_file import flatten
from trainer.config import RunConfig
from trainer.reporting import Reason

Rows = Sequence[tuple[int, Mapping[str, float]]]
CHARTS = (
    ("Loss in nats a token", ("train/loss", "val/loss")),
    ("Bits per byte", ("val/bits_per_byte",)),
)


@dataclass(frozen=True)
class Facts:
    """All that the report is made of.

    Args:
        directory: The pipeline's.
        record: As it stands.
        trial: The training, as the ledger has it.
        rows: Its metrics by step.
        events: What happened to it, in order.
        on_the_way: Evaluations of checkpoints before the last.
        final: The evaluation of the last one; None where the training failed.
    """

    directory: RunDirectory
    record: Record
    trial: TrialRecord
    rows: Rows
    events: Sequence[Event]
    on_the_way: Sequence[dict[str, Any]]
    final: dict[str, Any] | None

    @property
    def config(self) -> RunConfig:
        """The training's run config."""
        return RunConfig.model_validate(self.trial.config)


def write_report(directory: RunDirectory, record: Record) -> None:
    """Write `report.md` and `report.html`."""
    document = report(read_facts(directory, record))
    write_whole(directory.path / "report.md", markdown(document))
    write_whole(directory.path / "report.html", page(document))


def read_facts(directory: RunDirectory, record: Record) -> Facts:
    """Read what there is of a pipeline whose training has ended."""
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        (trial,) = ledger.trials()
        rows, events = ledger.rows(trial.id), ledger.events()
    return Facts(
        directory,
        record,
        trial,
        rows,
        events,
        all_on_the_way(directory),
        read_evaluation(directory, FINAL),
    )


def report_cards(directory: RunDirectory, record: Record) -> list[Card]:
    """Return the figures at the top of the report."""
    return list(_cards(read_facts(directory, record)))


def report(facts: Facts) -> Document:
    """Return the report."""
    return Document(
        title=facts.record.name,
        subtitle=f"pipeline {facts.record.hash[:10]}, trial {facts.trial.id}",
        cards=list(_cards(facts)),
        sections=[
            Section("What was asked for", [*_asked(facts.record)]),
            Section("Text", [*_text(facts.record)]),
            Section("Tokenizer", [*_tokenizer(facts.record)]),
            Section("Model and settings", [*_settings(facts)]),
            Section("Training", [*_training(facts)]),
            Section("Evaluations on the way", [*_on_the_way(facts)]),
            Section("Final evaluation", [*_final(facts)]),
            Section("Continuations", [*_samples(facts)]),
        ],
        runs=Section("When and how it ran", [*_runs(facts)]),
    )


def _cards(facts: Facts) -> Iterator[Card]:
    trial, steps = facts.trial, facts.config.training.steps
    ended = f"{trial.step:,} of {steps:,} steps"
    if trial.reason is Reason.FINISHED:
        yield Card("Training", "finished", ended)
    else:
        yield Card("Training", trial.label, f"{ended}: {trial.detail}", doubt=True)
    value = trial.final.get("val/bits_per_byte")
    if value is not None:
        test = trial.final.get("test/bits_per_byte")
        below = "validation" if test is None else f"validation; test {number(test)}"
        yield Card("Bits per byte", number(value), below)
    if facts.final is None:
        yield Card("Gates", "not judged", "there is no final evaluation", doubt=True)
    elif not facts.final["gates"]:
        yield Card("Gates", "none set", "evaluation.max_… and evaluation.min_… set them")
    else:
        failed = [gate["name"] for gate in facts.final["gates"] if not gate["passed"]]
        count = len(facts.final["gates"])
        said = f"{count - len(failed)} of {count} passed"
        yield Card("Gates", said, ", ".join(failed), doubt=bool(failed))


def _asked(record: Record) -> Iterator[Block]:
    asked = record.asked
    rows: dict[str, Any] = {
        "text": asked.corpus,
        "base config": asked.base_config,
        "scale": asked.scale,
        "tier": asked.tier,
        "vocabulary sizes": ", ".join(map(str, asked.vocab_sizes)),
        "phrases": asked.phrases or None,
        "phrases file": asked.phrases_file,
        "evaluations on the way": asked.evaluations,
        "settings": " ".join(asked.overrides) or None,
    }
    yield Table(("option", "value"), tuple((k, v) for k, v in rows.items() if v is not None))
    for note in record.notes:
        yield Text(note)


def _text(record: Record) -> Iterator[Block]:
    corpus = record.corpus
    yield Table(
        ("fact", "value"),
        (
            ("text", corpus.path),
            ("SHA-256", corpus.sha256),
            ("bytes", corpus.bytes),
            ("characters", corpus.characters),
            ("different characters", corpus.distinct),
            ("lines", corpus.lines),
        ),
    )
    tokens = record.tokenizer.split_tokens if record.tokenizer else {}
    yield Table(
        ("split", "characters", "tokens"),
        tuple((name, n, tokens.get(name)) for name, n in corpus.split_characters.items()),
    )


def _tokenizer(record: Record) -> Iterator[Block]:
    chosen = record.tokenizer
    assert chosen is not None
    yield Table(
        (
            "vocabulary",
            "characters a token, train",
            "bytes a token, train",
            "characters a token, held out",
            "bytes a token, held out",
            "chosen",
        ),
        tuple(
            (
                one.vocab_size,
                one.train_chars_per_token,
                one.train_bytes_per_token,
                one.held_out_chars_per_token,
                one.held_out_bytes_per_token,
                "chosen" if one.vocab_size == chosen.vocab_size else "",
            )
            for one in chosen.candidates
        ),
    )
    yield Text(f"{chosen.vocab_size}: {chosen.reason}")


def _settings(facts: Facts) -> Iterator[Block]:
    record, config = facts.record, facts.config
    tokens = config.training.steps * config.seq_len * int(config.training.batch_size)
    yield Table(
        ("figure", "value"),
        (
            ("parameters", facts.trial.parameters),
            ("tokens of the whole training", tokens),
            ("tokens a parameter", tokens / facts.trial.parameters),
            ("operations of the whole training", brief(facts.trial.flops)),
        ),
    )
    yield _chosen(record, of_how=False)
    yield Text("Every other setting has its default; the config.yaml of the trial has them all.")


def _chosen(record: Record, *, of_how: bool) -> Table:
    """Return the settings that somebody chose, with where: of how it ran, or all others."""
    settings = flatten(record.run_config.model_dump(mode="json"))
    assert record.tokenizer is not None
    settings |= {"data.tokenizer_path": record.tokenizer.file, "model.vocab_size": None}
    sources = record.sources | {"model.vocab_size": "the tokenizer has it"}
    rows = tuple(
        (key, setting(value), sources[key])
        for key, value in settings.items()
        if key in sources and (key.partition(".")[0] in HOW) is of_how
    )
    return Table(("setting", "value", "from"), rows)


def _training(facts: Facts) -> Iterator[Block]:
    trial = facts.trial
    if trial.reason is not Reason.FINISHED:
        yield Text(f"{trial.label} at step {trial.step:,}: {trial.detail}", doubt=True)
    for title, names in CHARTS:
        curves = [curve for name in names if len((curve := _curve(facts.rows, name)).points) > 1]
        if curves:
            yield Chart(title, tuple(curves))
    final = {name: value for name, value in trial.final.items() if not name.startswith(_BY_CLOCK)}
    if final:
        rows = tuple((name, value) for name, value in sorted(final.items()))
        yield Table(("metric", "at the end"), rows)


_BY_CLOCK = ("perf/", "mem/")


def _curve(rows: Rows, name: str) -> Curve:
    return Curve(name, tuple((step, row[name]) for step, row in rows if name in row))


def _on_the_way(facts: Facts) -> Iterator[Block]:
    marks = boundaries(facts.config.training.steps, facts.record.asked.evaluations)
    if not marks:
        yield Text("None were asked for.")
        return
    made = {found["step"]: found for found in facts.on_the_way}
    if made:
        figures = {step: headline(found["evaluation"]) for step, found in made.items()}
        names = list(dict.fromkeys(name for values in figures.values() for name in values))
        gates = any(found["gates"] for found in made.values())
        rows = [
            (
                step,
                *(figures[step].get(name) for name in names),
                *([_gates(found)] if gates else []),
            )
            for step, found in made.items()
        ]
        yield Table(("step", *names, *(["gates"] if gates else [])), tuple(rows))
        yield Text("On validation text, as arbiter eval measures it.")
        for step, found in made.items():
            for part, why in cut_short(found["evaluation"]).items():
                yield Text(f"Step {step:,}, {part}: {why}", doubt=True)
    if missing := [mark for mark in marks if mark not in made]:
        steps = ", ".join(f"{mark:,}" for mark in missing)
        yield Text(f"Not made: of step {steps}; training ended or went on without.", doubt=True)


def _gates(found: Mapping[str, Any]) -> str:
    failed = [gate["name"] for gate in found["gates"] if not gate["passed"]]
    return f"failed: {', '.join(failed)}" if failed else "passed"


def _final(facts: Facts) -> Iterator[Block]:
    final = facts.final
    if final is None:
        yield Text(facts.record.stage(Stage.EVALUATION).why or "Not made.", doubt=True)
        return
    yield Text(f"Of the checkpoint of step {final['step']:,}.")
    if final["gates"]:
        yield Table(
            ("gate", "value", "limit", "passed"),
            tuple((g["name"], g["value"], g["limit"], g["passed"]) for g in final["gates"]),
            "Gates",
        )
    yield from tables_of(final["evaluation"])


def _samples(facts: Facts) -> Iterator[Block]:
    samples = (facts.final or {}).get("samples", [])
    if not samples:
        yield Text("None: there is no final evaluation.", doubt=True)
        return
    yield Text("Each begins with held-out text; what follows the arrow is the model's.")
    for sample in samples:
        yield Sample(sample["prompt"], sample["continuation"])


def _runs(facts: Facts) -> Iterator[Block]:
    record, trial = facts.record, facts.trial
    yield Text(f"In {facts.directory.shown()}.")
    yield Table(
        ("stage", "state", "begun", "attempts", "over", "first to last"),
        tuple(
            (
                stage.name,
                stage.state if stage.name != Stage.REPORT else "this report",
                moment(stage.started_at),
                stage.attempts,
                moment(stage.finished_at),
                _between(stage.started_at, stage.finished_at),
            )
            for stage in record.stages
            if stage.state != StageState.WAITING
        ),
        "Stages",
    )
    yield Table(
        ("attempt", "began", "ended", "last stage", "how it ended", "command"),
        tuple(
            (
                n,
                moment(attempt.started_at),
                moment(attempt.ended_at),
                attempt.stage,
                attempt.ended,
                attempt.command,
            )
            for n, attempt in enumerate(record.attempts, start=1)
        ),
        "Attempts",
    )
    speeds = sorted(row["perf/tokens_per_s"] for _, row in facts.rows if "perf/tokens_per_s" in row)
    rows: list[tuple[str, Any]] = [
        ("starts of the training, one a segment and attempt", trial.attempts),
        ("training, active", duration(trial.active_s)),
    ]
    if speeds:
        rows.append(("tokens a second, median of the rows", brief(speeds[len(speeds) // 2])))
    peaks = [row["mem/peak_gib"] for _, row in facts.rows if "mem/peak_gib" in row]
    if peaks:
        rows.append(("peak GPU memory in GiB", max(peaks)))
    for found in [*facts.on_the_way, *([facts.final] if facts.final else [])]:
        took = duration(seconds_of(found["evaluation"]))
        rows.append((f"evaluation of step {found['step']:,}", took))
    yield Table(("figure", "value"), tuple(rows), "Time and speed")
    how = _chosen(record, of_how=True)
    if how.rows:
        yield replace(how, title="How it was run, at last")
    noted = [event for event in facts.events if _notable(event)]
    if noted:
        yield Table(
            ("at", "what", "detail"),
            tuple((moment(event.at), event.kind, event.detail) for event in noted),
            "What the ledger noted",
        )
    made_with = flatten(record.attempts[-1].made_with)
    yield Table(
        ("made with", "version"),
        tuple((key.removeprefix("libraries."), setting(value)) for key, value in made_with.items()),
    )


def _notable(event: Event) -> bool:
    """Return whether an event is more than where a segment is to end."""
    if event.kind == "revised":
        return any(not part.startswith(OF_SEGMENTS) for part in event.detail.split("; "))
    return event.kind in ("died", "started", "ended")


OF_SEGMENTS = ("limits.stop_after_steps", "limits.wall_clock_minutes")


def _between(first: float | None, last: float | None) -> str:
    return "" if first is None or last is None else duration(last - first)

"""Pipelines on a tiny text: cut off anywhere, carried on, and the report they come to."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Exit, LockedError
from orchestrator.executors import Execution
from orchestrator.layout import RunDirectory
from orchestrator.pipeline import stages
from orchestrator.pipeline.record import KILLED, Record, read_record
from orchestrator.pipeline.request import PipelineRequest, place, read_pipeline_request
from orchestrator.pipeline.training import boundaries
from orchestrator.request import Request
from orchestrator.watch import Audience, Nobody
from tests.program import Program
from tests.sweeps import CPU_ONLY, rows_of, trials_of, wait_until
from tests.trainer_help import text

SMALL = (
    "model.dim=16",
    "model.n_layers=1",
    "training.steps=30",
    "training.seq_len=16",
    "training.batch_size=4",
    "training.eval_interval=10",
    "checkpoint.interval=10",
    "logging.enable_tensorboard=false",
    "evaluation.tokens=256",
    "evaluation.prefixes=2",
    "evaluation.prefix_tokens=4",
    "evaluation.continuation_tokens=4",
    "evaluation.windows=2",
)
SIZES = "300,340"
MARKS = [10, 20]
CORPUS = text(3_000)


class Killed(BaseException):
    """The process is gone: nobody catches this."""


@contextlib.contextmanager
def nobody() -> Iterator[Audience]:
    yield Nobody()


@dataclass
class Pipeline:
    """A pipeline asked for in Python, as the command asks for it.

    Args:
        folder: Holds the text and the runs.
        settings: Beside `SMALL`.
        said: What a person was told, over all attempts.
    """

    folder: Path
    settings: tuple[str, ...] = ()
    evaluations: int = 2
    said: list[str] = field(default_factory=list)

    def go_on(self, notify: Callable[[str], None] = lambda line: None) -> stages.Outcome:
        """Begin it or carry it on."""

        def told(line: str) -> None:
            self.said.append(line)
            notify(line)

        run = Request(overrides=(*SMALL, *self.settings))
        asked = PipelineRequest(
            str(self.folder / "text.txt"), SIZES, evaluations=self.evaluations, run=run
        )
        record, plan = read_pipeline_request(asked, CPU_ONLY)
        directory, record = place(record, plan, self.folder / "runs", fresh=False)
        return stages.run(
            directory,
            record,
            CPU_ONLY,
            Execution("inline"),
            command=["pipeline"],
            notify=told,
            audience=nobody,
        )

    @property
    def directory(self) -> RunDirectory:
        """Its one directory."""
        (path,) = (self.folder / "runs").iterdir()
        return RunDirectory(path)

    @property
    def record(self) -> Record:
        return read_record(self.directory)


def pipeline(folder: Path, *settings: str, evaluations: int = 2) -> Pipeline:
    folder.mkdir(exist_ok=True)
    (folder / "text.txt").write_text(CORPUS)
    return Pipeline(folder, settings, evaluations)


def reports(directory: RunDirectory) -> tuple[str, str]:
    """Return both reports without the section of times and attempts."""
    page, heading = directory.path / "report.html", "When and how it ran"
    parts = (directory.path / "report.md").read_text().partition(f"## {heading}")
    html = page.read_text().partition(f"<h2>{heading}</h2>")
    assert parts[1] and html[1]
    return parts[0], html[0]


def evaluations(directory: RunDirectory) -> dict[str, Any]:
    """Return what every evaluation found, without the time it took."""
    found = {}
    for path in sorted((directory.path / "evaluations").iterdir()):
        found[path.name] = json.loads(path.read_text())
        found[path.name]["evaluation"].pop("timing")
    return found


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline that nothing interrupted. Its text lies where the others have theirs, too."""
    made = pipeline(tmp_path_factory.mktemp("pipelines") / "unbroken")
    assert made.go_on().exit_code is Exit.OK
    return made


@pytest.fixture
def beside(unbroken: Pipeline) -> Iterator[Pipeline]:
    """The same pipeline, not begun: the text at the same path, no runs."""
    runs, away = unbroken.folder / "runs", unbroken.folder / "away"
    runs.rename(away)
    yield Pipeline(unbroken.folder)
    if runs.exists():
        runs.rename(unbroken.folder / f"runs-{len(list(unbroken.folder.iterdir()))}")
    away.rename(runs)


def test_a_pipeline_leaves_what_it_promises(unbroken: Pipeline) -> None:
    directory, record = unbroken.directory, unbroken.record
    assert [stage.state for stage in record.stages] == ["done"] * 5
    assert [attempt.ended for attempt in record.attempts] == ["came to its report"]
    assert record.tokenizer is not None
    assert (directory.path / record.tokenizer.file).is_file()
    assert sorted(evaluations(directory)) == [
        "final.json",
        "step-000000010.json",
        "step-000000020.json",
    ]
    (trial,) = trials_of(directory.path)
    assert (trial.label, trial.step) == ("finished", 30)
    assert trial.config["limits"]["stop_after_steps"] is None
    assert trial.config["data"]["tokenizer_path"] == str(directory.path / record.tokenizer.file)


def test_the_rows_are_those_of_a_training_that_was_not_cut(
    unbroken: Pipeline, tmp_path: Path
) -> None:
    whole = pipeline(tmp_path, evaluations=0)
    whole.go_on()
    assert len(trials_of(whole.directory.path)) == 1
    assert rows_of(whole.directory.path) == rows_of(unbroken.directory.path)
    assert trials_of(whole.directory.path)[0].attempts == 1


KILLS = (
    r"\[1/5\]",
    r"\[2/5\]",
    r"training a vocabulary of 340",
    r"vocabulary 3\d0: ",
    r"\[3/5\]",
    r"step 10 of 30: evaluating",
    r"  memorisation",
    r"step 20 of 30: evaluating",
    r"training finished",
    r"\[4/5\]",
    r"  attention",
    r"\[5/5\]",
)
"""What is said last before the process dies, in the order in which it is said."""


def test_killed_in_each_stage_it_comes_to_the_same_report(
    beside: Pipeline, unbroken: Pipeline
) -> None:
    for kill in KILLS:

        def dies(line: str, at: str = kill) -> None:
            if re.match(at, line):
                raise Killed

        with pytest.raises(Killed):
            beside.go_on(dies)
    assert beside.go_on().exit_code is Exit.OK
    away = RunDirectory(next((unbroken.folder / "away").iterdir()))
    assert reports(beside.directory) == reports(away)
    assert evaluations(beside.directory) == evaluations(away)
    assert rows_of(beside.directory.path) == rows_of(away.path)
    attempts = beside.record.attempts
    assert [attempt.ended for attempt in attempts] == [KILLED] * len(KILLS) + ["came to its report"]
    assert attempts[5].stage == "training" and attempts[5].ended_at is None
    assert KILLED in (beside.directory.path / "report.md").read_text()


@pytest.mark.parametrize("at", [r"training a vocabulary of 340", r"  memorisation"])
def test_a_signal_outside_of_training_stops_it_resumably(beside: Pipeline, at: str) -> None:
    def asks(line: str) -> None:
        if re.match(at, line):
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    outcome = beside.go_on(asks)
    assert outcome.exit_code is Exit.INTERRUPTED
    assert outcome.stopped.startswith("SIGTERM in stage")
    assert beside.record.attempts[0].ended == f"stopped: {outcome.stopped}"
    assert signal.getsignal(signal.SIGTERM) == before
    assert beside.go_on().exit_code is Exit.OK


@pytest.mark.parametrize("limit", ["stop_after_steps=13", "wall_clock_minutes=1e-9"])
def test_a_limit_stops_it_resumably_and_moves_no_schedule(
    beside: Pipeline, unbroken: Pipeline, limit: str
) -> None:
    beside.settings = (f"limits.{limit}",)
    assert beside.go_on().exit_code is Exit.INTERRUPTED
    assert beside.go_on().exit_code is Exit.INTERRUPTED
    beside.settings = ()
    assert beside.go_on().exit_code is Exit.OK
    away = RunDirectory(next((unbroken.folder / "away").iterdir()))
    assert reports(beside.directory) == reports(away)
    assert rows_of(beside.directory.path) == rows_of(away.path)


def test_a_process_that_is_killed_while_it_trains_goes_on(
    beside: Pipeline, unbroken: Pipeline
) -> None:
    """With SIGKILL, at a moment that nobody chose."""
    command = ["pipeline", "--corpus", str(beside.folder / "text.txt"), "--vocab-size", SIZES]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from orchestrator.cli import main; main()",
            *command,
            *("--evaluations", "2", "--gpus", "0", "-q", *SMALL),
        ],
        env=os.environ | {"ARBITER_RUNS": str(beside.folder / "runs")},
        start_new_session=True,
    )
    wait_until(lambda: any((beside.folder / "runs").glob("*/trials/*/checkpoints/step-*")))
    process.kill()
    process.wait()
    assert beside.go_on().exit_code is Exit.OK
    away = RunDirectory(next((unbroken.folder / "away").iterdir()))
    assert reports(beside.directory) == reports(away)
    assert rows_of(beside.directory.path) == rows_of(away.path)


def test_an_evaluation_that_is_damaged_is_made_again(beside: Pipeline) -> None:
    def dies(line: str) -> None:
        if line.startswith("step 20 of 30"):
            raise Killed

    with pytest.raises(Killed):
        beside.go_on(dies)
    kept = beside.directory.path / "evaluations" / "step-000000010.json"
    whole = json.loads(kept.read_text())
    kept.write_text(kept.read_text()[:100])
    assert beside.go_on().exit_code is Exit.OK
    again = json.loads(kept.read_text())
    for found in (whole, again):
        found["evaluation"].pop("timing")
    assert again == whole


def test_only_one_process_works_on_it(unbroken: Pipeline) -> None:
    with unbroken.directory.locked(), pytest.raises(LockedError):
        unbroken.go_on()


def test_boundaries_lie_before_the_end_and_differ() -> None:
    assert boundaries(150, 4) == [30, 60, 90, 120]
    assert boundaries(30, 2) == MARKS
    assert boundaries(3, 2) == [1, 2]
    assert boundaries(5, 0) == []


# The command


@pytest.fixture
def command(program: Program) -> tuple[str, ...]:
    """The command line of a small pipeline whose text is there."""
    (program.folder / "text.txt").write_text(CORPUS)
    options = ("--vocab-size", "300", "--evaluations", "1", "--gpus", "0")
    return ("pipeline", "--corpus", "text.txt", *options, *SMALL)


def the_run(program: Program) -> str:
    (path,) = (program.folder / "runs").iterdir()
    return path.name


def test_the_command_again_has_nothing_to_do_and_its_run_is_a_run(
    program: Program, command: tuple[str, ...]
) -> None:
    done = program(*command)
    assert done.code == 0 and "Training: finished (30 of 30 steps)" in done.out
    name = the_run(program)
    assert f"report: runs/{name}/report.html" in done.err and "next: arbiter" in done.err
    again = program(*command)
    assert again.code == 0 and "nothing to do" in again.err and again.out == done.out
    assert program("resume", name).code == 0
    (trial,) = trials_of(program.folder / "runs" / name)
    for looks in (("status", name), ("show", name, trial.id), ("leaderboard",), ("doctor", name)):
        assert program(*looks).code == 0, looks
    quiet = program(*command, "-q")
    assert (quiet.code, quiet.err) == (0, "")
    other = program(*command, "training.seed=1", "limits.stop_after_steps=5")
    assert other.code == 75 and len(list((program.folder / "runs").iterdir())) == 2
    assert "next: arbiter resume runs/" in other.err


def test_a_text_that_changed_meanwhile_is_refused(
    program: Program, command: tuple[str, ...]
) -> None:
    assert program(*command, "limits.stop_after_steps=5").code == 75
    name = the_run(program)
    (program.folder / "text.txt").write_text(CORPUS + "one more line\n")
    for words in (command, ("resume", name)):
        said = program.refuses(*words, code=2)
        assert "text.txt has changed since" in said and name in said and "--fresh" in said
    (program.folder / "text.txt").write_text(CORPUS)
    said = program.refuses("resume", name, "training.steps=99", code=2)
    assert "training.steps: 30 → 99" in said
    assert "cannot be forked" in program.refuses("resume", name, "--fork", code=2)
    done = program("resume", name, "limits.stop_after_steps=none")
    assert done.code == 0, done.err
    assert the_run(program) == name


def test_a_gate_that_fails_and_a_training_that_fails_end_in_a_report_and_3(
    program: Program, command: tuple[str, ...]
) -> None:
    done = program(*command, "evaluation.max_bits_per_byte=0.1")
    assert done.code == 3 and "FAILED max_bits_per_byte" in done.out
    report = program.folder / "runs" / the_run(program) / "report.md"
    assert re.search(r"\| max_bits_per_byte \| \S+ \| 0\.1\S* \| no \|", report.read_text())
    done = program(*command, "training.learning_rate=1e30", "--name", "wild")
    assert done.code == 3 and "diverged" in done.out
    (report,) = (program.folder / "runs").glob("wild-*/report.md")
    assert "**training diverged: " in report.read_text()
    assert "None: there is no final evaluation" in report.read_text()
    assert program(*command, "training.learning_rate=1e30").code == 3


def test_the_report_escapes_what_the_text_says(program: Program, command: tuple[str, ...]) -> None:
    name = "<i>text|.txt"
    (program.folder / name).write_text(text(800) + "<b>x</b>|[y](z)\x07\n" * 400)
    done = program(*(name if word == "text.txt" else word for word in command))
    assert done.code == 0, done.err
    folder = program.folder / "runs" / the_run(program)
    final = json.loads((folder / "evaluations" / "final.json").read_text())
    said = "".join(sample["prompt"] + sample["continuation"] for sample in final["samples"])
    assert "</b>|[" in said and "\x07" in said
    page, lines = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    for report in (page, lines):
        assert "</b>|" not in report and "<i>text" not in report and "\x07" not in report
    assert "](" not in lines
    for row in re.findall(r"^\|.*", lines, re.MULTILINE):
        assert row.count("|") >= 3 and "text|" not in row
    assert not re.search(r"""(src|href|url)\s*[=(]""", page)
    headings = re.findall(r"^## (.*)$", lines, re.MULTILINE)
    assert re.findall(r"<h2>([^<]*)</h2>", page)[-len(headings) :] == headings


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("--corpus", "txt.text"), "no file 'txt.text'"),
        (("--corpus", "empty.txt"), "is empty"),
        (("--corpus", "binary.txt"), "--corpus"),
        (("--corpus", "short.txt"), "training.seq_len"),
        (("--vocab-size", "256"), "expected at least 257"),
        (("--vocab-size", "1k"), "expected whole numbers"),
        (("--vocab-size", "300,300"), "each of them once"),
        (("--phrases", "60"), "phrases"),
        (("--phrases-file", "none.txt"), "cannot read none.txt"),
        (("--phrases-file", "binary.txt"), "--phrases-file: binary.txt: not UTF-8"),
        (("evaluation.probes=none.jsonl",), "evaluation.probes: cannot read 'none.jsonl'"),
        (("--corpus", "x" * 300), "File name too long"),
        (("--evaluations", "30"), "expected fewer than training.steps 30"),
        (("checkpoint.enable=false",), "evaluates its checkpoints"),
        (("data.dataset_path=kjv",), "given twice"),
        (("data.tokenizer=byte",), "given twice"),
        (("model.vocab_size=300",), "given twice"),
        (("model.n_heads=1,2",), "a single run takes one"),
        (("model.dims=16",), "did you mean"),
        (("--executor", "rey"), "no executor 'rey'"),
        (("--tier", "datacenter"), "tier"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    program: Program, command: tuple[str, ...], change: tuple[str, ...], says: str
) -> None:
    (program.folder / "empty.txt").write_text("")
    (program.folder / "binary.txt").write_bytes(bytes(range(256)) * 20)
    (program.folder / "short.txt").write_text("In the beginning\n")
    assert says in program.refuses(*command, *change, code=2)


def test_a_damaged_record_is_named(program: Program, command: tuple[str, ...]) -> None:
    assert program(*command, "limits.stop_after_steps=5").code == 75
    path = program.folder / "runs" / the_run(program) / "pipeline.json"
    for content in ("", "[]", path.read_text().replace('"waiting"', "3"), '{"format": 99}'):
        path.write_text(content)
        assert "pipeline.json" in program.refuses("resume", the_run(program), code=4)
        assert "pipeline.json" in program.refuses(*command, code=4)

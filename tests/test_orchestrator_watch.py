"""The reader beside a writer: it sees all, costs little and takes no lock."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator import sweep
from orchestrator.cli import console
from orchestrator.cli.app import app
from orchestrator.cli.interval_lines import IntervalLines
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger
from orchestrator.objective import Objective
from orchestrator.progress import Progress, Track
from orchestrator.watch import MOST_NEWS, Watch, survey
from tests.sweeps import tiny_plan, trials_of
from trainer.reporting import FitResult, Reason


class All:
    """Implements `orchestrator.watch.Audience`: looks at every trial."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[str, int]]] = []

    def looks_at(self, progress: Progress) -> Sequence[Track]:
        return list(progress.tracks.values())

    def show(self, progress: Progress) -> None:
        self.seen.append((progress.done, progress.counts))


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """A sweep of eight trials that was made and not begun."""
    made = RunDirectory(tmp_path / "run")
    made.path.mkdir()
    sweep.create(tiny_plan(tmp_path, seeds=4), made, ["test"])
    return made


@pytest.fixture
def writer(directory: RunDirectory) -> Iterator[Ledger]:
    with contextlib.closing(Ledger.open(directory.ledger)) as ledger:
        yield ledger


def progress_of(directory: RunDirectory) -> Progress:
    return Progress("tiny", Objective(), trials_of(directory.path))


def train(writer: Ledger, trial_id: str, reason: Reason = Reason.FINISHED, steps: int = 60) -> None:
    """Write what a trial would."""
    writer.record("placed", f"cohort-0000 on process 1: {trial_id}")
    writer.started(trial_id, 0, "")
    for step in range(10, steps + 1, 10):
        writer.add_rows([(trial_id, step, {"train/loss": 1 / step, "val/loss": 2 / step})])
    final = {"val/loss": 2 / steps} if reason is Reason.FINISHED else {}
    writer.ended(FitResult(trial_id, reason, "said", steps, 1.5, final))


def told(progress: Progress) -> dict[str, Any]:
    return {
        t.id: (
            (t.state, t.reason, t.step, t.active_s, t.value, t.best, t.read_step),
            {name: curve.values for name, curve in t.curves.items()},
        )
        for t in progress.tracks.values()
    }


def test_following_tells_what_one_look_at_the_end_does(
    directory: RunDirectory, writer: Ledger
) -> None:
    ids = [trial.id for trial in trials_of(directory.path)]
    progress, audience = progress_of(directory), All()
    writer.record("began", "8 of 8 trials to train")
    watch = Watch(directory, progress, lambda line: None, audience)
    with watch:
        for trial_id in ids[:3]:
            train(writer, trial_id)
            watch.look()
        train(writer, ids[3], Reason.DIVERGED, 30)
        writer.started(ids[4], 0, "")
        writer.add_rows([(ids[4], 10, {"train/loss": 1.0})])
        watch.look()
        writer.started(ids[5], 0, "")
        writer.requeue([ids[5]], "died", "its process died")
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        at_once = survey(ledger, None)
    assert told(progress) == told(at_once)
    assert progress.counts == at_once.counts == {"waiting": 4, "finished": 3, "diverged": 1}
    done = [done for done, _ in audience.seen]
    assert done == sorted(done) and done[-1] == 4 and progress.eta_s is None
    written = [json.loads(line)["seq"] for line in directory.events.read_text().splitlines()]
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        assert written == [event.seq for event in ledger.events()]


def test_failures_are_told_at_once_and_many_alike_in_few_lines(
    directory: RunDirectory, writer: Ledger
) -> None:
    ids = [trial.id for trial in trials_of(directory.path)]
    lines: list[str] = []
    watch = Watch(directory, progress_of(directory), lines.append, All())
    with watch:
        train(writer, ids[0])
        writer.started(ids[1], 10, "resumes at step 10")
        watch.look()
        assert lines == []
        writer.started(ids[1], 0, "checkpoint 10 is damaged; starts again from step 0")
        watch.look()
        assert [ids[1] in line and "damaged" in line for line in lines] == [True]
        lines.clear()
        for trial_id in ids[2:]:
            train(writer, trial_id, Reason.DIVERGED)
        for _ in range(3):
            writer.requeue([ids[1]], "died", "its process died")
        watch.look()
    assert len(lines) == MOST_NEWS + 1
    assert all("diverged: said" in line and "weight_decay=" in line for line in lines[:MOST_NEWS])
    assert lines[-1].startswith("and 4 more: arbiter status ")


def test_reading_while_another_writes_never_fails_and_takes_no_lock(
    directory: RunDirectory, writer: Ledger
) -> None:
    ids = [trial.id for trial in trials_of(directory.path)]
    thread = threading.Thread(
        target=lambda: [train(writer, trial_id, steps=400) for trial_id in ids]
    )
    seen: list[tuple[int, int]] = []
    with directory.locked():
        thread.start()
        while thread.is_alive() or not seen:
            with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
                progress = survey(ledger, 0.0)
            read = sum(track.read_step for track in progress.tracks.values())
            seen.append((progress.done, read))
        thread.join()
        shown = CliRunner().invoke(app, ["status", str(directory.path), "--format", "json"])
    assert seen == sorted(seen)
    document = json.loads(shown.stdout)
    assert shown.exit_code == 0 and document["done"] == 8 and document["writer"] is not None
    assert {trial["reason"] for trial in document["trials"]} == {"finished"}
    assert [trial["curve"][-1] for trial in document["trials"]] == [2 / 400] * 8


def test_status_of_a_sweep_whose_process_was_killed(
    directory: RunDirectory, writer: Ledger
) -> None:
    ids = [trial.id for trial in trials_of(directory.path)]
    train(writer, ids[0])
    writer.started(ids[1], 0, "")
    writer.add_rows([(ids[1], 10, {"train/loss": 1.0})])
    directory.holder.write_text(json.dumps({"pid": 2**22 + 1, "host": "elsewhere"}))
    shown = CliRunner().invoke(app, ["status", str(directory.path)])
    assert "process 4194305 on elsewhere trains it" in shown.stderr
    beyond_all = {"pid": 2**22 + 1, "host": socket.gethostname()}
    directory.holder.write_text(json.dumps(beyond_all))
    shown = CliRunner().invoke(app, ["status", str(directory.path)])
    assert "tiny  1 of 8 done, 7 waiting" in shown.stdout and "running" not in shown.stdout
    assert "cut off after step 10" in shown.stdout
    assert "next: arbiter resume" in shown.stderr


def test_a_line_at_times_and_none_while_nothing_changes(directory: RunDirectory) -> None:
    progress, lines = progress_of(directory), list[str]()
    ids = list(progress.tracks)
    audience = IntervalLines(lines.append, interval_s=30)
    with (
        contextlib.closing(Ledger.open(directory.ledger)) as writer,
        contextlib.closing(Ledger.read(directory.ledger)) as ledger,
    ):

        def look(now_s: float) -> None:
            touched = progress.take(ledger.events())
            progress.settle(ledger.standings(touched))
            progress.observe(now_s, now_s)
            audience.show(progress)

        look(0.0)
        look(40.0)
        assert lines == []  # nothing has trained yet
        train(writer, ids[0])
        look(41.0)
        assert len(lines) == 1 and lines[0].startswith("1 of 8 done, 7 waiting; best:")
        train(writer, ids[1])
        look(60.0)
        assert len(lines) == 1  # not yet due
        look(72.0)
        assert len(lines) == 2 and "2 of 8 done" in lines[1] and "left" in lines[1]
        look(110.0)
        assert len(lines) == 2  # nothing changed
        train(writer, ids[2])
        progress.close()
        look(111.0)
        assert len(lines) == 3 and "left" not in lines[2]  # it is over


def test_a_sweep_in_a_pipe_says_lines_and_no_control(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path / "runs"))
    tiny_plan(tmp_path, extra='"training.learning_rate" = [1e-2, 1e30]\n')
    command = ["sweep", "--strategy", str(tmp_path / "tiny.toml"), "--executor", "inline"]
    status = app(command, standalone_mode=False)
    data, talk = capfd.readouterr()
    assert status == 3
    assert "\x1b" not in data + talk and "\r" not in data + talk
    said = talk.splitlines()
    assert sum("diverged: training loss is nan" in line for line in said) == 4
    assert len([line for line in said if " of 8 done" in line]) in (1, 2)
    assert said[-1].startswith("next: arbiter leaderboard ")
    assert len(said) < 16
    assert "val/loss" in data and "2 of 4 points are not ranked" in data

    app(["leaderboard"], standalone_mode=False)
    board, talk = capfd.readouterr()
    assert data.splitlines()[2] in board  # the best row
    assert talk.startswith("next: arbiter train --base-config ")

    monkeypatch.setattr(console, "_quiet", False)  # and put back after this test
    assert app([*command, "-q"], standalone_mode=False) == 3
    assert capfd.readouterr() == (data, "")

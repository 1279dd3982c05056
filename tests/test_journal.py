"""What is written down of each command of `spectramind`: that nothing of it is lost, or costs a run."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.journal.journal import Journal
from orchestrator.journal.run import read_run, run_of
from orchestrator.journal.section import FIRST_LINES, LAST_LINES, Said
from orchestrator.layout import RunDirectory
from orchestrator.plan import make_plan
from orchestrator.request import Request
from tests.program import Program
from tests.sweeps import CPU_ONLY, run_plan, tiny_plan

SUMMARY = "run_hash_summary_v50.json"
TINY = (
    "task=modular",
    "model=quadratic_mlp",
    "model.dim=8",
    "data.p=11",
    "training.steps=20",
    "training.eval_interval=10",
    "logging.enable_tensorboard=false",
    "checkpoint.interval=10",
)
ROOT = Path(__file__).parent.parent


@pytest.fixture
def spectra(program: Program) -> Program:
    program.name = "spectramind"
    return program


def events(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (folder / "logs" / "events.jsonl").read_text().splitlines()
    ]


def summary(folder: Path) -> list[dict[str, Any]]:
    document = json.loads((folder / SUMMARY).read_text())
    assert document["schema_version"] == 1
    runs: list[dict[str, Any]] = document["runs"]
    return runs


def sections(folder: Path) -> list[str]:
    text = (folder / "logs" / "v50_debug_log.md").read_text()
    return re.split(r"(?m)^## ", text)[1:]


def test_a_training_is_written_down_in_all_three(spectra: Program) -> None:
    done = spectra("train", *TINY)
    assert done.code == 0, done.err
    (run,) = (spectra.folder / "runs").iterdir()
    started, began, ended = events(spectra.folder)
    (entry,) = summary(spectra.folder)
    (section,) = sections(spectra.folder)

    assert [e["kind"] for e in (started, began, ended)] == [
        "command_started",
        "run_began",
        "command_ended",
    ]
    assert len({e["invocation"] for e in (started, began, ended, entry)}) == 1
    assert started["command"] == f"spectramind train {' '.join(TINY)}" == entry["command"]
    assert (ended["exit_code"], entry["exit_code"]) == (0, 0)
    assert entry["run_id"] == run.name and Path(entry["run_directory"]) == run
    assert entry["started_at"] == started["at"] < entry["finished_at"] == ended["at"]
    assert entry["duration_seconds"] == ended["duration_seconds"] > 0
    (snapshot,) = entry["configs"]
    text = Path(snapshot["path"]).read_text()
    plain = json.dumps(yaml.safe_load(text), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(plain.encode()).hexdigest()
    assert digest == snapshot["config_hash"] == entry["config_hash"] == began["config_hash"]
    assert text.splitlines()[0].endswith(f"resolved config, sha256 {digest}")
    provenance = json.loads((run / "provenance.json").read_text())
    assert [entry["data_hash"]] == provenance["data_sha256"]
    assert provenance["command"] == entry["command"]
    for told in (
        started["command"],
        digest,
        entry["data_hash"],
        "exit code 0 (ok)",
        *done.out.split("\n"),
    ):
        assert told in section
    assert section.splitlines()[0] == f"{started['at']} spectramind train"
    assert "next: spectramind leaderboard" in section and "next: arbiter" not in section
    _has_the_fields_of_the_page(spectra.folder)


def _has_the_fields_of_the_page(folder: Path) -> None:
    page = (ROOT / "docs" / "artifacts.md").read_text()
    tables = {
        title: set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
        for title, text in re.findall(r"(?ms)^### (\S+)\n(.*?)(?=^##|\Z)", page)
    }
    (entry,) = summary(folder)
    assert set(entry) == tables["`runs[]`"]
    for snapshot in entry["configs"]:
        assert set(snapshot) == tables["`configs[]`"]
    for event in events(folder):
        assert set(event) - {"at", "invocation", "kind"} == tables[f"`{event['kind']}`"]


def test_the_same_config_has_the_same_hash_and_another_has_not(tmp_path: Path) -> None:
    def hash_of(seed: int, folder: str) -> str:
        request = Request(overrides=(*TINY, f"training.seed={seed}"))
        return run_of(make_plan(request, CPU_ONLY), RunDirectory(tmp_path / folder)).config_hash

    assert hash_of(0, "one") == hash_of(0, "again") != hash_of(1, "other")


def test_a_refused_command_is_written_down_and_nothing_else_is(spectra: Program) -> None:
    done = spectra("train", *TINY, "training.setps=3", "tracking.api_key=hunter2")
    assert done.code == 2
    assert {path.name for path in spectra.folder.iterdir()} == {"logs"}
    (section,) = sections(spectra.folder)
    assert "exit code 2 (refused" in section and "did you mean training.steps?" in section
    assert "hunter2" not in section and "hunter2" not in json.dumps(events(spectra.folder))
    assert "api_key=***" in section
    assert events(spectra.folder)[-1]["exit_code"] == 2


@pytest.mark.parametrize("words", [[], ["--help"], ["train", "-h"], ["trian"], ["status", "--odd"]])
def test_what_is_no_command_is_not_written_down(spectra: Program, words: list[str]) -> None:
    spectra(*words)
    assert list(spectra.folder.iterdir()) == []


def test_arbiter_keeps_no_journal(program: Program) -> None:
    assert program("leaderboard").code == 2
    assert list(program.folder.iterdir()) == []


def test_a_crash_and_a_ctrl_c_are_written_down(
    spectra: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(error: BaseException) -> None:
        def find_run(given: str | None) -> None:
            raise error

        monkeypatch.setattr("orchestrator.layout.find_run", find_run)

    broken(KeyboardInterrupt())
    assert spectra("leaderboard").code == 130
    broken(ZeroDivisionError("of its own"))
    monkeypatch.setattr("traceback.print_exc", lambda: None)  # `Program` wants none on stderr
    assert spectra("leaderboard").code == 1
    interrupted, crashed = sections(spectra.folder)
    assert "exit code 130 (interrupted)" in interrupted
    assert "exit code 1 (a bug" in crashed and "ZeroDivisionError: of its own" in crashed
    assert [e["exit_code"] for e in events(spectra.folder) if "exit_code" in e] == [130, 1]


def test_a_damaged_summary_is_set_aside_and_a_torn_line_is_ended(spectra: Program) -> None:
    spectra("train", *TINY)
    for n, damage in enumerate(
        ('{"runs": [{"run_id"', '{"schema_version": 9, "runs": []}'), start=1
    ):
        (spectra.folder / SUMMARY).write_text(damage)
        with (spectra.folder / "logs" / "events.jsonl").open("a") as file:
            file.write('{"torn": ')
        done = spectra("resume")
        aside = spectra.folder / f"run_hash_summary_v50.damaged-{n}.json"
        assert aside.read_text() == damage
        assert f"{SUMMARY} was damaged: it is {aside.name} now" in done.err
        (entry,) = summary(spectra.folder)
        assert entry["command"] == "spectramind resume"
    lines = (spectra.folder / "logs" / "events.jsonl").read_text().splitlines()
    assert lines.count('{"torn": ') == 2
    for line in lines:
        assert line == '{"torn": ' or json.loads(line)


def test_a_folder_that_cannot_be_written_to_costs_one_line_and_no_training(
    spectra: Program,
) -> None:
    (spectra.folder / "logs").write_text("a file, not a folder")
    done = spectra("train", *TINY)
    assert done.code == 0 and "next: spectramind leaderboard" in done.err
    assert done.err.count("no journal of this command: cannot write") == 1
    assert (spectra.folder / "logs").read_text() == "a file, not a folder"
    assert not (spectra.folder / SUMMARY).exists()


def test_what_was_said_cannot_leave_its_block_and_is_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path, ["spectramind", "show", "```\n## forged"], lambda line: None)
    journal.begin()
    journal.heard("````\n## also forged\x1b[2J")
    journal.end(0)
    (section,) = sections(tmp_path)[:1]
    text = (tmp_path / "logs" / "v50_debug_log.md").read_text()
    assert "`````text\n````\n## also forged?[2J\n`````\n" in text
    assert "\n````console\n" in section and "\x1b" not in text

    said = Said()
    for n in range(5_000):
        said.add(f"line {n}")
    kept = said.lines()
    assert len(kept) == FIRST_LINES + 1 + LAST_LINES
    assert kept[FIRST_LINES] == f"… {5_000 - FIRST_LINES - LAST_LINES:,} lines left out …"
    assert (kept[0], kept[-1]) == ("line 0", "line 4999")


PROCESS = """
import sys
from pathlib import Path
from orchestrator.journal.journal import Journal
from orchestrator.journal.run import Run
from orchestrator.layout import RunDirectory
for n in range(5):
    journal = Journal(Path.cwd(), ["spectramind", "train", sys.argv[1], str(n)], print)
    journal.begin()
    run = RunDirectory(Path.cwd() / "runs" / f"{sys.argv[1]}-{n}")
    journal.works_on(lambda: Run(run, {"t": {"n": n}}, ["d"]))
    journal.heard("x" * 10_000)
    journal.end(0)
"""


def test_several_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, name], cwd=tmp_path, stdout=subprocess.PIPE
        )
        for name in ("a", "b")
    ]
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, b"")
    assert len(sections(tmp_path)) == 10
    assert len(events(tmp_path)) == 3 * 10
    runs = summary(tmp_path)
    assert {run["run_id"] for run in runs} == {f"{name}-{n}" for name in "ab" for n in range(5)}
    assert all(run["exit_code"] == 0 for run in runs)


def test_the_entry_is_there_while_it_runs(tmp_path: Path) -> None:
    run = run_plan(tiny_plan(tmp_path, steps=2, seeds=1), tmp_path / "runs" / "tiny").directory
    journal = Journal(tmp_path, ["spectramind", "resume"], lambda line: None)
    journal.begin()
    journal.works_on(lambda: read_run(run))
    (entry,) = summary(tmp_path)  # what is left of a process that is killed now
    assert entry["finished_at"] is entry["exit_code"] is entry["duration_seconds"] is None
    assert len(entry["configs"]) == 2 and len({c["config_hash"] for c in entry["configs"]}) == 2
    journal.end(75)
    (entry,) = summary(tmp_path)
    assert entry["exit_code"] == 75


def test_the_journal_is_that_of_the_folder(
    spectra: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = spectra.folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the current folder is gone" in spectra("doctor", "x").err

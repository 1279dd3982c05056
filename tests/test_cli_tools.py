"""What helps before a sweep starts: a template to begin with, schemas for editors, the doctor."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.doctor import Verdict, examine
from orchestrator.errors import UsageError
from orchestrator.hardware import Hardware
from orchestrator.plan import make_plan
from orchestrator.request import Request
from orchestrator.schema import AXIS_WORDS, schema_of
from orchestrator.shared_files import find
from orchestrator.space_table import WORDS
from orchestrator.starter import write_starter
from tests.sweeps import CPU_ONLY

TEMPLATES = sorted(find("sweep_templates").glob("*.toml"))
ROOT = Path(__file__).parent.parent


def wrong(kind: str, tables: dict[str, Any]) -> list[str]:
    schema = json.loads(schema_of(kind))
    errors = jsonschema.Draft7Validator(schema).iter_errors(tables)
    return ["/".join(map(str, error.path)) for error in errors]


def test_what_init_writes_can_be_planned_at_once_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    write_starter(path)
    written = path.read_text()
    plan = make_plan(Request(strategy=str(path)), CPU_ONLY)
    assert len(plan.trials) == 2 * 2 * 2
    small = make_plan(Request(strategy=str(path), scale="smoke"), CPU_ONLY)
    assert {trial.config.training.steps for trial in small.trials} == {20}
    tables = tomllib.loads(written)
    sections = {"model", "data", "training", "checkpoint", "logging", "limits", "tier"}
    assert {*tables} == {*sections, "description", "space", "search", "objective", "scale"}
    with pytest.raises(UsageError, match="it exists, and is not overwritten"):
        write_starter(path)
    assert path.read_text() == written


@pytest.mark.parametrize("name", ["no_toml", "nowhere/a.toml", "a\x00.toml", "x" * 300 + ".toml"])
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        write_starter(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["template", "config"])
def test_a_schema_is_one(kind: str) -> None:
    jsonschema.Draft7Validator.check_schema(json.loads(schema_of(kind)))
    assert {*AXIS_WORDS} == {*WORDS}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_the_schema_takes_every_shipped_template(path: Path) -> None:
    assert wrong("template", tomllib.loads(path.read_text())) == []


def test_the_schema_takes_the_examples_of_the_documents() -> None:
    schema = jsonschema.Draft7Validator(json.loads(schema_of("template")))
    examples = []
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        found = re.findall(r"```toml\n(.*?)```", document.read_text(), re.DOTALL)
        examples += [text for text in found if "{{" not in text]
    assert len(examples) > 2
    for text in examples:
        assert [*schema.iter_errors(tomllib.loads(text))] == [], text


def test_the_schema_takes_base_configs_and_older_spellings() -> None:
    base = tomllib.loads((find("sweep_templates") / "base_config.toml").read_text())
    assert wrong("config", base) == []
    older = {
        "model": {"intermediate_size": 4, "max_seq_len": 8},
        "training": {"max_steps": 3, "mixed_precision": "bf16", "optimizer": "adamw"},
        "parallelism": {"fsdp": False},
    }
    assert wrong("config", older) == []
    assert wrong("config", {"model": {"kind": "quadratic_mlp", "dim": 1}}) == []


@pytest.mark.parametrize(
    ("tables", "where"),
    [
        ({"training": {"leraning_rate": 1}}, "training"),
        ({"training": {"steps": "many"}}, "training/steps"),
        ({"training": {"steps": 0}}, "training/steps"),
        ({"model": {"kind": "quadratic_mlp", "n_layers": 1}}, "model"),
        ({"model": {"dmi": 1}}, "model"),
        ({"search": {"method": "guess"}}, "search/method"),
        ({"space": {"model.dim": 3}}, "space/model.dim"),
        ({"space": {"dim": {"uniform": [1]}}}, "space/dim"),
        ({"spaces": {}}, ""),
        ({"scale": {"smoke": {"training": {"steps": 0}}}}, "scale/smoke/training/steps"),
    ],
    ids=str,
)
def test_the_schema_finds_a_mistake(tables: dict[str, Any], where: str) -> None:
    assert wrong("template", tables) == [where]


def test_a_base_config_has_no_space() -> None:
    assert wrong("config", {"space": {"model.dim": [1]}}) == [""]


def test_the_doctor_says_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of this test")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path))
    findings = {finding.subject: finding for finding in examine(CPU_ONLY)}
    assert not [f for f in findings.values() if f.verdict is Verdict.WRONG]
    assert findings["ray"].text.endswith("(>=2.54)")
    assert findings["tier"].text == "cpu is what fits here"
    assert str(tmp_path) in findings["runs"].text
    assert [*tmp_path.iterdir()] == []


def test_the_doctor_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path / "file"))
    monkeypatch.setenv("ARBITER_RUN", "x")
    findings = examine(Hardware(cpus=2, gpus=(80.0,)))
    told = [f"{f.verdict} {f.subject}: {f.text} {f.hint}" for f in findings]
    assert any(line.startswith("wrong runs: ") and "is not a folder" in line for line in told)
    assert any("RAY_AUTH_MODE: got 'disabled'" in line for line in told)
    assert any(f"rm {token}" in line and "0644" in line for line in told)
    assert any(line.startswith("note ARBITER_RUN: ") and "ARBITER_RUNS?" in line for line in told)
    assert any("datacenter is what fits here" in line for line in told)
    assert not any("secret" in line for line in told)

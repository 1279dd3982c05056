from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from orchestrator.plan import make_plan
from orchestrator.request import Request
from tests.sweeps import CPU_ONLY

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted(path.stem for path in (ROOT / "sweep_templates").glob("*.toml"))


def test_the_settings_page_is_that_of_the_schema() -> None:
    reference = runpy.run_path(str(ROOT / "docs" / "generate.py"))["reference"]
    written = (ROOT / "docs" / "configuration.md").read_text()
    assert written == reference(), "run: python docs/generate.py"


def test_the_readme_names_every_template_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("| template | question |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == TEMPLATES


def test_the_readme_links_to_files_that_exist() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (ROOT / target).exists(), f"{document.name} links to {target}"


def test_the_readme_examples_are_templates(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    trials = []
    for example in re.findall(r"```toml\n(.*?)```", readme, re.DOTALL):
        (tmp_path / "example.toml").write_text(example)
        plan = make_plan(Request(strategy=str(tmp_path / "example.toml")), CPU_ONLY)
        trials.append(len(plan.trials))
    assert trials == [2 * 2 * 3, 20]


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_plans_at_both_sizes(name: str) -> None:
    full = make_plan(Request(strategy=name), CPU_ONLY)
    small = make_plan(Request(strategy=name, scale="smoke"), CPU_ONLY)
    assert full.axes == small.axes
    assert max(t.flops for t in small.trials) <= max(t.flops for t in full.trials)


def test_the_spaces_page_plans_as_it_is_written(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "spaces.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "example.toml").write_text(example)
    (tmp_path / "empty.toml").write_text("")
    plan = make_plan(Request(strategy=str(tmp_path / "example.toml")), CPU_ONLY)
    assert len(plan.trials) == 2 * 3 * 3 * 3 * 2 * 3  # ffn and ffn_dim have three values together
    table = page.partition("| argument | tries |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`([^`]+=[^`]+)`", row.split(" | ")[0]) for row in table.splitlines()]
    arguments = [argument for row in rows for argument in row]
    assert len(arguments) == 9
    for argument in arguments:
        request = Request(
            strategy=str(tmp_path / "empty.toml"),
            search="random",
            max_trials=3,
            overrides=(argument,),
        )
        assert len(make_plan(request, CPU_ONLY).trials) in (2, 3), argument

"""Templates and base configs: what they may say, and what they are told when they say it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import Gather, UsageError, gathering
from orchestrator.objective import Objective
from orchestrator.template import Template, read_base_config, read_template


def template(folder: Path, text: str, name: str = "mine.toml") -> Template:
    (folder / name).write_text(text)
    with gathering() as gather:
        return read_template(folder / name, gather)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        template(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_axes_by_dotted_and_by_short_key_in_the_order_of_the_file(tmp_path: Path) -> None:
    read = template(
        tmp_path,
        '[space]\nn_layers = [2, 4]\n"training.weight_decay" = [0.1]\nmodel.dim = [8, 16]\n',
    )
    assert [(axis.key, axis.values) for axis in read.axes] == [
        ("model.n_layers", (2, 4)),
        ("training.weight_decay", (0.1,)),
        ("model.dim", (8, 16)),
    ]
    assert read.axes[1].source == f"{tmp_path}/mine.toml:3"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("leraning_rate = [1e-3]", "unknown setting leraning_rate - did you mean learning_rate?"),
        ('"model.dmi" = [1]', "unknown setting model.dmi - did you mean model.dim?"),
        ('"train.steps" = [1]', "unknown setting train.steps\n  hint: there is training.steps"),
        ("name = ['a']", "name is ambiguous: got a name of 2 settings"),
        ("dim = 64", "axis dim: got 64, expected a list of values"),
        ("dim = []", "axis dim: got no values, expected at least one"),
        ('dim = "64"', "axis dim: got '64', expected a list of values"),
        ("seeds = 0", "seeds: got 0, expected a count from 1 to 10,000 or a list of seeds"),
        ("seeds = []", "seeds: got [], expected"),
        ("seeds = true", "seeds: got true, expected"),
        ("seeds = 1.5", "seeds: got 1.5, expected"),
        ("seeds = 1000000000", "seeds: got 1000000000, expected a count from 1 to 10,000"),
        ("seeds = [5, 5, 2]", "seeds: got 5, expected each seed once"),
        ("seeds = [2147483648]", "seeds: got 2147483648, expected a seed below 2,147,483,648"),
        ("seeds = [0, -1]", "seeds: got [0, -1], expected"),
        ('seeds = ["a"]', "seeds: got ['a'], expected"),
    ],
)
def test_an_axis_that_is_wrong_is_named_with_its_line(
    tmp_path: Path, line: str, expected: str
) -> None:
    (problem,) = problems(tmp_path, f"[space]\n{line}\n")
    assert problem.startswith(f"mine.toml:2: {expected}")


def test_the_names_a_short_key_may_mean_are_listed(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "[space]\nname = ['a']\n")
    assert "hint: one of model.name, tier.name" in problem


def test_one_axis_under_two_names_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, '[space]\ndim = [8]\n"model.dim" = [16]\n')
    assert problem == "mine.toml:3: axis model.dim is given twice"


@pytest.mark.parametrize(
    ("value", "seeds"),
    [("3", (0, 1, 2)), ("1", (0,)), ("[5, 2]", (5, 2))],
)
def test_seeds_are_a_count_or_a_list(tmp_path: Path, value: str, seeds: tuple[int, ...]) -> None:
    assert template(tmp_path, f"[space]\nseeds = {value}\n").seeds == seeds


def test_no_word_on_seeds_is_not_one_seed(tmp_path: Path) -> None:
    assert template(tmp_path, "").seeds is None


def test_all_that_is_wrong_with_the_form_is_said_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "name = 3\n"  # 1
        "description = ['x']\n"
        "colour = 'blue'\n"  # 3
        "model = 7\n"
        "[trianing]\nsteps = 3\n"  # 5
        "[search]\nmethod = 3\nmax_trials = 0\nseed = -1\nsead = 1\n"  # 7
        "[objective]\nmode = 'biggest'\nstatistic = 'max'\nmetric = 3\n"  # 12
        "[space]\ndim = 3\nseeds = 0\n"  # 16
        "[scale.smoke]\nspace = 3\nmodell = {}\n"  # 19
        "[scale.smoke.training]\nsteps = 3\n"  # 22
        "[scale.tiny.space]\nseeds = 0\ndmi = [3]\n",  # 24
    )
    starts = [
        "mine.toml:1: name: got 3, expected text",
        "mine.toml:2: description: got ['x'], expected text",
        "mine.toml:3: unknown key colour",
        "mine.toml:4: model: got 7, expected a table",
        "mine.toml:5: unknown table [trianing] - did you mean training?",
        "mine.toml:8: search.method: got 3, expected text",
        "mine.toml:9: search.max_trials: got 0, expected at least 1",
        "mine.toml:10: search.seed: got -1, expected at least 0",
        "mine.toml:11: unknown key search.sead - did you mean seed?",
        "mine.toml:13: objective.mode: got 'biggest', expected 'min' or 'max'",
        "mine.toml:14: objective.statistic: got 'max', expected 'mean' or 'median'",
        "mine.toml:15: objective.metric: got 3, expected text",
        "mine.toml:17: axis dim: got 3, expected a list of values",
        "mine.toml:18: seeds: got 0",
        "mine.toml:20: scale.smoke.space: got 3, expected a table",
        "mine.toml:21: unknown table [scale.smoke.modell] - did you mean model?",
        "mine.toml:25: seeds: got 0",
        "mine.toml:26: unknown setting dmi",
    ]
    assert len(found) == len(starts)
    for start in starts:
        assert any(problem.startswith(start) for problem in found), (start, found)


@pytest.mark.parametrize("table", ["space", "search", "objective", "scale", "training"])
def test_a_table_that_is_none_is_refused(tmp_path: Path, table: str) -> None:
    (problem,) = problems(tmp_path, f"{table} = 3\n")
    assert problem == f"mine.toml:1: {table}: got 3, expected a table\n  hint: [{table}]"


def test_a_scale_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "[scale]\nsmoke = 3\n")
    assert problem.startswith("mine.toml:2: scale.smoke: got 3, expected a table")


def test_name_and_objective_are_read(tmp_path: Path) -> None:
    read = template(
        tmp_path,
        'name = "A | name"\n[objective]\nmetric = "val/accuracy"\nmode = "max"\nstatistic = "median"\n',
    )
    assert read.name == "A | name"
    assert read.objective == Objective("val/accuracy", "max", "median")
    assert template(tmp_path, "", "other.toml").name == "other"


def test_a_base_config_gives_settings_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "base.toml"
    path.write_text("description = 'x'\n[model]\ndim = 8\n")
    assert read_base_config(path, Gather()).settings == {"model.dim": (8, f"{path}:3")}


@pytest.mark.parametrize("table", ["space", "search", "objective", "scale"])
def test_what_belongs_in_a_template_is_refused_in_a_base_config(tmp_path: Path, table: str) -> None:
    path = tmp_path / "base.toml"
    path.write_text(f"[model]\ndim = 8\n[{table}]\n")
    gather = Gather()
    assert read_base_config(path, gather).settings.keys() == {"model.dim"}
    (problem,) = gather.problems
    assert str(problem) == (
        f"{path}:3: [{table}] belongs in a sweep template, this is a base config\n"
        f"  hint: --strategy {path}"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dim = { uniform = [1] }", "axis dim: got uniform = [1], expected two numbers"),
        ("dim = { uniform = [2, 1] }", "axis dim: got uniform = [2, 1], expected the smaller end"),
        ("dim = { uniform = [0, inf] }", "axis dim: got uniform = [0, inf], expected two numbers"),
        ("dim = { uniform = [nan, 1] }", "axis dim: got uniform = [nan, 1], expected two numbers"),
        ("dim = { integer = [1, 2.5] }", "axis dim: got integer = [1, 2.5], expected two whole"),
        ("dim = { integer = [true, 2] }", "axis dim: got integer = [true, 2], expected two whole"),
        (
            "dim = { log_uniform = [0, 1] }",
            "axis dim: got log_uniform = [0, 1], expected ends above",
        ),
        ("dim = { integer = [0, 9], log = true }", "axis dim: got integer = [0, 9], expected ends"),
        ("dim = { unifrom = [0, 1] }", "axis dim: unknown key unifrom - did you mean uniform?"),
        ("dim = { uniform = [0, 1], integer = [1, 2] }", "axis dim: got uniform and integer, exp"),
        ("dim = { step = 1 }", "axis dim: got none, expected one of uniform"),
        ("dim = { uniform = [0, 1], step = 0 }", "axis dim: got step = 0, expected more than 0"),
        ("dim = { uniform = [0, 1], step = 2 }", "axis dim: got step = 2, expected more than 0"),
        (
            "dim = { uniform = [0, 1e200], step = 1 }",
            "axis dim: got step = 1, expected at most 1e15",
        ),
        ("dim = { log_uniform = [1, 2], step = 1 }", "axis dim: step has no meaning where ratios"),
        (
            "dim = { uniform = [0, 1], points = 1 }",
            "axis dim: got points = 1, expected 2 to 10,000",
        ),
        ("dim = { uniform = [0, 1], points = 3, step = 1 }", "axis dim: got step and points"),
        ("dim = { values = [1], step = 1 }", "axis dim: step has no meaning for listed values"),
        ("dim = { choice = [] }", "axis dim: got no values"),
        ("dim = { choice = 3 }", "axis dim: got 3, expected a list"),
        ("dim = { values = [1], when = 3 }", "axis dim: when: got 3, expected a table"),
        ("dim = { values = [1], when = { fnn = 1 } }", "unknown setting fnn - did you mean ffn?"),
        ("dim = { values = [1], when = { dim = 1 } }", "axis dim: its own value cannot be its"),
        ("keep = { integer = [1, 2] }", "axis keep: checkpoint.keep decides nothing"),
        ("zip = 3", "zip: got 3, expected tables of lists"),
        ("zip = {}", "zip: got {}, expected tables of lists"),
        ("zip = [{ dim = [1, 2] }]", "zip: got 1 axes, expected at least two"),
        (
            "zip = [{ dim = [1, 2], n_heads = [1, 2, 3] }]",
            "zipped axes: model.dim has 2 values and model.n_heads 3 values",
        ),
        (
            "zip = [{ dim = [1, 2], n_heads = { integer = [1, 2] } }]",
            "zip: n_heads.integer is not a",
        ),
        ("require = [3]", "require: got 3, expected a rule as text"),
        ("require = ['dmi > 3']", "unknown setting dmi - did you mean dim?"),
    ],
)
def test_a_structured_axis_that_is_wrong_is_named_with_its_line(
    tmp_path: Path, line: str, expected: str
) -> None:
    (problem,) = problems(tmp_path, f"[space]\n{line}\n")
    assert problem.startswith(f"mine.toml:2: {expected}")


def test_axes_take_tables_in_every_spelling(tmp_path: Path) -> None:
    read = template(
        tmp_path,
        "[space]\n"
        "learning_rate = { log_uniform = [1e-5, 1e-3] }\n"
        "model.dropout = { uniform = [0.0, 0.3], step = 0.1 }\n"
        "norm_type = { choice = ['none', 'rmsnorm'] }\n"
        "[space.training.weight_decay]\nuniform = [0, 1]\npoints = 3\n"
        "[space.ffn_dim]\nvalues = [8, 16]\nwhen.model.ffn = 'gelu'\n"
        "[[space.zip]]\ndim = [8, 16]\nmodel.n_heads = [1, 2]\n",
    )
    assert {axis.key: list(axis.values) for axis in read.axes} == {
        "training.learning_rate": [],
        "model.dropout": [0.0, 0.1, 0.2, 0.3],
        "model.norm_type": ["none", "rmsnorm"],
        "training.weight_decay": [0.0, 0.5, 1.0],
        "model.ffn_dim": [8, 16],
        "model.dim": [8, 16],
        "model.n_heads": [1, 2],
    }
    (conditional,) = [axis for axis in read.axes if axis.when]
    assert (conditional.key, dict(conditional.when)) == ("model.ffn_dim", {"model.ffn": ["gelu"]})

"""Rows 40 to 45 of the fault matrix: bad input, typed at the program and refused by it.

Each is refused with exit code 2, with its place, without a traceback, and nothing is written.
"""

from __future__ import annotations

import re
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.app import run
from orchestrator.errors import Exit

Arbiter = Callable[..., tuple[int, str, str]]


@pytest.fixture
def arbiter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Arbiter:
    """Run the program in a folder of its own; return its exit code, its data and its talk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("ARBITER_FULL_ERROR", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["arbiter", *arguments])
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert sorted(tmp_path.rglob("*")) == before
        return int(ended.value.code or 0), said.out, said.err

    return call


def refused(arbiter: Arbiter, *arguments: str) -> str:
    code, out, err = arbiter(*arguments)
    assert (code, out) == (Exit.USAGE, "")
    assert err.startswith("error: ")
    return err.removeprefix("error: ")


def with_base(text: str | bytes, name: str = "base.toml") -> list[str]:
    """Write a base config and return the command that trains it."""
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return ["train", "--base-config", name, "--gpus", "0"]


def with_template(text: str) -> list[str]:
    """Write a template and return the command that plans it."""
    Path("t.toml").write_text(text)
    return ["plan", "--strategy", "t.toml", "--gpus", "0"]


# Row 40: bad TOML/YAML: syntax, duplicate key, tab, BOM, empty, 10 MB, not a file


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.toml", "[model]\ndim = = 3\n", "a.toml:2:7: not valid TOML: "),
        ("a.toml", "[model]\ndim = 1\ndim = 2\n", "a.toml:3:8: not valid TOML: "),
        ("a.toml", "[model]\n\tdim\t= = 3\n", "a.toml:2:8: not valid TOML: "),
        ("a.toml", "\ufeff[model]\r\ndim = = 3\r\n", "a.toml:2:7: not valid TOML: "),
        ("a.toml", "[model]\nname = 'x\n", "a.toml:2:10: not valid TOML: "),
        ("a.toml", b"\x00\x01\x02", "a.toml:1:1: not valid TOML: "),
        (
            "a.yaml",
            "model:\n  dim: 1\n  dim: 2\n",
            "a.yaml:3:3: not valid YAML: dim is given twice",
        ),
        ("a.yaml", "model:\n\tdim: 1\n", "a.yaml:2:1: not valid YAML: "),
        ("a.yaml", "model: [1, 2\n", "a.yaml:2:1: not valid YAML: "),
        ("a.yaml", "a: &a [1]\nb: *a\n", "a.yaml:2:4: not valid YAML: aliases are not read"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_row_40_a_file_that_is_not_well_formed(
    arbiter: Arbiter, name: str, text: str | bytes, place: str
) -> None:
    """Expected: rc 2, file:line:col, caret, no traceback."""
    message = refused(arbiter, *with_base(text, name))
    assert message.startswith(place)
    assert message.splitlines()[2].strip() == "^"


def test_row_40_what_is_no_text_file(arbiter: Arbiter) -> None:
    Path("folder").mkdir()
    command = ["train", "--gpus", "0", "--base-config"]
    assert "folder: got a folder, expected a TOML file" in refused(arbiter, *command, "folder")
    assert "no.toml: cannot read the file" in refused(arbiter, *command, "no.toml")
    assert "not UTF-8 text" in refused(arbiter, *with_base(b"a = '\xff'"))
    assert "got 10,000,001 bytes, expected at most 1,000,000" in refused(
        arbiter, *with_base(b"#" + b"x" * 10_000_000)
    )


def test_row_40_an_empty_file_says_nothing(arbiter: Arbiter) -> None:
    with_base("")
    with_base("", "base.yaml")
    for base in ("base.toml", "base.yaml"):
        code, out, _ = arbiter(*with_template("\ufeff"), "--base-config", base, "--format", "csv")
        assert (code, len(out.splitlines())) == (Exit.OK, 2)


# Row 41: unknown key `leraning_rate`


def test_row_41_an_unknown_key(arbiter: Arbiter) -> None:
    """Expected: rc 2 "unknown key … - did you mean learning_rate?"; all errors at once."""
    text = (
        "top = 1\n[training]\nleraning_rate = 1\nmax_grad_norm = 1\noptimizer = 'sgd'\n"
        "[model]\ndmi = 3\n[modle]\n[training.scheduler]\nmin_lr = 1\n"
    )
    lines = refused(arbiter, *with_base(text), "model.dmi=3", "lr=1").splitlines()
    for expected in (
        "base.toml:1: unknown key top",
        "base.toml:3: unknown key training.leraning_rate - did you mean learning_rate?",
        "base.toml:4: unknown key training.max_grad_norm - did you mean training.grad_clip?",
        'base.toml:5: training.optimizer: got "sgd", which is not supported: AdamW is the only'
        " optimizer",
        "base.toml:7: unknown key model.dmi - did you mean dim?",
        "base.toml:8: unknown table [modle] - did you mean model?",
        "base.toml:10: unknown key training.scheduler.min_lr - did you mean"
        " training.final_lr_frac?",
        "command line: unknown setting model.dmi - did you mean model.dim?",
        "command line: unknown setting lr - did you mean training.learning_rate?",
    ):
        assert expected in [line.removeprefix("error: ") for line in lines]
    assert len([line for line in lines if not line.startswith("  hint: ")]) == 9


def test_row_41_an_unknown_key_of_a_template(arbiter: Arbiter) -> None:
    text = "[space]\nleraning_rate = [1]\nhidden_size = [1]\n[serach]\n[objective]\nmod = 'min'\n"
    message = refused(arbiter, *with_template(text))
    for expected in (
        "t.toml:2: unknown setting leraning_rate - did you mean learning_rate?",
        "t.toml:3: unknown setting hidden_size - did you mean model.dim?",
        "t.toml:4: unknown table [serach] - did you mean search?",
        "t.toml:6: unknown key objective.mod - did you mean mode?",
    ):
        assert expected in message


# Row 42: wrong type / range: "1e-3" str, -1, true for int, nan, inf, lr=0, batch 0

WRONG = [
    ("training.learning_rate", "'1e-3'", "got '1e-3', expected a number"),
    ("training.learning_rate", "0", "got 0, expected more than 0"),
    ("training.learning_rate", "nan", "got nan, expected a finite number"),
    ("training.learning_rate", "inf", "got inf, expected a finite number"),
    ("training.weight_decay", "-1", "got -1, expected at least 0"),
    ("training.steps", "true", "got true, expected a whole number"),
    ("training.steps", "1.5", "got 1.5, expected a whole number"),
    ("training.steps", "1e3", "got 1000.0, expected a whole number"),
    ("training.batch_size", "0", "got 0, expected at least 1 or 'full'"),
    ("model.dim", "-1", "got -1, expected at least 2"),
    ("model.tie_embeddings", "1", "got 1, expected true or false"),
    ("model.norm_type", "'rmsnrom'", "did you mean rmsnorm?"),
]


def test_row_42_a_wrong_type_or_range_in_a_file(arbiter: Arbiter) -> None:
    """Expected: rc 2 with key, got, expected; all at once."""
    for key, value, expected in WRONG:
        section, leaf = key.split(".")
        message = refused(arbiter, *with_base(f"[{section}]\n{leaf} = {value}\n"))
        assert message.startswith(f"base.toml:2: {key}: got ")
        assert expected in message
    last = {key: value for key, value, _ in WRONG}
    message = refused(arbiter, *with_base("".join(f"{k} = {v}\n" for k, v in last.items())))
    assert message.count("base.toml:") == len(last)


def test_row_42_a_wrong_type_or_range_on_the_command_line(arbiter: Arbiter) -> None:
    for key, value, expected in WRONG:
        message = refused(arbiter, "train", "--gpus", "0", f"{key}={value}")
        assert message.startswith(f"command line: {key}: got ")
        assert expected in message


def test_row_42_a_wrong_type_or_range_on_an_axis(arbiter: Arbiter) -> None:
    text = "[space]\n" + "".join(
        f"{key} = [{', '.join(value for k, value, _ in WRONG if k == key)}]\n"
        for key in ("training.learning_rate", "training.steps", "training.batch_size")
    )
    message = refused(arbiter, *with_template(text))
    assert message.count("t.toml:2: training.learning_rate: got ") == 4
    assert message.count("t.toml:3: training.steps: got ") == 3
    assert "t.toml:4: training.batch_size: got 0, expected at least 1 or 'full'" in message


# Row 43: zero trials / empty grid list / max_trials 0


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("[space]\ndim = []\n", [], "t.toml:2: axis dim: got no values, expected at least one"),
        ("[space]\ndim = { values = [] }\n", [], "t.toml:2: axis dim: got no values"),
        ("[space]\nseeds = 0\n", [], "t.toml:2: seeds: got 0"),
        ("[space]\nseeds = []\n", [], "t.toml:2: seeds: got []"),
        ("[space]\nzip = []\ndim = []\n", [], "t.toml:3: axis dim: got no values"),
        ("[search]\nmax_trials = 0\n", [], "t.toml:2: search.max_trials: got 0, expected at least"),
        ("[space]\ndim = [8, 16]\nrequire = 'dim > 99'\n", [], "t.toml:3: no point keeps"),
        ("", ["dim=range(4,4)"], "command line: axis model.dim: got no values"),
        ("", ["--max-trials", "0"], "invalid value for '--max-trials': expected at least 1"),
        ("", ["--seeds", "0"], "invalid value for '--seeds': expected at least 1"),
        ("", ["--seeds", "1000000000"], "seeds: got 1000000000, expected a count from 1 to 10,000"),
        ("", ["--max-trials", "1000000000"], "got max_trials 1,000,000,000, expected at most"),
        ("", ["--search", ""], "--search: no search method ''"),
    ],
)
def test_row_43_no_trials(arbiter: Arbiter, text: str, arguments: list[str], said: str) -> None:
    """Expected: rc 2 naming the axis."""
    code, out, err = arbiter(*with_template(text), *arguments)
    assert (code, out) == (Exit.USAGE, "")
    assert said in err


# Row 44: absurd grid, 10^8 points


@pytest.mark.parametrize("form", ["list", "integer", "command line"])
def test_row_44_an_absurd_grid(
    arbiter: Arbiter, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expected: counted without building, rc 2 asks --max-trials; < 50 MB, and no Hydra loaded."""
    values = {
        "list": str(list(range(1, 101))),
        "integer": "{ integer = [1, 100] }",
        "command line": "[1]",
    }[form]
    keys = ("training.steps", "training.warmup_steps", "model.n_layers", "training.batch_size")
    typed = [f"{key}=range(1,101)" for key in keys] if form == "command line" else []
    command = with_template("[space]\n" + "".join(f"{key} = {values}\n" for key in keys))
    if not typed:
        monkeypatch.setitem(sys.modules, "hydra", None)  # importing it fails
    tracemalloc.start()
    message = refused(arbiter, *command, *typed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "got 100,000,000 trials (training.steps 100 x training.warmup_steps 100 x" in message
    assert "expected at most 10,000" in message
    assert "--max-trials" in message
    assert peak < 50_000_000


# Row 45: duplicate points in the grid, [1, 1.0, 1]


@pytest.mark.parametrize(
    ("axis", "left"),
    [
        ("weight_decay = [1, 1.0, 1]", 1),
        ("learning_rate = [1e-3, 0.001, 1.0e-3, 2e-3]", 2),
        ("ffn_dim = [512, 'none']", 1),
        ("seq_len = [256, 'none', 128]", 2),
    ],
)
def test_row_45_duplicate_points(arbiter: Arbiter, axis: str, left: int) -> None:
    """Expected: deduplicated with a note."""
    code, out, err = arbiter(*with_template(f"[space]\n{axis}\n"), "--format", "csv")
    assert (code, len(out.splitlines())) == (Exit.OK, left + 1)
    assert re.search(r"duplicate trials? w(as|ere) left out", err)

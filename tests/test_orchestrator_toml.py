"""Configuration files: where a mistake is, and that no input brings the reader down."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.toml_file import ConfigFile, flatten, nest, read_config_file


def written(folder: Path, content: bytes | str, name: str = "a.toml") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_config_file(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "line", "column", "shown"),
    [
        ("[model]\ndim = = 3\n", 2, 7, "dim = = 3"),
        ("[model]\r\ndim = = 3\r\n", 2, 7, "dim = = 3"),
        ("\ufeff[model]\ndim = = 3\n", 2, 7, "dim = = 3"),
        ("[model]\n\tdim\t= = 3\n", 2, 8, " dim = = 3"),
        ("[model]\ndim = 1\ndim = 2\n", 3, 8, "dim = 2"),
        ("[model]\n[model]\n", 2, 7, "[model]"),
        ("a = 'x\u2028y'\nb = = 1\n", 2, 5, "b = = 1"),
    ],
    ids=["syntax", "crlf", "bom", "tab", "duplicate key", "duplicate table", "odd line break"],
)
def test_a_mistake_is_shown_with_line_column_and_caret(
    tmp_path: Path, content: str, line: int, column: int, shown: str
) -> None:
    path = written(tmp_path, content)
    place, text, caret = refused(path).split("\n")
    assert place.startswith(f"{path}:{line}:{column}: not valid TOML: ")
    assert text == f"    {shown}"
    assert caret == " " * (4 + column - 1) + "^"


def test_an_unclosed_array_is_placed_at_the_end(tmp_path: Path) -> None:
    assert f"{tmp_path}/a.toml:2:10: not valid TOML: " in refused(
        written(tmp_path, "[space]\ndim = [1,\n\n")
    )


def test_of_a_very_long_line_only_the_part_around_the_mistake_is_shown(tmp_path: Path) -> None:
    message = refused(written(tmp_path, f'x = "{"y" * 5000}" z'))
    assert ":1:5008: " in message
    assert len(message) < 500 + len(str(tmp_path))
    _, text, caret = message.split("\n")
    assert text[caret.index("^")] == "z"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[model]\nname = '\xff\xfe'\n", "not UTF-8 text: byte 0xff at offset 16"),
        (b"\x00" * 10, "not valid TOML"),
        (b"# " + b"x" * 2_000_000, "got 2,000,002 bytes, expected at most 1,000,000"),
        (b"a = " + b"[" * 20_000, "nested too deeply"),
        (b"a = " + b"9" * 5_000, "not valid TOML: Exceeds the limit"),
    ],
    ids=["not UTF-8", "NUL", "2 MB", "nested", "digits"],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    message = refused(written(tmp_path, content))
    assert message.startswith(str(tmp_path))
    assert expected in message


def test_a_folder_a_pipe_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    assert "got a folder, expected a TOML file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refused(tmp_path / "pipe")
    written(tmp_path, "", "base_config.toml")
    message = refused(tmp_path / "base_confg.toml")
    assert "No such file or directory" in message
    assert "did you mean base_config.toml?" in message
    assert "cannot read the file" in refused(tmp_path / "no" / "where.toml")
    assert "cannot read the file" in refused(Path("x" * 300))


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    file = read_config_file(written(tmp_path, ""))
    assert file.tables == {}
    assert file.place("model.dim") == str(file.path)


def test_every_key_is_placed_on_its_line(tmp_path: Path) -> None:
    text = (
        '# first\nname = "a"\n[model]\ndim = 3\n\n[ "space" ]\n"model.dim" = [1,\n 2]\n'
        "[scale.smoke.training]\nsteps=1\n[data]\n'task' = \"modular\"\n[logging]\n"
    )
    for content in (text, text.replace("\n", "\r\n"), "\ufeff" + text):
        file = read_config_file(written(tmp_path, content))
        lines = {
            "name": 2,
            "model": 3,
            "model.dim": 4,
            "space.model.dim": 7,
            "scale.smoke.training.steps": 10,
            "data.task": 12,
        }
        for key, line in lines.items():
            assert file.place(key) == f"{file.path}:{line}"


def test_a_key_inside_an_inline_table_is_placed_on_its_table(tmp_path: Path) -> None:
    file = read_config_file(written(tmp_path, "x = 1\nmodel = { dim = 3 }\n"))
    assert file.place("model.dim") == f"{file.path}:2"


def test_the_snapshot_of_a_trial_is_read_and_other_yaml_is_not(tmp_path: Path) -> None:
    file = read_config_file(written(tmp_path, "model:\n  dim: 8\n", "config.yaml"))
    assert file.tables == {"model": {"dim": 8}}
    for content, expected in {
        "- 1\n- 2\n": "got list, expected sections by name",
        "3: 4\n": "expected sections by name",
        "a: b: c\n": ":1:5: not valid YAML",
        "a: !!python/object/apply:os.system ['true']\n": "could not determine a constructor",
        "a: &a [*a": "not valid YAML",
        "a: 2026-99-99\n": "not valid YAML: month must be in 1..12",
        "a:\n  ? [b]\n  : 1\n": ":2:5: not valid YAML: found unhashable key",
    }.items():
        assert expected in refused(written(tmp_path, content, "config.yaml"))


KEYS = st.text("abc", min_size=1, max_size=2)
TABLES = st.dictionaries(
    KEYS,
    st.recursive(
        st.integers(),
        lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(tables=TABLES)
def test_nest_undoes_flatten(tables: dict[str, object]) -> None:
    assert nest(flatten(tables)) == tables


@pytest.mark.parametrize("flat", [{"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}, {"a": {}, "a.b": 1}])
def test_a_key_is_a_value_or_a_table_in_any_order(flat: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="a is a value, not a table"):
        nest(flat)


def test_a_file_without_lines_is_its_own_place() -> None:
    assert ConfigFile(Path("x.yaml"), {}, {}).place("model.dim") == "x.yaml"

"""`arbiter tokenizer train`, and what of corpora and vocabularies every command refuses."""

from __future__ import annotations

import csv
import errno
import io
import json
import lzma
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.again import setting
from orchestrator.errors import Exit
from orchestrator.overrides import parse_overrides
from tests.program import Program
from tests.trainer_help import text
from trainer.tasks.corpus.tokenizer import load, train_bpe

SMALL = [
    "model.dim=8",
    "model.n_layers=1",
    "model.n_heads=2",
    "training.steps=2",
    "training.batch_size=2",
]


@pytest.fixture
def arbiter(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setenv("ARBITER_HOME", str(program.folder / "home"))
    (program.folder / "corpus.txt").write_text(text(3000), encoding="utf-8")
    return program


TRAIN = ("tokenizer", "train", "corpus.txt", "--vocab-size", "270,300")


def test_a_tokenizer_is_made_and_the_next_command_trains_with_it(arbiter: Program) -> None:
    done = arbiter(*TRAIN, "--phrases", "3", "--choose", "300")
    assert done.code == Exit.OK
    *_, choice, following = done.err.splitlines()
    assert re.fullmatch(r"chosen: tokenizers/corpus-\w{8}/vocab-300.json, because .*", choice)
    assert following.startswith("next: arbiter train data.dataset_path=corpus.txt ")
    words = shlex.split(following.removeprefix("next: arbiter "))
    trained = arbiter(*words, *SMALL, "training.seq_len=8", "--gpus", "0")
    assert trained.code == Exit.OK, trained.err
    (config,) = (arbiter.folder / "runs").glob("*/trials/*/config.yaml")
    assert "tokenizer_path: tokenizers/corpus-" in config.read_text()


def test_each_format_says_the_same(arbiter: Program) -> None:
    shown = {f: arbiter(*TRAIN, "--format", f).out for f in ("table", "md", "csv", "json")}
    document = json.loads(shown["json"])
    rows = list(csv.DictReader(io.StringIO(shown["csv"])))
    assert [row["vocabulary"] for row in rows] == ["270", "300"]
    for row, candidate in zip(rows, document["candidates"], strict=True):
        ratio = f"{candidate['held_out_bytes_per_token']:.3f}"
        assert row["bytes/token held-out"] == ratio and ratio in shown["table"]
        assert row["file"] == candidate["path"] and Path(row["file"]).is_file()
        assert (row["chosen"] == "yes") == (candidate["path"] == document["chosen"])
    assert shown["md"].startswith("|") and document["reason"]
    assert arbiter(*TRAIN, "-q").err == ""


def test_phrases_of_a_file_are_single_tokens(arbiter: Program) -> None:
    Path("phrases.txt").write_text("lazy dog\nquick brown fox\n")
    done = arbiter(*TRAIN, "--phrases-file", "phrases.txt", "--phrases", "2", "--out", "made")
    assert done.code == Exit.OK and "'quick brown fox', ' quick brown fox'" in done.out
    tokenizer = load("made/vocab-270.json")
    assert len(tokenizer.encode("quick brown fox")) == len(tokenizer.encode(" lazy dog")) == 1
    assert tokenizer.decode(tokenizer.encode("a lazy dogma 😀")) == "a lazy dogma 😀"


def test_shares_are_those_of_the_runs_to_come(arbiter: Program) -> None:
    done = arbiter(*TRAIN, "--train-frac", "0.5", "--val-frac", "0.25")
    assert done.err.splitlines()[-1].endswith("data.train_frac=0.5 data.val_frac=0.25")


@pytest.mark.parametrize("name", ["a b", "it's,1=2", "a\\", "\\'x", "[a]", "é.txt", "null", "1"])
def test_a_path_is_read_as_it_was_named(name: str) -> None:
    typed = setting("data.dataset_path", f"/tmp/{name}")
    assert parse_overrides([typed]).settings == {"data.dataset_path": f"/tmp/{name}"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "command line: missing command"),
        (["tran"], "no such command 'tran'"),
        (["train"], "missing argument 'CORPUS'"),
        (["train", "kvj"], "CORPUS: no file 'kvj' - did you mean kjv?"),
        (["train", "corpse.txt"], "CORPUS: no file 'corpse.txt' - did you mean corpus.txt?"),
        (
            ["train", "corpus.txt", "--vocab-size", "256"],
            "--vocab-size: got 256, expected at least",
        ),
        (["train", "corpus.txt", "--vocab-size", "1k"], "--vocab-size: got '1k', expected whole"),
        (["train", "corpus.txt", "--vocab-size", "300,"], "--vocab-size: got '', expected whole"),
        (["train", "corpus.txt", "--vocab-size", "300,300"], "expected each size once"),
        (["train", "corpus.txt", "--choose", "1000"], "--choose: got 1000, expected one of the"),
        (["train", "corpus.txt", "--phrases", "-1"], "'--phrases': expected at least 0"),
        (["train", "corpus.txt", "--phrases", "768"], "no room for merges"),
        (["train", "corpus.txt", "--phrases-file", "no.txt"], "no.txt: cannot read the file"),
        (["train", "corpus.txt", "--phrases-file", "empty.txt"], "empty.txt: it has no phrase"),
        (["train", "corpus.txt", "--phrases-file", "many.txt"], "800 entries of many.txt beside"),
        (["train", "corpus.txt", "--train-frac", "1"], "--train-frac: got train_frac 1 and"),
        (["train", "corpus.txt", "--val-frac", "nan"], "--train-frac: got train_frac 0.9 and"),
        (["train", "corpus.txt", "--out", "corpus.txt"], "--out: corpus.txt is no folder"),
        (
            ["train", "corpus.txt", "--vocab-size", "300", "--out", "corpus.txt/a"],
            "Not a directory",
        ),
        (["train", "corpus.txt", "--vocab-size", "300", "--out", "x" * 300], "File name too long"),
        (["train", "corpus.txt", "--format", "xml"], "no format 'xml'"),
        (["train", "ab.txt"], "CORPUS: the train split has 1 characters, of which no two"),
        (["train", "a.txt"], "CORPUS: the train split of 'a.txt' has nothing to read"),
    ],
)
def test_what_makes_no_tokenizer_is_refused(
    arguments: list[str], message: str, arbiter: Program
) -> None:
    Path("empty.txt").touch()
    Path("many.txt").write_text("".join(f"no {n}\n" for n in range(400)))
    Path("ab.txt").write_text("ab")
    Path("a.txt").write_text("a")
    assert message in arbiter.refuses("tokenizer", *arguments, code=Exit.USAGE)


def test_a_folder_of_other_tokenizers_is_left_alone(arbiter: Program) -> None:
    assert arbiter(*TRAIN, "--out", "made").code == Exit.OK
    said = arbiter.refuses(*TRAIN, "--phrases", "2", "--out", "made", code=Exit.USAGE)
    assert "--out: made/tokenizers.json is of another text or other settings" in said


def test_a_full_disk_is_the_disk_s_fault(arbiter: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "replace", full)
    done = arbiter(*TRAIN, "--out", "made")
    assert (done.code, done.out) == (Exit.STORAGE, "")
    assert "the disk refused: No space left on device" in done.err
    assert list(Path("made").iterdir()) == []


# Corpora, refused alike by every command that is given one


def latin(path: Path) -> None:
    path.write_bytes("naïve".encode("latin-1") * 100)


def utf_16(path: Path) -> None:
    path.write_bytes(text().encode("utf-16"))


def utf_32(path: Path) -> None:
    path.write_bytes(text().encode("utf-32"))


def binary(path: Path) -> None:
    path.write_bytes(b"PNG\x00\x01\x02" * 100)


def blank(path: Path) -> None:
    path.write_text(" \n\t\n" * 1000)


def half_xz(path: Path) -> None:
    path.with_suffix(".xz").write_bytes(lzma.compress(text().encode())[:-20])
    path.symlink_to(path.with_suffix(".xz"))


def circle(path: Path) -> None:
    path.symlink_to(path)


NO_TEXTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no file 'bad.txt'"),
    "folder": (Path.mkdir, "got the folder 'bad.txt', expected a file"),
    "empty": (Path.touch, "bad.txt is empty"),
    "blank": (blank, "bad.txt has nothing but white space"),
    "latin-1": (latin, "bad.txt is not UTF-8 text: byte 0xef at offset 2"),
    "utf-16": (utf_16, "bad.txt is UTF-16 text, expected UTF-8\n  hint: iconv -f UTF-16 -t UTF-8"),
    "utf-32": (utf_32, "bad.txt is UTF-32 text, expected UTF-8\n  hint: iconv -f UTF-32 -t UTF-8"),
    "binary": (binary, "bad.txt is not text: byte 0x00 at offset 3"),
    "circle": (circle, "cannot read 'bad.txt': Too many levels"),
}
COMMANDS = {
    "tokenizer train": ("tokenizer", "train", "bad.txt"),
    "train": ("train", "data.dataset_path=bad.txt", "--gpus", "0"),
    "plan": ("plan", "--strategy", "t.toml", "--gpus", "0"),
    "sweep": ("sweep", "--strategy", "t.toml", "--gpus", "0"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", NO_TEXTS)
def test_what_is_no_text_is_refused_before_anything_starts(
    kind: str, command: str, arbiter: Program
) -> None:
    make, message = NO_TEXTS[kind]
    make(arbiter.folder / "bad.txt")
    Path("t.toml").write_text('[data]\ndataset_path = "bad.txt"\n[space]\nn_layers = [1, 2]\n')
    said = arbiter.refuses(*COMMANDS[command], code=Exit.USAGE)
    place = {"tokenizer train": "CORPUS", "train": "command line: data.dataset_path"}
    assert said.startswith(f"error: {place.get(command, 't.toml:2: data.dataset_path')}: {message}")
    assert said.count("error: ") == 1


def test_a_text_that_the_user_may_not_read(
    arbiter: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "corpus.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    before = arbiter.tree()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    for command in (TRAIN, ("train", "data.dataset_path=corpus.txt", "--gpus", "0")):
        done = arbiter(*command)
        assert done.code == Exit.USAGE and "cannot read corpus.txt: Permission denied" in done.err
    monkeypatch.undo()
    assert arbiter.tree() == before


SHORT = {
    "byte": ((), "x " * 1000),
    "char": (("data.tokenizer=char",), "x " * 1000),
    "char beyond ascii": (("data.tokenizer=char",), "é " * 1000),
    "bpe": (("data.tokenizer=bpe", "model.vocab_size=300"), "x y z " * 1000),
    "bpe of a file": (("data.tokenizer=bpe", "data.tokenizer_path=t.json"), "x y z " * 1000),
}


@pytest.mark.parametrize("kind", SHORT)
def test_a_split_shorter_than_a_sequence_is_refused_before_anything_starts(
    kind: str, arbiter: Program
) -> None:
    """At 0.05 the val split has 100 characters, or 300 that BPE makes at most 200 tokens of."""
    settings, content = SHORT[kind]
    Path("short.txt").write_text(content)
    train_bpe("x y z " * 50, 300).save("t.json")
    command = ("train", "data.dataset_path=short.txt", *settings, "--gpus", "0")
    said = arbiter.refuses(*command, code=Exit.USAGE)
    found = re.search(r"the val split of 'short.txt' has (\d+) tokens, expected more than", said)
    assert found and 100 <= int(found[1]) <= 200
    assert "hint: training.seq_len=" in said
    said = arbiter.refuses(*command, "data.train_frac=0.01", "data.val_frac=0.9", code=Exit.USAGE)
    assert "the train split of 'short.txt' has" in said
    length = f"training.seq_len={int(found[1]) - 1}"
    assert arbiter(*command, *SMALL, length).code == Exit.OK


def test_a_single_long_line_is_a_text(arbiter: Program) -> None:
    Path("line.txt").write_text(text(3000).replace("\n", " "))
    assert arbiter("tokenizer", "train", "line.txt", "--vocab-size", "300").code == Exit.OK
    command = ("train", "data.dataset_path=line.txt", *SMALL, "training.seq_len=8", "--gpus", "0")
    assert arbiter(*command).code == Exit.OK


def garbage() -> str:
    return "not JSON"


def no_model() -> str:
    return '{"model": 3}'


def a_list() -> str:
    return "[1]"


def by_words() -> str:
    from tokenizers import Tokenizer, models

    return str(Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")).to_str())


def few_bytes() -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers

    encoder = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel()
    return str(encoder.to_str())


def large() -> str:
    return str(train_bpe(text(3000), 310).to_str())


def with_prefix() -> str:
    description = json.loads(train_bpe(text(3000), 300).to_str())
    description["pre_tokenizer"]["add_prefix_space"] = True
    return json.dumps(description)


def changed(part: str, **settings: object) -> str:
    description = json.loads(train_bpe(text(3000), 300).to_str())
    (description[part] if part else description).update(settings)
    return json.dumps(description)


def same_length() -> str:
    other = {"type": "Replace", "pattern": {"String": "e"}, "content": "o"}
    return changed("", normalizer=other)


def at_random() -> str:
    return changed("model", dropout=0.5)


def far_numbered() -> str:
    description = json.loads(train_bpe(text(3000), 300).to_str())
    description["model"]["vocab"][max(description["model"]["vocab"], key=len)] = 4_000_000_000
    description["model"]["merges"] = []
    return json.dumps(description)


NO_TOKENIZERS: dict[str, tuple[Callable[[], str], str]] = {
    "garbage": (garbage, "data.tokenizer_path: 't.json' is not a tokenizer.json"),
    "no model": (no_model, "data.tokenizer_path: 't.json' is not a tokenizer.json"),
    "list": (a_list, "data.tokenizer_path: 't.json' is not a tokenizer.json"),
    "words": (by_words, "data.tokenizer_path: 't.json' is not a byte-level BPE"),
    "few bytes": (few_bytes, "'t.json' has no symbol for 254 of the 256 bytes"),
    "prefix": (with_prefix, "it changes the text"),
    "same length": (same_length, "it changes the text"),
    "at random": (at_random, "'t.json' has dropout 0.5"),
    "far numbered": (far_numbered, "'t.json' numbers a symbol 4,000,000,000"),
    "large": (
        large,
        "model.vocab_size: 300 is smaller than the bpe tokenizer's 310 symbols of 't.json'",
    ),
}


@pytest.mark.parametrize("kind", NO_TOKENIZERS)
def test_a_file_that_is_no_tokenizer_for_the_run_is_refused(kind: str, arbiter: Program) -> None:
    make, message = NO_TOKENIZERS[kind]
    Path("t.json").write_text(make())
    base = '[model]\nvocab_size = 300\n[data]\ndataset_path = "corpus.txt"\ntokenizer_path = "t.json"\n'
    Path("b.toml").write_text(base)
    for command in (
        ("train", "--base-config", "b.toml", "--gpus", "0"),
        (
            "plan",
            "--strategy",
            "grid",
            "--base-config",
            "b.toml",
            "--gpus",
            "0",
            "model.vocab_size=300",
        ),
    ):
        said = arbiter.refuses(*command, code=Exit.USAGE)
        assert message in said and said.startswith(("error: b.toml:", "error: command line: "))


@pytest.mark.parametrize("size", [2, 255, 256])
def test_a_vocabulary_below_the_bytes_is_refused(size: int, arbiter: Program) -> None:
    command = ("train", "data.dataset_path=corpus.txt", f"model.vocab_size={size}", "--gpus", "0")
    said = arbiter.refuses(*command, "data.tokenizer=bpe", code=Exit.USAGE)
    assert f"model.vocab_size: {size} leaves the bpe tokenizer no merges" in said
    if size < 256:
        said = arbiter.refuses(*command, code=Exit.USAGE)
        assert f"model.vocab_size: {size} is smaller than the byte tokenizer's 256 symbols" in said


def test_a_path_meant_from_its_file_is_pointed_out(arbiter: Program) -> None:
    folder = arbiter.folder / "mine"
    folder.mkdir()
    (folder / "words.txt").write_text(text(3000), encoding="utf-8")
    (folder / "b.toml").write_text('[data]\ndataset_path = "words.txt"\n')
    said = arbiter.refuses("train", "--base-config", "mine/b.toml", "--gpus", "0", code=Exit.USAGE)
    assert "hint: paths are from the current folder: data.dataset_path=mine/words.txt" in said


def test_the_commands_of_the_page_run(arbiter: Program) -> None:
    page = (Path(__file__).parent.parent / "docs" / "tokenizers.md").read_text()
    (block,) = re.findall(r"```\n(.*?)```", page, re.DOTALL)
    for line in block.splitlines():
        words = shlex.split(line)[1:]
        quick = [*SMALL, "training.seq_len=8", "training.eval_tokens=8"]
        done = arbiter(*words, *(quick if words[0] == "train" else ()))
        assert done.code == Exit.OK, done.err


def test_a_file_that_pads_and_cuts_reads_all_of_a_text(tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "t.json").write_text(changed("", truncation=cut))
    loaded = load(str(tmp_path / "t.json"))
    assert loaded.decode(loaded.encode(text(100))) == text(100)


@pytest.mark.parametrize("key", ["dataset_path", "tokenizer_path"])
def test_a_name_that_is_too_long_is_refused(key: str, arbiter: Program) -> None:
    settings = ["data.tokenizer=bpe"] if key == "tokenizer_path" else []
    settings += ["data.dataset_path=corpus.txt"] if settings else []
    said = arbiter.refuses("train", f"data.{key}={'x' * 300}", *settings, "--gpus", "0", code=2)
    assert f"data.{key}: cannot read" in said and "File name too long" in said


def test_a_size_beyond_all_merges_is_trained_as_far_as_they_go(arbiter: Program) -> None:
    assert arbiter("tokenizer", "train", "corpus.txt", "--vocab-size", "99999999999").code == 0

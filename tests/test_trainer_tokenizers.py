"""Vocabularies: what they read and write exactly, their phrases, how they are measured and kept."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import trainer_help as help
from trainer.errors import InputError
from trainer.tasks import build_task, vocab_size
from trainer.tasks.corpus import phrases, vocabularies
from trainer.tasks.corpus import text as texts
from trainer.tasks.corpus.tokenizer import Tokenizer, build, load, of_encoder, train_bpe
from trainer.tasks.corpus.vocabularies import Candidate, Study, study

VERSES = "And it came to pass, that he said. Now it came to pass: the LORD's word; of the LORD.\n"
CORPUS = VERSES * 30 + help.text(300)
PHRASES = ("And it came to pass", " it came to pass", " the LORD", " of the LORD", "naïve coöp")


@cache
def with_phrases() -> Tokenizer:
    return of_encoder(train_bpe(CORPUS, 340, PHRASES), "here")


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.symbols[i].decode(errors="replace") for i in tokenizer.encode(text)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("made")
    path = help.write_text(folder, CORPUS)
    return study(path, [320, 300], folder / "out", phrases=4)


# Text to symbols and back


@given(st.text())
def test_any_text_is_written_and_read_back(text: str) -> None:
    tokenizer = with_phrases()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert int(tokenizer.byte_lengths[ids].sum()) == len(text.encode())


@given(st.lists(st.sampled_from([*PHRASES, " ", "\n", "'s", "s", "1", ",", "é", "_"])))
def test_phrases_change_no_text(parts: list[str]) -> None:
    text = "".join(parts)
    assert with_phrases().decode(with_phrases().encode(text)) == text


@pytest.mark.parametrize("name", ["byte", "char", "bpe"])
def test_a_run_decodes_what_it_encoded(name: str, tmp_path: Path) -> None:
    model = {"vocab_size": 300} if name == "bpe" else {}
    path = help.write_text(tmp_path)
    config = help.corpus(path, model=model, data={"tokenizer": name})
    tokenizer, task = build(config), build_task(config)
    assert tokenizer.decode(tokenizer.encode(help.text())) == help.text()
    parts: Any = task
    whole = "".join(tokenizer.decode(parts.splits[name]) for name in ("train", "val", "test"))
    assert whole == help.text()
    assert tokenizer.decode([tokenizer.vocab_size, 99_999]) == "\ufffd\ufffd"


def test_characters_that_a_text_has_not_are_refused(tmp_path: Path) -> None:
    config = help.corpus(help.write_text(tmp_path), data={"tokenizer": "char"})
    for strange in "x\u00009😀":
        if strange not in help.text():
            with pytest.raises(InputError, match="the char tokenizer has no"):
                build(config).encode(f"the {strange}")


# Phrases


def test_a_phrase_is_one_symbol_at_the_edges_of_words() -> None:
    tokens = pieces(
        with_phrases(), "And it came to pass that naïve coöp of the LORD's, of the LORDS"
    )
    assert tokens[0] == "And it came to pass"
    assert " of the LORD" in tokens and tokens[tokens.index(" of the LORD") + 1][0] == "'"
    assert "naïve coöp" not in tokens  # only without a space before it was it asked for
    assert tokens.count(" of the LORD") == 1  # LORDS is another word


@pytest.mark.parametrize(
    "text",
    [
        "And it came to passing",
        "xAnd it came to passé",
        "_And it came to pass1",
        "of the LORD_ ",
        "And it came to pass\u0301",
    ],
)
def test_a_phrase_swallows_no_part_of_a_word(text: str) -> None:
    assert not {*PHRASES} & {*pieces(with_phrases(), text)}


def test_the_longest_phrase_wins() -> None:
    assert pieces(with_phrases(), "x of the LORD") == ["x", " of the LORD"]
    assert pieces(with_phrases(), "x\n of the LORD")[-1] == " of the LORD"
    assert " the LORD" in pieces(with_phrases(), "said the LORD")


def test_phrases_count_and_no_merge_crosses_a_space_beside_them() -> None:
    assert with_phrases().vocab_size == 340
    inner = [s for s in with_phrases().symbols if b" " in s.strip()]
    assert sorted(inner) == sorted(phrase.encode() for phrase in PHRASES)


def test_phrases_with_signs_of_expressions() -> None:
    odd = ("a.b* (c] x", "a.b* (c] x^-y", " 5 ] \\ z", "a [&& b", "a [&& -b")
    tokenizer = of_encoder(train_bpe(CORPUS, 320, odd), "here")
    for phrase in odd:
        assert pieces(tokenizer, phrase) == [phrase]
    assert "a.b* (c] x" not in pieces(tokenizer, "aabb (c] x")


def test_what_holds_together_is_found_and_what_is_chance_is_not() -> None:
    draw = np.random.default_rng(3)
    words = [f"w{chr(97 + i)}" for i in range(20)]
    text = "".join(
        f"{' '.join(draw.choice(words, 6))} burnt offering {' '.join(draw.choice(words, 6))}"
        f"{' at the gate' if n % 2 else ''}.\n"
        for n in range(120)
    )
    assert phrases.find(text, 9) == (" burnt offering", " at the gate")
    assert phrases.find(text, 1) == (" burnt offering",)
    assert phrases.find(text, 9, leave_out=(" burnt offering",)) == (" at the gate",)


def test_the_weakest_cut_by_hand() -> None:
    # Of 200 words, 40 are " a" and 20 " b", always after " a"; the others occur once each.
    rare = iter(f"{chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(26))
    text = "".join(
        f"{next(rare)} a b {next(rare)} {next(rare)} a {next(rare)} {next(rare)}.\n"
        for _ in range(20)
    )
    words, levels = phrases._count(text)
    total = len(words)
    (pair,) = [n for n in levels[1:] if n.words == 2]
    p_ab, p_a, p_b = 20 / total, 40 / total, 20 / total
    expected = math.log(p_ab / (p_a * p_b)) / -math.log(p_ab)
    assert phrases._npmi(levels, pair) == pytest.approx([expected])


@pytest.mark.parametrize("text", ["", "one", "one two", "1 2 3\n" * 50, "...\n" * 50])
def test_a_text_without_phrases_has_none(text: str) -> None:
    assert phrases.find(text, 5) == ()


def test_a_phrase_inside_a_longer_one_is_not_taken_for_it() -> None:
    text = "so he began to reign in his stead.\n" * 20 + "and they were there then.\n" * 3
    assert phrases.find(text, 5) == ("so he began to reign in his stead",)


def test_a_file_of_phrases_gives_each_with_and_without_a_space(tmp_path: Path) -> None:
    file = tmp_path / "phrases.txt"
    file.write_bytes("\ufeffAnd it came to pass\r\n\n  of the LORD \n".encode())
    expected = ("And it came to pass", " And it came to pass", "of the LORD", " of the LORD")
    assert phrases.read(file) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no phrase"),
        (b"\n \n", "it has no phrase"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"of the\nword\n", ":2: a phrase has a space between two words: got 'word'"),
        (b"of the,\n", ":1: a phrase begins and ends with a letter"),
        (b"a b\n\na b\n", ":3: 'a b' stands on line 1 already"),
        (b"a\x07 b\n", ":1: a phrase has no control characters"),
    ],
)
def test_a_file_that_has_no_phrases_is_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "phrases.txt").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        phrases.read(tmp_path / "phrases.txt")


# The study


def test_a_study_is_what_a_run_reads(made: Study) -> None:
    assert [c.vocab_size for c in made.candidates] == [300, 320]
    train = texts.split(CORPUS, 0.9, 0.05)["train"]
    val = texts.split(CORPUS, 0.9, 0.05)["val"]
    for candidate in made.candidates:
        tokenizer = load(str(candidate.path))
        assert tokenizer.vocab_size == candidate.symbols == candidate.vocab_size
        ids = tokenizer.encode(train)
        assert candidate.train_bytes_per_token == len(train.encode()) / len(ids)
        assert candidate.train_chars_per_token == len(train) / len(ids)
        held_out = tokenizer.encode(val)
        assert candidate.held_out_bytes_per_token == len(val.encode()) / len(held_out)
        assert candidate.held_out_chars_per_token == len(val) / len(held_out)
        assert candidate.used == len({*ids.tolist()})
        in_phrases = sum(
            len(tokenizer.symbols[i])
            for i in ids
            if tokenizer.symbols[i].decode(errors="replace") in made.phrases
        )
        assert candidate.phrase_frac == in_phrases / len(train.encode()) > 0


def test_the_held_out_text_has_no_say(tmp_path: Path) -> None:
    files = []
    for n, end in enumerate(("x y z " * 40, "q " * 120)):
        (folder := tmp_path / str(n)).mkdir()
        path = help.write_text(folder, "a b a b c d e f g h\n" * 132 + end)
        files.append(study(path, [270], folder / "out", phrases=3).chosen.path.read_bytes())
    assert files[0] == files[1]


def test_the_same_again_is_read_and_gives_the_same_bytes(
    made: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = help.write_text(tmp_path, CORPUS)
    again = study(path, [300, 320], tmp_path / "elsewhere", phrases=4)
    monkeypatch.setattr(vocabularies, "train_bpe", None)
    folder = made.record.parent
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    assert study(path, [300, 320], folder, phrases=4) == made
    after = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    assert before == after
    assert {f.name: f.read_bytes() for f in again.record.parent.iterdir()} == {
        name: content for name, (content, _) in before.items()
    }


def test_the_record_says_what_was_chosen(made: Study) -> None:
    record = json.loads(made.record.read_text())
    assert record["chosen"] == made.chosen.path.name and record["reason"] == made.reason
    assert record["phrases"] == list(made.phrases) and record["sizes"] == [300, 320]
    rows = {row["path"]: row["sha256"] for row in record["candidates"]}
    assert rows == {c.path.name: c.sha256 for c in made.candidates}


def test_other_settings_do_not_overwrite(made: Study, tmp_path: Path) -> None:
    path = help.write_text(tmp_path, CORPUS)
    with pytest.raises(InputError, match=r"of another text or other settings, and is not overw"):
        study(path, [310], made.record.parent)
    own = tmp_path / "own"
    study(path, [300], own)
    (own / "vocab-300.json").write_text("{}")
    with pytest.raises(InputError, match=r"vocab-300.json is another tokenizer, or damaged"):
        study(path, [300], own)
    (own / "vocab-300.json").unlink()
    assert len(study(path, [300], own).chosen.path.read_bytes()) > 1000
    (own / "tokenizers.json").unlink()  # as a kill would leave it
    assert study(path, [300], own).record.is_file()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is no folder"):
        study(path, [300], tmp_path / "file")


def test_another_choice_replaces_the_record_alone(tmp_path: Path) -> None:
    path, folder = help.write_text(tmp_path, CORPUS), tmp_path / "out"
    for size in (270, 300):
        result = study(path, [270, 300], folder, choose=size)
        assert result.chosen.vocab_size == size and result.reason == "it was asked for"
        assert json.loads(result.record.read_text())["chosen"] == f"vocab-{size}.json"


def candidate(size: int, held_out: float) -> Candidate:
    return Candidate(size, size, Path(f"{size}"), "", 1.0, 1.0, held_out, held_out, size, 0.0)


@pytest.mark.parametrize(
    ("held_out", "size"),
    [
        ([2.0, 2.2, 2.42], 4096),
        ([2.0, 2.2, 2.3], 2048),
        ([2.0, 2.05, 2.9], 1024),
        ([2.0, 1.9, 1.8], 1024),
        ([2.0], 1024),
    ],
)
def test_the_smallest_size_from_which_a_doubling_gains_little(
    held_out: list[float], size: int
) -> None:
    candidates = [candidate(1024 * 2**n, value) for n, value in enumerate(held_out)]
    chosen, reason = vocabularies._choose(candidates, None)
    assert chosen.vocab_size == size and reason


def test_a_gain_is_a_doubling_s() -> None:
    few = [candidate(1024, 2.0), candidate(4096, 2.0 * 1.05**2 * 1.001)]
    assert vocabularies._choose(few, None)[0].vocab_size == 4096
    less = [candidate(1024, 2.0), candidate(4096, 2.0 * 1.05**2 * 0.999)]
    chosen, reason = vocabularies._choose(less, None)
    assert chosen.vocab_size == 1024
    assert reason.startswith("from it to 4,096 each doubling gains 4.9% bytes a token")


def test_a_text_with_few_pairs_has_a_smaller_vocabulary(tmp_path: Path) -> None:
    result = study(help.write_text(tmp_path, "ab" * 500), [300], tmp_path / "out")
    assert result.chosen.symbols < 300
    config = help.corpus(
        help.write_text(tmp_path, "ab" * 500),
        data={"tokenizer": "bpe", "tokenizer_path": str(result.chosen.path)},
        training={"seq_len": 2},
    )
    assert vocab_size(config) == result.chosen.symbols


# Runs


def test_a_run_trains_the_tokenizer_that_the_command_trains(tmp_path: Path) -> None:
    path = help.write_text(tmp_path, CORPUS)
    result = study(path, [290], tmp_path / "out", train_frac=0.8, val_frac=0.1)
    config = help.corpus(path, model={"vocab_size": 290}, data={"tokenizer": "bpe"})
    inside = build(config).encoder.to_str(pretty=True)
    assert inside == result.chosen.path.read_text()
    data = {"tokenizer": "bpe", "tokenizer_path": str(result.chosen.path)}
    task: Any = build_task(help.corpus(path, data=data))
    twin: Any = build_task(config)
    assert all(np.array_equal(task.splits[name], twin.splits[name]) for name in task.splits)


def test_bits_per_byte_compares_two_tokenizers(
    made: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that knows nothing but how many bytes follow says so under each: 8 bits a byte."""
    path = help.write_text(tmp_path, CORPUS)
    found = []
    for data in (
        {"tokenizer": "byte"},
        {"tokenizer": "bpe", "tokenizer_path": str(made.chosen.path)},
    ):
        config = help.corpus(path, data=data, training={"eval_tokens": None})
        task: Any = build_task(config)
        lengths = torch.from_numpy(task.byte_lengths).double()

        def uniform_over_bytes(x: torch.Tensor) -> torch.Tensor:
            chances = -8 * math.log(2) * lengths  # noqa: B023
            return chances.expand(*x.shape, -1)

        monkeypatch.setattr(
            "trainer.tasks.corpus.task._cross_entropy",
            lambda logits, y: -logits.gather(-1, y[..., None]).mean(),
        )
        found.append(task.evaluate(uniform_over_bytes, "val", "cpu")["val/bits_per_byte"])
    assert found == pytest.approx([8.0, 8.0])


def test_a_run_learns_with_phrases(made: Study, tmp_path: Path) -> None:
    data = {"tokenizer": "bpe", "tokenizer_path": str(made.chosen.path)}
    config = help.corpus(help.write_text(tmp_path, CORPUS), data=data)
    result, _ = help.run(config, tmp_path / "run")
    assert math.isfinite(result.final["test/bits_per_byte"])


@pytest.mark.parametrize("change", ["prefix", "normalizer"])
def test_a_tokenizer_that_changes_the_text_is_refused(change: str, tmp_path: Path) -> None:
    description = json.loads(train_bpe(CORPUS, 300).to_str())
    if change == "prefix":
        description["pre_tokenizer"]["add_prefix_space"] = True
    else:
        description["normalizer"] = {"type": "Strip", "strip_left": True, "strip_right": True}
    (tmp_path / "t.json").write_text(json.dumps(description))
    data = {"tokenizer": "bpe", "tokenizer_path": str(tmp_path / "t.json")}
    with pytest.raises(InputError, match="it changes the text"):
        build_task(help.corpus(help.write_text(tmp_path), data=data))


def test_an_added_token_stands_for_its_own_bytes(tmp_path: Path) -> None:
    from tokenizers import AddedToken

    encoder = train_bpe(CORPUS, 300)
    encoder.add_tokens([AddedToken("é é", normalized=False), AddedToken("<|end|>")])
    encoder.save(str(tmp_path / "t.json"))
    tokenizer = load(str(tmp_path / "t.json"))
    ids = tokenizer.encode("x é é<|end|>y")
    assert tokenizer.decode(ids) == "x é é<|end|>y"
    assert tokenizer.byte_lengths[ids].sum() == len("x é é<|end|>y".encode())

"""Each task inherits the contract; then what is special about it."""

from __future__ import annotations

import json
import lzma
import math
import os
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import trainer_help as help
from tests.contracts.tasks import FixedModel, SymbolTaskContract, TaskContract
from tests.spectra import FixedReader, spectra
from trainer import RunConfig
from trainer.errors import InputError
from trainer.identity import fingerprint
from trainer.tasks import TASKS, Task, build_task, data_hash, vocab_size
from trainer.tasks.corpus import text as texts
from trainer.tasks.corpus import tokens
from trainer.tasks.modular import table

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "quadratic": lambda a, b: a * a + a * b + b * b,
}
ALPHABET = st.text(st.sampled_from("ab é€😀\n\r\u2028\x01"), min_size=40, max_size=80).filter(
    lambda text: not text.isspace()
)


class TestModularFull(SymbolTaskContract):
    @pytest.fixture
    def config(self) -> RunConfig:
        return help.modular()


class TestModularMinibatch(SymbolTaskContract):
    @pytest.fixture
    def config(self) -> RunConfig:
        return help.modular(training={"batch_size": 6}, data={"operation": "divide", "p": 11})


class TestCorpusByte(SymbolTaskContract):
    @pytest.fixture
    def config(self, tmp_path: Path) -> RunConfig:
        return help.corpus(help.write_text(tmp_path))


class TestCorpusChar(SymbolTaskContract):
    @pytest.fixture
    def config(self, tmp_path: Path) -> RunConfig:
        return help.corpus(help.write_text(tmp_path), data={"tokenizer": "char"})


class TestCorpusBPE(SymbolTaskContract):
    @pytest.fixture
    def config(self, tmp_path: Path) -> RunConfig:
        return bpe(help.write_text(tmp_path))


class TestAriel(TaskContract):
    @pytest.fixture
    def config(self) -> RunConfig:
        return spectra()

    def fixed_model(self, task: Task, seed: int = 0) -> FixedReader:
        return FixedReader(seed)


def bpe(path: str, size: int = 270, **data: Any) -> RunConfig:
    return help.corpus(path, model={"vocab_size": size}, data={"tokenizer": "bpe"} | data)


def test_every_task_is_tested() -> None:
    tested = {name.lower() for name in globals() if name.startswith("Test")}
    assert all(any(task in name for name in tested) for task in TASKS)


# Modular arithmetic


@pytest.mark.parametrize("p", [3, 7, 8, 13])
@pytest.mark.parametrize("operation", [*OPERATIONS, "divide"])
def test_the_table_is_right(operation: str, p: int) -> None:
    if operation == "divide":
        p = {8: 5}.get(p, p)
        pairs, results = table(operation, p)
        assert sorted(map(tuple, pairs)) == [(a, b) for a in range(p) for b in range(1, p)]
        for (a, b), result in zip(pairs, results, strict=True):
            assert 0 <= result < p and result * b % p == a
        return
    pairs, results = table(operation, p)
    assert list(map(tuple, pairs)) == [(a, b) for a in range(p) for b in range(p)]
    assert list(results) == [OPERATIONS[operation](int(a), int(b)) % p for a, b in pairs]


@given(
    st.sampled_from([*OPERATIONS, "divide"]),
    st.sampled_from([5, 7, 11]),
    st.floats(0.1, 0.9),
    st.integers(0, 99),
)
def test_splits_are_disjoint_and_complete(
    operation: str, p: int, train_frac: float, seed: int
) -> None:
    data = {"operation": operation, "p": p, "train_frac": train_frac}
    task: Any = build_task(help.modular(data=data, training={"seed": seed}))
    sets = {name: [tuple(x) for x in inputs.tolist()] for name, (inputs, _) in task.splits.items()}
    everything = [pair for pairs in sets.values() for pair in pairs]
    n = p * (p - 1) if operation == "divide" else p * p
    assert len(everything) == len(set(everything)) == n
    assert len(sets["train"]) == round(train_frac * n)
    assert 0 <= len(sets["val"]) - len(sets["test"]) <= 1
    assert all(sign == p for _, _, sign in everything)
    results = {(int(a), int(b)): int(r) for (a, b), r in zip(*table(operation, p), strict=True)}
    for inputs, targets in task.splits.values():
        assert [results[a, b] for a, b, _ in inputs.tolist()] == targets.tolist()


def test_a_held_out_pair_is_never_trained_on() -> None:
    task: Any = build_task(help.modular(training={"batch_size": 5}))
    held_out = {tuple(x) for name in ("val", "test") for x in task.splits[name][0].tolist()}
    seen = {tuple(x) for step in range(100) for x in task.batch(step)[0].tolist()}
    assert not seen & held_out and len(seen) == task.n_train


@pytest.mark.parametrize("train_frac", [0.5, 0.4898])  # 24 pairs
def test_an_epoch_covers_each_pair_once_in_its_own_order(train_frac: float) -> None:
    config = help.modular(data={"train_frac": train_frac}, training={"batch_size": 6})
    task: Any = build_task(config)
    assert task.n_train == 24
    epochs = [
        [tuple(x) for step in range(4 * n, 4 * n + 4) for x in task.batch(step)[0].tolist()]
        for n in range(3)
    ]
    assert all(len(set(epoch)) == 24 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_batch_larger_than_the_split_is_the_split() -> None:
    task = build_task(help.modular(training={"batch_size": 10_000}))
    assert task.batch_size == 24 and torch.equal(task.batch(0)[0], task.batch(1)[0])


def test_modular_metrics_by_hand() -> None:
    task: Any = build_task(help.modular(data={"p": 3, "train_frac": 0.34}))
    targets = task.splits["val"][1]
    assert len(targets) == 3

    def model(x: torch.Tensor) -> torch.Tensor:
        """Answer 1 with a chance of 1/2, the others and "=" with the rest alike."""
        chances = torch.tensor([1 / 6, 1 / 2, 1 / 6, 1 / 6])
        return chances.log().expand(*x.shape, 4)

    ones = int((targets == 1).sum())
    metrics = task.evaluate(model, "val", "cpu")
    expected = (ones * math.log(2) + (3 - ones) * math.log(6)) / 3
    assert metrics["val/loss"] == pytest.approx(expected, rel=1e-6)
    assert metrics["val/accuracy"] == ones / 3
    assert task.baselines() == {"baseline/uniform_loss": pytest.approx(math.log(3))}


@pytest.mark.parametrize("train_frac", [0.001, 0.999])
def test_a_share_that_leaves_nothing_is_refused(train_frac: float) -> None:
    with pytest.raises(InputError, match=r"data\.train_frac: .* expected at least 1 of each"):
        build_task(help.modular(data={"train_frac": train_frac}))


# Text


@given(st.text(min_size=1), st.floats(0.01, 0.9), st.floats(0.01, 0.09))
def test_a_text_is_cut_by_position_into_all_of_itself(text: str, train: float, val: float) -> None:
    parts = texts.split(text, train, val)
    assert list(parts) == ["train", "val", "test"] and "".join(parts.values()) == text
    assert len(parts["train"]) == int(len(text) * train)


def splits_of(config: RunConfig) -> dict[str, np.ndarray]:
    task: Any = build_task(config)
    return dict(task.splits)


def test_held_out_text_is_never_trained_on(tmp_path: Path) -> None:
    content = "a" * 800 + "b" * 100 + "c" * 100
    config = help.corpus(help.write_text(tmp_path, content))
    splits = splits_of(config)
    assert {name: set(part.tolist()) for name, part in splits.items()} == {
        "train": {ord("a")},
        "val": {ord("b")},
        "test": {ord("c")},
    }
    task = build_task(config)
    assert all(set(task.batch(step)[1].flatten().tolist()) == {ord("a")} for step in range(50))


def test_windows_lie_anywhere_and_targets_follow_inputs(tmp_path: Path) -> None:
    content = "".join(chr(0x100 + n) for n in range(100))
    config = help.corpus(
        help.write_text(tmp_path, content), data={"tokenizer": "char", "val_frac": 0.1}
    )
    task, starts = build_task(config), set()
    for step in range(200):
        inputs, targets = task.batch(step)
        assert torch.equal(inputs[:, 1:], targets[:, :-1]) and torch.equal(inputs + 1, targets)
        starts |= set(inputs[:, 0].tolist())
    assert starts == set(range(80 - 8))


def kept_text(content: str) -> str:
    """Write an example of hypothesis to a file of its own."""
    path = Path(os.environ["ARBITER_RUNS"]) / f"{fingerprint(content)}.txt"
    path.write_bytes(content.encode())
    return str(path)


def decoded(config: RunConfig) -> str:
    splits = splits_of(config)
    parts = [splits[name] for name in ("train", "val", "test")]
    assert config.data.task == "corpus"
    if config.data.tokenizer == "byte":
        return b"".join(part.tobytes() for part in parts).decode()
    characters = sorted(set(texts.read(config.data.dataset_path)))
    return "".join(characters[n] for part in parts for n in part.tolist())


@pytest.mark.parametrize("tokenizer", ["byte", "char"])
@given(content=ALPHABET)
def test_bytes_and_characters_decode_to_the_text(tokenizer: str, content: str) -> None:
    config = help.corpus(
        kept_text(content),
        data={"tokenizer": tokenizer, "train_frac": 0.4, "val_frac": 0.3},
        training={"seq_len": 2},
    )
    assert decoded(config) == content


@pytest.mark.parametrize("tokenizer", ["byte", "char", "bpe"])
@given(content=ALPHABET)
def test_symbols_stand_for_as_many_bytes_as_they_say(tokenizer: str, content: str) -> None:
    config = help.corpus(
        kept_text(content),
        model={"vocab_size": 260} if tokenizer == "bpe" else {},
        data={"tokenizer": tokenizer, "train_frac": 0.4, "val_frac": 0.3},
        training={"seq_len": 2},
    )
    made = tokens.load(config, data_hash(config))
    total = sum(int(made.byte_lengths[part].sum()) for part in made.splits.values())
    assert total == len(content.encode())


def test_the_bpe_is_trained_on_the_train_split_alone(tmp_path: Path) -> None:
    path = help.write_text(tmp_path, "ab" * 400 + "xy" * 100)
    splits = splits_of(bpe(path, 258))
    assert len(splits["train"]) <= 400  # ab is one symbol, or a part of one
    assert len(splits["val"]) == len(splits["test"]) == 100  # x and y stay apart


def test_a_bpe_of_a_file_is_used_as_it_is(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    content = help.text()
    encoder = Tokenizer(models.BPE())
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    encoder.train_from_iterator(
        content.splitlines(keepends=True),
        trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False),
    )
    file = tmp_path / "tokenizer.json"
    encoder.save(str(file))
    data = {"tokenizer": "bpe", "tokenizer_path": str(file)}
    config = help.corpus(help.write_text(tmp_path), data=data)
    assert vocab_size(config) == build_task(config).vocab_size == encoder.get_vocab_size()
    splits = splits_of(config)
    whole = "".join(encoder.decode(splits[name].tolist()) for name in ("train", "val", "test"))
    assert whole == content


def evaluate(config: RunConfig, model: Any, split: str) -> dict[str, float]:
    return build_task(config).evaluate(model, split, "cpu")


def test_metrics_of_a_text_by_hand(tmp_path: Path) -> None:
    content = "a" * 80 + "é€" * 10  # train; then 10 characters each of 2 and 3 bytes in turn
    config = help.corpus(help.write_text(tmp_path, content), data={"tokenizer": "char"})

    class Halves(torch.nn.Module):
        """Give é a chance of 1/2 and each of the two others 1/4."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.25, 0.5, 0.25]).log().expand(*x.shape, 3)

    # val is é€é€é€é€é€; its one window of 8 has the targets €é€é€é€é: 4 of 3, 4 of 2 bytes
    metrics = evaluate(config, Halves(), "val")
    nats = 4 * math.log(4) + 4 * math.log(2)
    assert metrics["val/loss"] == pytest.approx(nats / 8, rel=1e-6)
    assert metrics["val/perplexity"] == pytest.approx(math.exp(nats / 8), rel=1e-6)
    assert metrics["val/bits_per_byte"] == pytest.approx(12 / 20, rel=1e-6)
    assert metrics["val/accuracy"] == 0.5


@pytest.mark.parametrize(
    ("eval_tokens", "expected"), [(None, [0, 8, 16, 24, 32]), (16, [0, 32]), (1, [0])]
)
def test_an_evaluation_reads_windows_spread_evenly(
    eval_tokens: int | None, expected: list[int], tmp_path: Path
) -> None:
    content = "x" * 100 + "".join(chr(0x100 + n) for n in range(43)) + "y" * 10
    config = help.corpus(
        help.write_text(tmp_path, content),
        data={"tokenizer": "char", "train_frac": 100.1 / 153, "val_frac": 43 / 153},
        training={"eval_tokens": eval_tokens},
    )
    read: list[int] = []

    def model(x: torch.Tensor) -> torch.Tensor:
        read.extend((x[:, 0] - 2).tolist())
        return torch.zeros(*x.shape, 45)

    metrics = evaluate(config, model, "val")
    assert read == expected and metrics["val/loss"] == pytest.approx(math.log(45))


def test_an_evaluation_in_many_portions_is_the_mean_over_all(tmp_path: Path) -> None:
    content = "".join(chr(97 + n * n % 23) for n in range(42_000))
    config = help.corpus(
        help.write_text(tmp_path, content),
        data={"train_frac": 0.1, "val_frac": 0.8},
        training={"seq_len": 8, "eval_tokens": None},
    )
    model, sizes = FixedModel(256), []

    def watched(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return model(x)

    metrics = evaluate(config, watched, "val")
    assert len(sizes) > 2 and len(set(sizes)) == 2
    val = torch.from_numpy(splits_of(config)["val"][: 8 * sum(sizes) + 1].astype(np.int64))
    chances = model.table.log_softmax(-1)[val[:-1], val[1:]]
    assert metrics["val/loss"] == pytest.approx(-float(chances.double().mean()), rel=1e-5)


def test_a_text_without_a_test_split_has_no_test_metrics(tmp_path: Path) -> None:
    config = help.corpus(help.write_text(tmp_path), data={"train_frac": 0.9, "val_frac": 0.1})
    assert evaluate(config, FixedModel(256), "test") == {}


def test_the_unigram_baseline_by_hand(tmp_path: Path) -> None:
    content = "a" * 60 + "b" * 20 + "abbcabbcabbc" + "c" * 8
    path = help.write_text(tmp_path, content)
    config = help.corpus(path, data={"tokenizer": "char", "train_frac": 0.801, "val_frac": 0.12})
    frequency = {"a": 61 / 83, "b": 21 / 83, "c": 1 / 83}  # counts plus one
    text = Counter("abbcabbcabbc")
    expected = -sum(n * math.log(frequency[c]) for c, n in text.items()) / 12
    assert build_task(config).baselines() == {
        "baseline/unigram_loss": pytest.approx(expected, rel=1e-9)
    }


@pytest.mark.parametrize("tokenizer", ["byte", "char", "bpe"])
def test_a_vocabulary_may_have_rows_to_spare(tokenizer: str, tmp_path: Path) -> None:
    config = help.corpus(
        help.write_text(tmp_path), model={"vocab_size": 4096}, data={"tokenizer": tokenizer}
    )
    task = build_task(config)
    assert task.vocab_size == vocab_size(config) == 4096
    assert math.isfinite(evaluate(config, FixedModel(4096), "val")["val/bits_per_byte"])


def test_a_compressed_text_is_the_text(tmp_path: Path) -> None:
    plain = help.corpus(help.write_text(tmp_path))
    packed = tmp_path / "text.txt.xz"
    packed.write_bytes(lzma.compress(help.text().encode()))
    config = help.corpus(str(packed))
    assert data_hash(config) == data_hash(plain)
    assert splits_of(config)["val"].tolist() == splits_of(plain)["val"].tolist()


@pytest.mark.parametrize("name", sorted(texts.SHIPPED))
def test_the_texts_that_ship_are_there(name: str) -> None:
    assert len(texts.read(name)) > 1_000_000


def missing(folder: Path) -> RunConfig:
    return help.corpus(str(folder / "nothing.txt"))


def a_folder(folder: Path) -> RunConfig:
    return help.corpus(str(folder))


def no_bytes(folder: Path) -> RunConfig:
    return help.corpus(help.write_text(folder, ""))


def latin_1(folder: Path) -> RunConfig:
    (folder / "text.txt").write_bytes("naïve".encode("latin-1") * 100)
    return help.corpus(str(folder / "text.txt"))


def not_xz(folder: Path) -> RunConfig:
    (folder / "text.xz").write_bytes(b"plain text")
    return help.corpus(str(folder / "text.xz"))


def half_xz(folder: Path) -> RunConfig:
    (folder / "text.xz").write_bytes(lzma.compress(help.text().encode())[:-20])
    return help.corpus(str(folder / "text.xz"))


def short_train(folder: Path) -> RunConfig:
    return help.corpus(help.write_text(folder, "ten bytes!"))


def short_val(folder: Path) -> RunConfig:
    return help.corpus(help.write_text(folder, "x" * 80))


def few_rows(folder: Path) -> RunConfig:
    return help.corpus(help.write_text(folder), model={"vocab_size": 255})


def few_rows_char(folder: Path) -> RunConfig:
    return help.corpus(help.write_text(folder), model={"vocab_size": 5}, data={"tokenizer": "char"})


def no_merges(folder: Path) -> RunConfig:
    return bpe(help.write_text(folder), 256)


def with_tokenizer(folder: Path, content: str | None) -> RunConfig:
    file = folder / "tokenizer.json"
    if content is not None:
        file.write_text(content)
    data = {"tokenizer": "bpe", "tokenizer_path": str(file)}
    return help.corpus(help.write_text(folder), data=data)


def no_tokenizer(folder: Path) -> RunConfig:
    return with_tokenizer(folder, None)


def not_a_tokenizer(folder: Path) -> RunConfig:
    return with_tokenizer(folder, '{"model": 3}')


def not_json(folder: Path) -> RunConfig:
    return with_tokenizer(folder, "tokenizer")


def not_byte_level(folder: Path) -> RunConfig:
    from tokenizers import Tokenizer, models

    encoder = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    return with_tokenizer(folder, encoder.to_str())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "data.dataset_path: no file .*nothing.txt'"),
        (a_folder, "data.dataset_path: got the folder"),
        (no_bytes, "data.dataset_path: .*text.txt is empty"),
        (latin_1, "is not UTF-8 text: byte 0xef at offset 2"),
        (not_xz, "data.dataset_path: cannot read"),
        (half_xz, "data.dataset_path: cannot read"),
        (short_train, "the train split .* has 8 tokens, expected more than training.seq_len 8"),
        (short_val, "the val split .* has 8 tokens, expected more than training.seq_len 8"),
        (few_rows, "model.vocab_size: 255 is smaller than the byte tokenizer's 256 symbols"),
        (few_rows_char, "model.vocab_size: 5 is smaller than the char tokenizer's"),
        (no_merges, "model.vocab_size: 256 leaves the bpe tokenizer no merges"),
        (no_tokenizer, "data.tokenizer_path: no file"),
        (not_a_tokenizer, "data.tokenizer_path: .* is not a tokenizer.json"),
        (not_json, "data.tokenizer_path: .* is not a tokenizer.json"),
        (not_byte_level, "data.tokenizer_path: .* is not a byte-level BPE"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    make: Callable[[Path], RunConfig], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        build_task(make(tmp_path))


def test_a_tokenizer_file_that_changed_is_read_again(tmp_path: Path) -> None:
    config = with_tokenizer(tmp_path, "{}")
    file = tmp_path / "tokenizer.json"
    os.utime(file, ns=(1, 1))
    with pytest.raises(InputError):
        vocab_size(config)
    from tokenizers import Tokenizer, models, pre_tokenizers

    bytes_ = {symbol: n for n, symbol in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    for n, size in enumerate((256, 257)):
        encoder = Tokenizer(models.BPE(bytes_ | ({"ab": 256} if size == 257 else {}), []))
        encoder.pre_tokenizer = pre_tokenizers.ByteLevel()
        encoder.save(str(file))
        os.utime(file, ns=(n + 2, n + 2))
        assert vocab_size(config) == size


# The token cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "tokens"


def read_in_a_new_process(config: RunConfig) -> dict[str, list[int]]:
    tokens._tokens.cache_clear()
    return {name: part.tolist() for name, part in splits_of(config).items()}


def test_tokens_are_made_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = bpe(help.write_text(tmp_path))
    first = read_in_a_new_process(config)
    (folder,) = cache.iterdir()
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["train.npy", "val.npy", "test.npy", "byte_lengths.npy", "index.json"]
    )
    monkeypatch.setattr(tokens.tokenizer, "build", None)
    assert read_in_a_new_process(config) == first


def test_tokens_of_other_settings_are_others(cache: Path, tmp_path: Path) -> None:
    path = help.write_text(tmp_path)
    configs = [
        help.corpus(path),
        help.corpus(path, data={"train_frac": 0.7}),
        help.corpus(path, data={"val_frac": 0.05}),
        help.corpus(path, data={"tokenizer": "char"}),
        bpe(path, 260),
        bpe(path, 270),
    ]
    lengths = [[len(part) for part in read_in_a_new_process(c).values()] for c in configs]
    assert len(list(cache.iterdir())) == 6
    assert all(lengths.count(x) == 1 for x in lengths)
    read_in_a_new_process(help.corpus(path, training={"seed": 5, "seq_len": 9}))
    assert len(list(cache.iterdir())) == 6


def remove_index(folder: Path) -> None:
    (folder / "index.json").unlink()


def remove_train(folder: Path) -> None:
    (folder / "train.npy").unlink()


def cut_train(folder: Path) -> None:
    (folder / "train.npy").write_bytes((folder / "train.npy").read_bytes()[:-9])


def empty_all(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"")


def empty_val(folder: Path) -> None:
    (folder / "val.npy").write_bytes(b"")


def empty_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    "damage", [remove_index, remove_train, cut_train, empty_all, empty_val, empty_folder]
)
def test_half_a_cache_is_made_again(
    damage: Callable[[Path], None], cache: Path, tmp_path: Path
) -> None:
    config = help.corpus(help.write_text(tmp_path))
    first = read_in_a_new_process(config)
    (folder,) = cache.iterdir()
    damage(folder)
    assert read_in_a_new_process(config) == first
    assert [path.name for path in cache.iterdir()] == [folder.name]
    assert json.loads((folder / "index.json").read_text()) == {"symbols": 256}


def test_a_tokenizer_that_fails_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_in_a_new_process(help.corpus(help.write_text(tmp_path), model={"vocab_size": 9}))
    assert not cache.exists() or not list(cache.iterdir())


def test_a_pickle_in_the_cache_is_not_run(cache: Path, tmp_path: Path) -> None:
    config, fired = help.corpus(help.write_text(tmp_path)), tmp_path / "fired"
    first = read_in_a_new_process(config)

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (fired,))

    (folder,) = cache.iterdir()
    (folder / "train.npy").write_bytes(pickle.dumps(Bomb()))
    np.save(folder / "val.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    assert read_in_a_new_process(config) == first and not fired.exists()


@pytest.mark.parametrize(
    ("micro_batch", "rows"), [(None, 64), (1, 4), (3, 4), (16, 16), (64, 64), (100, 64)]
)
def test_an_evaluation_holds_no_more_at_once_than_a_step(
    micro_batch: int | None, rows: int, tmp_path: Path
) -> None:
    path = help.write_text(tmp_path, help.text(9_000))
    config = help.corpus(
        path,
        training={"seq_len": 256, "eval_tokens": None},
        data={"train_frac": 0.1, "val_frac": 0.8},
        tier={"micro_batch": micro_batch},
    )
    held: list[int] = []

    class Looking(FixedModel):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            held.append(len(tokens))
            return super().forward(tokens)

    task = build_task(config)
    with torch.no_grad():
        task.evaluate(Looking(task.vocab_size), "val", "cpu")
    assert max(held) == rows

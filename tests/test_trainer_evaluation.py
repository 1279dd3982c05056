"""What a quick evaluation measures, on models whose answers are known."""

from __future__ import annotations

import itertools
import json
import math
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import trainer_help as help
from trainer import RunConfig
from trainer.checkpoint import Checkpoint, CheckpointStore
from trainer.checkpoint_files import read_manifest
from trainer.config import DecoderConfig, TierConfig
from trainer.errors import InputError
from trainer.evaluation import Evaluation, evaluate
from trainer.evaluation.attention import head_statistics, weights
from trainer.evaluation.continuation import continue_text
from trainer.evaluation.probe_file import SHIPPED, read
from trainer.evaluation.probes import standing
from trainer.models.decoder import Attention, Decoder
from trainer.models.layers import Rotary
from trainer.tasks import vocab_size
from trainer.tasks.corpus import text as texts
from trainer.tasks.corpus import tokenizer as tokenizers

SMALL = {"tokens": 512, "prefixes": 8, "prefix_tokens": 12, "continuation_tokens": 8, "windows": 2}
QUESTIONS = [
    {
        "prompt": "the quick",
        "candidates": [" brown", " qxzjw", " vkqpx"],
        "answer": 0,
        "group": "a",
    },
    {"prompt": "over the", "candidates": [" quick", " seven"], "answer": 1, "group": "b"},
]


def newest_path(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("step-*"))


def values(evaluation: Evaluation, part: str) -> dict[str, Any]:
    found: dict[str, Any] = evaluation.to_dict()["parts"][part]["values"]
    return found


def reason(evaluation: Evaluation, part: str) -> str:
    return str(evaluation.to_dict()["parts"][part]["reason"])


def with_evaluation(config: RunConfig, **changes: Any) -> RunConfig:
    sections = config.model_dump(mode="json")
    sections["evaluation"] |= changes
    return RunConfig.model_validate(sections)


@pytest.fixture(scope="module")
def memorised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunConfig]:
    """A model that knows the little it was trained on by heart: folder, config."""
    folder = tmp_path_factory.mktemp("memorised")
    (folder / "probes.jsonl").write_text("".join(json.dumps(q) + "\n" for q in QUESTIONS))
    config = help.corpus(
        help.write_text(folder, help.text(150)),
        model={"dim": 64, "n_layers": 2, "n_heads": 4, "ffn_dim": 128},
        data={"train_frac": 0.4, "val_frac": 0.4},
        training={
            "steps": 250,
            "batch_size": 16,
            "seq_len": 24,
            "learning_rate": 1e-2,
            "weight_decay": 0.0,
            "eval_interval": 250,
            "eval_tokens": 512,
        },
        checkpoint={"interval": 250},
        evaluation=SMALL | {"probes": str(folder / "probes.jsonl")},
    )
    result, _ = help.run(config, folder)
    assert result.step == 250, result
    return folder, config


@pytest.fixture(scope="module")
def found(memorised: tuple[Path, RunConfig]) -> Evaluation:
    folder, config = memorised
    return evaluate(newest_path(folder), config)


@pytest.fixture(scope="module")
def uniform(memorised: tuple[Path, RunConfig]) -> Path:
    """The same model with a read-out of zeros: each symbol is as likely as any other."""
    folder, config = memorised
    checkpoint = help.newest(folder)
    model = checkpoint.model | {
        "readout.weight": torch.zeros_like(checkpoint.model["readout.weight"])
    }
    store = CheckpointStore(folder / "uniform" / "checkpoints", 1)
    own = config.model_dump(mode="json")
    return store.save(Checkpoint("a", 1, model, {}, config=own, data=checkpoint.data))


def test_a_checkpoint_says_how_it_was_trained(memorised: tuple[Path, RunConfig]) -> None:
    folder, config = memorised
    manifest = read_manifest(newest_path(folder))
    assert RunConfig.model_validate(manifest["config"]) == config
    content = texts.content_hash(config.data.dataset_path)  # type: ignore[union-attr]
    assert manifest["data"] == {"data.dataset_path": content}


def test_the_held_out_figures_are_those_of_the_training(
    memorised: tuple[Path, RunConfig], found: Evaluation
) -> None:
    folder, _ = memorised
    last = help.newest(folder).extra["last_evaluation"]
    likelihood = values(found, "likelihood")
    assert {f"val/{name}": value for name, value in likelihood["val"].items()} == {
        name: value for name, value in last.items() if name.startswith("val/")
    }
    assert {*likelihood} == {"train", "val", "test", "baseline"}
    assert likelihood["train"]["loss"] < 0.5 < likelihood["val"]["loss"]


def test_a_text_known_by_heart_shows(found: Evaluation) -> None:
    measured = values(found, "memorisation")
    seen, unseen = measured["seen"], measured["unseen"]
    assert seen["accuracy"] > 0.8 > unseen["accuracy"] + 0.3
    assert seen["exact_match_longest_tokens"] == 8 and seen["extractable_frac"] > 0.5
    assert seen["exact_match_mean_tokens"] > unseen["exact_match_mean_tokens"] + 2
    assert measured["gap"] == seen["accuracy"] - unseen["accuracy"]


def test_a_model_that_knows_nothing_is_at_chance(
    memorised: tuple[Path, RunConfig], uniform: Path
) -> None:
    evaluation = evaluate(uniform, memorised[1])
    likelihood = values(evaluation, "likelihood")
    for split in ("train", "val", "test"):
        assert likelihood[split]["perplexity"] == pytest.approx(256, rel=1e-5)
        assert likelihood[split]["bits_per_byte"] == pytest.approx(8, rel=1e-6)  # byte tokens
    probes = values(evaluation, "probes")
    for group, chance in (("all", (1 / 3 + 1 / 2) / 2), ("group a", 1 / 3), ("group b", 1 / 2)):
        assert probes[group]["chance"] == pytest.approx(chance)
        assert probes[group]["accuracy"] == pytest.approx(chance)
        assert probes[group]["accuracy_per_byte"] == pytest.approx(chance)
    assert probes["group b"]["mean_reciprocal_rank"] == pytest.approx((1 + 1 / 2) / 2)


def test_probes_are_scored_by_the_likelihood_of_their_tokens(
    memorised: tuple[Path, RunConfig], found: Evaluation
) -> None:
    folder, config = memorised
    model = Decoder(config.model, config.tier, 256, 24, torch.Generator())  # type: ignore[arg-type]
    model.load_state_dict(help.newest(folder).model)

    def score(prompt: str, candidate: str) -> float:
        tokens = torch.tensor(list((prompt + candidate).encode()))
        log_p = model(tokens[None, :-1]).log_softmax(-1)[0]
        n = len(candidate.encode())
        return sum(float(log_p[-n + i, tokens[-n + i]]) for i in range(n))

    expected = []
    with torch.no_grad():
        for question in QUESTIONS:
            scores = [score(str(question["prompt"]), c) for c in question["candidates"]]  # type: ignore[attr-defined]
            expected.append(standing(scores, int(question["answer"])))  # type: ignore[call-overload]
    probes = values(found, "probes")
    assert probes["all"]["accuracy"] == sum(right for right, _ in expected) / 2
    assert probes["all"]["mean_reciprocal_rank"] == pytest.approx(sum(r for _, r in expected) / 2)
    assert probes["group a"]["accuracy"] == 1  # its text says so


@pytest.mark.parametrize(
    ("scores", "answer", "expected"),
    [
        ([-1.0, -2.0, -3.0], 0, (1, 1)),
        ([-1.0, -2.0, -3.0], 2, (0, 1 / 3)),
        ([-2.0, -2.0 - 1e-9, -3.0], 0, (1 / 2, (1 + 1 / 2) / 2)),
        ([-1.0, -2.0, -2.0], 1, (0, (1 / 2 + 1 / 3) / 2)),
    ],
)
def test_equal_scores_share_their_ranks(
    scores: list[float], answer: int, expected: tuple[float, float]
) -> None:
    assert standing(scores, answer) == pytest.approx(expected)


def test_the_same_checkpoint_gives_the_same_numbers(
    memorised: tuple[Path, RunConfig], found: Evaluation
) -> None:
    again = evaluate(newest_path(memorised[0]), memorised[1]).to_dict()
    first = found.to_dict()
    assert again.pop("timing").keys() == first.pop("timing").keys()
    assert json.dumps(again, allow_nan=False) == json.dumps(first, allow_nan=False)


def test_what_does_not_fit_in_the_time_is_left_out_by_name_and_fails_its_gates(
    memorised: tuple[Path, RunConfig],
) -> None:
    folder, config = memorised
    hurried = with_evaluation(config, time_budget_s=1e-9, max_perplexity=1e6)
    evaluation = evaluate(newest_path(folder), hurried)
    assert {part.status.value for part in evaluation.parts} == {"left out"}
    assert "time budget of 1e-09 s ran out" in reason(evaluation, "attention")
    (gate,) = evaluation.gates
    assert (gate.name, gate.value, gate.passed) == ("max_perplexity", None, False)
    assert not evaluation.passed


def test_a_part_is_done_whole_or_not_at_all(
    memorised: tuple[Path, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second passes at each look at the clock: it runs out while prefixes are continued."""
    seconds = itertools.count()
    ticking = types.SimpleNamespace(perf_counter=lambda: float(next(seconds)))
    monkeypatch.setattr("trainer.evaluation.clock.time", ticking)
    folder, config = memorised
    evaluation = evaluate(newest_path(folder), with_evaluation(config, time_budget_s=30.0))
    statuses = [part.status.value for part in evaluation.parts]
    assert statuses == ["done", *["left out"] * 4]
    assert "values" not in evaluation.to_dict()["parts"]["memorisation"]


def test_a_part_without_memory_is_left_out_and_the_others_are_done(
    memorised: tuple[Path, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("trainer.evaluation.attention.head_statistics", exhausted)
    folder, config = memorised
    evaluation = evaluate(newest_path(folder), config)
    assert "out of memory on the cpu device" in reason(evaluation, "attention")
    assert [part.status.value for part in evaluation.parts] == [*["done"] * 4, "left out"]


def test_gates_hold_the_values_to_their_limits(
    memorised: tuple[Path, RunConfig], found: Evaluation
) -> None:
    folder, config = memorised
    likelihood = values(found, "likelihood")["val"]
    gap = values(found, "memorisation")["gap"]
    gates = {
        "max_bits_per_byte": (likelihood["bits_per_byte"], True),
        "max_perplexity": (likelihood["perplexity"] - 0.01, False),
        "min_accuracy": (likelihood["accuracy"], True),
        "min_probe_accuracy": (1.0, values(found, "probes")["all"]["accuracy"] == 1.0),
        "max_memorisation_gap": (gap - 0.01, False),
    }
    limits = {name: limit for name, (limit, _) in gates.items()}
    judged = evaluate(newest_path(folder), with_evaluation(config, **limits))
    assert {gate.name: gate.passed for gate in judged.gates} == {
        name: passes for name, (_, passes) in gates.items()
    }
    assert not judged.passed and found.passed and found.gates == ()


def test_parts_that_have_nothing_to_measure_say_so(tmp_path: Path) -> None:
    config = help.modular(evaluation={"min_accuracy": 0.0})
    help.run(config, tmp_path)
    evaluation = evaluate(newest_path(tmp_path), config)
    assert {*values(evaluation, "likelihood")} == {"train", "val", "test", "baseline"}
    assert {*values(evaluation, "likelihood")["train"]} == {"loss", "accuracy"}
    assert "no text to continue" in reason(evaluation, "memorisation")
    assert "no text to ask about" in reason(evaluation, "probes")
    assert "quadratic_mlp has neither blocks" in reason(evaluation, "activations")
    assert evaluation.passed


def test_a_decoder_on_pairs_has_blocks_to_look_at(tmp_path: Path) -> None:
    config = help.modular(
        model={"kind": "decoder", "dim": 8, "n_layers": 2, "n_heads": 2, "norm_type": "none"}
    )
    help.run(config, tmp_path)
    evaluation = evaluate(newest_path(tmp_path), config)
    assert len(values(evaluation, "activations")["layers"]) == 2
    assert values(evaluation, "attention")["positions"] == 3


def test_a_text_too_short_to_continue_and_one_without_probes(
    memorised: tuple[Path, RunConfig],
) -> None:
    folder, config = memorised
    asked = with_evaluation(config, prefix_tokens=5000, probes="auto")
    evaluation = evaluate(newest_path(folder), asked)
    assert "a prefix and its continuation 5008" in reason(evaluation, "memorisation")
    assert "no probes about this text ship" in reason(evaluation, "probes")
    nothing = evaluate(newest_path(folder), with_evaluation(config, probes=None))
    assert "evaluation.probes is none" in reason(nothing, "probes")


# What passes through the layers.


def attention_layer(heads: int, rotary: Rotary | None) -> Attention:
    config = DecoderConfig(dim=4 * heads, n_heads=heads)
    draw = torch.Generator().manual_seed(3)
    return Attention(config, "math", (0.9, 0.9, 0.9), rotary, draw)


@pytest.mark.parametrize("rotary", [None, Rotary(4, 9, 100.0)], ids=["learned", "rope"])
@torch.no_grad()
def test_the_weights_are_those_that_the_layer_uses(rotary: Rotary | None) -> None:
    layer = attention_layer(2, rotary)
    x = torch.randn(9, 8, generator=torch.Generator().manual_seed(5))
    p = torch.cat([weights(layer, x, first, min(first + 4, 9)) for first in (0, 4, 8)], dim=1)
    assert p.shape == (2, 9, 9) and torch.allclose(p.sum(-1), torch.ones(2, 9))
    v = layer.value(x).unflatten(-1, (2, 4)).transpose(0, 1)
    out = layer.out((p @ v).transpose(0, 1).flatten(-2))
    assert torch.allclose(out, layer(x[None])[0], atol=1e-5)


@torch.no_grad()
def test_attention_statistics_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.evaluation.attention.QUERIES", 2)  # several chunks
    layer = attention_layer(2, None)
    x = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(5))
    p = torch.stack([weights(layer, row, 0, 6) for row in x]).double().numpy()
    rows = p[:, :, 1:]  # the first position sees only itself
    logs = np.log(rows, out=np.zeros_like(rows), where=rows > 0)
    expected = np.stack(
        [
            -(rows * logs).sum(-1).mean((0, 2)),
            rows[..., 0].mean((0, 2)),
            np.stack([p[:, :, i, i] for i in range(1, 6)]).mean((0, 1)),
            np.stack([p[:, :, i, j] * (i - j) for i in range(1, 6) for j in range(i)])
            .sum(0)
            .mean(0)
            / 5,
        ],
        axis=-1,
    )
    assert np.allclose(head_statistics(layer, x).numpy(), expected)
    layer.query.weight.zero_()  # then it looks everywhere alike
    alike = head_statistics(layer, x)[0].tolist()
    one_over = math.fsum(1 / n for n in range(2, 7)) / 5
    entropy = math.fsum(math.log(n) for n in range(2, 7)) / 5
    distance = math.fsum((n - 1) / 2 for n in range(2, 7)) / 5
    assert alike == pytest.approx([entropy, one_over, one_over, distance], rel=1e-6)


def test_the_statistics_of_the_layers(
    found: Evaluation,
) -> None:
    attention = values(found, "attention")
    assert (attention["sequences"], attention["positions"]) == (2, 24)
    for layer in attention["layers"]:
        assert 0 < layer["entropy_nats"] <= attention["uniform_entropy_nats"] + 0.5
        assert len(layer["heads"]["entropy_nats"]) == 4
        mean = math.fsum(layer["heads"]["entropy_nats"]) / 4
        assert layer["entropy_nats"] == pytest.approx(mean)
    layers = values(found, "activations")["layers"]
    assert len(layers) == 2 and values(found, "activations")["positions"] == 48
    assert all(1 <= layer["effective_rank"] <= 64 for layer in layers)


def test_units_that_never_fire_and_blocks_that_change_nothing(tmp_path: Path) -> None:
    """The first block adds nothing; half of its units are off. One embedding for all symbols."""
    path = help.write_text(tmp_path)
    config = help.corpus(path, model={"ffn": "relu", "ffn_dim": 8, "n_layers": 2}, evaluation=SMALL)
    help.run(config, tmp_path)
    checkpoint = help.newest(tmp_path)
    model = checkpoint.model
    model["embedding.weight"][:] = torch.arange(1.0, 9.0)
    for name in ("attention.out", "ffn.down"):
        model[f"blocks.0.{name}.weight"].zero_()
    model["blocks.0.ffn.up.weight"][:] = 1.0  # all inputs of the units are positive …
    model["blocks.0.ffn.up.weight"][:4] = -1.0  # … or negative
    saved = CheckpointStore(tmp_path / "made", 1).save(Checkpoint("a", 1, model, {}))
    first = values(evaluate(saved, config), "activations")["layers"][0]
    rms = math.sqrt(sum(x * x for x in range(1, 9)) / 8)
    assert first["residual_rms"] == pytest.approx(rms)
    assert first["update_ratio"] == 0
    assert first["anisotropy"] == pytest.approx(1)
    assert (first["ffn_active_frac"], first["ffn_dead_frac"], first["ffn_saturated_frac"]) == (
        0.5,
        0.5,
        0.5,
    )


# Continuations.


def test_a_greedy_continuation_is_the_text_that_was_learned(
    memorised: tuple[Path, RunConfig],
) -> None:
    folder, config = memorised
    whole = texts.read(config.data.dataset_path)  # type: ignore[union-attr]
    ((said, more),) = continue_text(newest_path(folder), config, whole[40:60], 12, temperature=0)
    assert said == whole[40:60]
    assert more == whole[60:].encode()[:12].decode(errors="replace")


def test_samples_follow_the_seed_alone(memorised: tuple[Path, RunConfig]) -> None:
    folder, config = memorised

    def sampled(**settings: Any) -> list[tuple[str, str]]:
        given = {"temperature": 2.0, "seed": 1} | settings
        return continue_text(newest_path(folder), config, "the", 32, **given)  # longer than seq_len

    three = sampled(count=3)
    assert sampled(count=1) == three[:1] and sampled(count=3) == three
    assert len({more for _, more in [*three, *sampled(seed=2)]}) == 4
    assert sampled(top_k=1) == sampled(temperature=0.0)
    assert all(said == "the" for said, _ in three)


def test_without_a_prompt_it_goes_on_with_a_line_of_the_held_out_text(
    memorised: tuple[Path, RunConfig],
) -> None:
    folder, config = memorised
    whole = texts.read(config.data.dataset_path)  # type: ignore[union-attr]
    held_out = texts.split(whole, 0.4, 0.4)["val"].partition("\n")[2]
    ((said, _),) = continue_text(newest_path(folder), config, None, 1)
    assert said == held_out.encode()[:12].decode(errors="ignore")


@pytest.mark.parametrize(
    "data", [{"tokenizer": "byte"}, {"tokenizer": "char"}, {"tokenizer": "bpe"}], ids=str
)
def test_decoding_gives_the_text_back(tmp_path: Path, data: dict[str, Any]) -> None:
    size = {"vocab_size": 300} if data["tokenizer"] == "bpe" else {}
    config = help.corpus(help.write_text(tmp_path), data=data, model=size)
    made = tokenizers.build(config)
    sentence = "coöperation costs 5 €\nnaïve  fox"
    assert made.decode(made.encode(sentence)) == sentence
    assert vocab_size(config) == made.vocab_size


# What cannot be evaluated.


@pytest.fixture
def older(memorised: tuple[Path, RunConfig], tmp_path: Path) -> Iterator[tuple[Path, RunConfig]]:
    """A checkpoint of a version that did not write its config."""
    folder, config = memorised
    weights = help.newest(folder).model
    yield CheckpointStore(tmp_path / "old", 1).save(Checkpoint("a", 1, weights, {})), config


def test_a_checkpoint_of_another_architecture_is_refused_by_its_weights(
    older: tuple[Path, RunConfig],
) -> None:
    path, config = older
    wider = config.model_copy(update={"model": config.model.model_copy(update={"dim": 32})})
    with pytest.raises(InputError, match=r"another architecture: embedding.weight is \(256, 64\)"):
        evaluate(path, wider)
    deeper = config.model_copy(update={"model": config.model.model_copy(update={"n_layers": 3})})
    with pytest.raises(InputError, match=r"blocks.2\.\S+ is not there.*; \d+ more differ"):
        evaluate(path, deeper)
    shallow = config.model_copy(update={"model": config.model.model_copy(update={"n_layers": 1})})
    with pytest.raises(InputError, match=r"blocks.1\.\S+ is not in the model"):
        evaluate(path, shallow)


def test_a_config_that_is_not_the_checkpoints_own_is_refused(
    memorised: tuple[Path, RunConfig],
) -> None:
    folder, config = memorised
    other = config.model_copy(update={"model": config.model.model_copy(update={"n_heads": 2})})
    with pytest.raises(InputError, match=r"other settings: model\.n_heads 4 there, 2 here"):
        evaluate(newest_path(folder), other)
    tier = config.model_copy(update={"tier": TierConfig(name="mine", micro_batch=1)})
    assert evaluate(newest_path(folder), tier).passed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object"),
        ('{"prompt": "a", "candidates": [" b"], "answer": 0}', "at least two texts"),
        ('{"prompt": "a", "candidates": [" b", " b"], "answer": 0}', "two of them are the same"),
        ('{"prompt": "a", "candidates": [" b", " c"], "answer": 2}', "from 0 to 1"),
        ('{"prompt": "a", "candidates": [" b", " c"], "answer": true}', "got True"),
        ('{"prompt": "", "candidates": [" b", " c"], "answer": 0}', "prompt: got ''"),
        ('{"prompt": "a", "candidates": [" b", ""], "answer": 0}', "at least two texts"),
        ('{"prompt": "a", "candidates": [" b", " c"], "anser": 0}', "unknown key 'anser'"),
        ('{"prompt": "a", "candidates": [" b", " c"], "answer": 0, "group": 1}', "group: got 1"),
    ],
)
def test_a_line_that_is_no_probe_is_named(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(QUESTIONS[0]) + "\n\n" + line + "\n")
    with pytest.raises(InputError, match=rf"p\.jsonl:3: .*{expected}"):
        read(str(path))


def test_a_candidate_longer_than_a_sequence_is_refused(
    memorised: tuple[Path, RunConfig], tmp_path: Path
) -> None:
    folder, config = memorised
    path = tmp_path / "long.jsonl"
    path.write_text(
        json.dumps({"prompt": "a", "candidates": [" b", " " + "c" * 24], "answer": 0}) + "\n"
    )
    with pytest.raises(InputError, match=r"long\.jsonl:1: candidate .* has 25 tokens"):
        evaluate(newest_path(folder), with_evaluation(config, probes=str(path)))


def test_the_probes_that_ship_are_what_the_text_says() -> None:
    """Each right answer stands in the text behind its prompt, and no other candidate does."""
    text = texts.read("kjv")
    probes = read("kjv").probes
    assert len(probes) == 45 and SHIPPED["kjv"].is_file()
    for probe in probes:
        stands = [probe.prompt + candidate in text for candidate in probe.candidates]
        assert stands == [i == probe.answer for i in range(len(stands))], probe
    assert {probe.answer for probe in probes} == {0, 1, 2, 3}

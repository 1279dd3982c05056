"""`arbiter eval` and `arbiter sample`: which checkpoint is meant, what is said, what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Exit
from orchestrator.plan import make_plan
from orchestrator.request import Request
from tests import trainer_help as help
from tests.program import Program
from tests.sweeps import CPU_ONLY, run_plan, trials_of
from trainer.tasks.corpus import tokenizer as tokenizers

TEMPLATE = """
[model]
dim = 16
n_layers = 2
n_heads = 2

[data]
dataset_path = "{text}"
train_frac = 0.6
val_frac = 0.2
{data}

[training]
steps = 20
batch_size = 4
seq_len = 16
learning_rate = 1e-2
eval_interval = 20
eval_tokens = 256

[checkpoint]
interval = 10

[logging]
enable_tensorboard = false

[evaluation]
tokens = 256
prefixes = 4
prefix_tokens = 8
continuation_tokens = 4
windows = 2
max_perplexity = 256.0

[space]
"training.weight_decay" = [0.1, 0.2]
"""
QUICK = ("-q", "--format", "json")
Edit = Callable[[Path], None]


def train(folder: Path, data: str = "") -> Path:
    """Train two tiny trials on a text; return the run directory."""
    text = help.write_text(folder)
    (folder / "t.toml").write_text(TEMPLATE.format(text=text, data=data))
    run_plan(make_plan(Request(strategy=str(folder / "t.toml")), CPU_ONLY), folder / "tiny")
    return folder / "tiny"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("bytes"))


@pytest.fixture(scope="module")
def with_char(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("char"), 'tokenizer = "char"')


@pytest.fixture(scope="module")
def with_bpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bpe")
    for name, size in (("own", 280), ("other", 300)):
        config = help.corpus(
            help.write_text(folder), data={"tokenizer": "bpe"}, model={"vocab_size": size}
        )
        tokenizers.build(config).encoder.save(str(folder / f"{name}.json"))
    return train(folder, f'tokenizer = "bpe"\ntokenizer_path = "{folder / "own.json"}"')


def copied(made: Path, program: Program) -> Path:
    """Put a run below the program's runs folder; return the folder of its first trial."""
    run = program.folder / "runs" / "tiny"
    shutil.copytree(made, run)
    return run / "trials" / trials_of(run)[0].id


@pytest.fixture
def trial(made: Path, program: Program) -> Path:
    return copied(made, program)


def newest(trial: Path) -> Path:
    return max((trial / "checkpoints").glob("step-*"))


def rewrite(checkpoint: Path, **changes: Any) -> None:
    """Change the manifest of a checkpoint, with its hash."""
    path = checkpoint / "manifest.json"
    manifest = json.loads(json.loads(path.read_text())["manifest"])
    body = json.dumps({k: v for k, v in (manifest | changes).items() if v is not None})
    whole = {"manifest": body, "sha256": hashlib.sha256(body.encode()).hexdigest()}
    path.write_text(json.dumps(whole))


def timeless(document: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document)
    return {key: value for key, value in found.items() if key != "timing"}


def test_a_checkpoint_is_found_by_each_of_its_names(program: Program, trial: Path) -> None:
    first = program("eval", str(newest(trial)), *QUICK)
    assert (first.code, first.err) == (0, "")
    kept = trial / "evaluations" / f"{newest(trial).name}.json"
    assert kept.read_text() == first.out
    names = (str(trial), str(trial / "checkpoints"), trial.name, trial.name[:5])
    for name in (*names, f"runs/tiny/trials/{trial.name}"):
        assert timeless(program("eval", name, *QUICK).out) == timeless(first.out), name
    older = program("eval", str(min((trial / "checkpoints").iterdir())), *QUICK)
    assert timeless(older.out)["checkpoint"]["step"] == 10
    assert len(list((trial / "evaluations").iterdir())) == 2


def test_a_run_means_its_leader(program: Program, trial: Path) -> None:
    run = trial.parents[1]
    board = json.loads((run / "leaderboard.json").read_text())
    (leader,) = board["entries"][0]["trial_ids"]
    for name in ("tiny", "runs/tiny", str(run)):
        done = program("eval", name, "evaluation.probes=none")
        assert done.code == 0 and f"the leader of 2 trials, {leader}" in done.err
        assert f"{leader} at step 20" in done.out


def test_the_page_has_a_table_a_part_and_names_the_next_command(
    program: Program, trial: Path
) -> None:
    done = program("eval", trial.name, "evaluation.max_bits_per_byte=9")
    assert done.code == 0
    for word in ("Likelihood", "Memorisation", "Activations", "Attention", "Gates", "passed"):
        assert word in done.out
    assert "Probes\n  does not apply: no probes about this text ship" in done.out
    assert done.err.splitlines()[-1].startswith("next: arbiter sample runs/tiny/trials/")
    assert f"evaluation: runs/tiny/trials/{trial.name}/evaluations/step-000000020.json" in done.err


def test_a_gate_that_fails_is_the_exit_status(program: Program, trial: Path) -> None:
    done = program("eval", trial.name, "evaluation.max_bits_per_byte=0.01")
    assert done.code == Exit.FAILED_TRIALS
    assert "FAILED" in done.out and "1 of 2 gates failed: max_bits_per_byte" in done.err
    kept = json.loads((trial / "evaluations" / "step-000000020.json").read_text())
    assert [gate["passed"] for gate in kept["gates"]] == [False, True] and not kept["passed"]


def test_a_part_that_is_left_out_is_named(program: Program, trial: Path) -> None:
    done = program("eval", trial.name, "evaluation.time_budget_s=1e-9")
    assert done.code == Exit.FAILED_TRIALS  # the gate could not be judged
    assert done.out.count("left out: the time budget of 1e-09 s ran out") == 5
    assert "max_perplexity" in done.out


def test_it_is_written_to_a_file_that_was_asked_for(program: Program, trial: Path) -> None:
    done = program("eval", trial.name, "--format", "md", "--out", "page.md")
    page = (program.folder / "page.md").read_text()
    assert (done.code, done.out) == (0, "") and "wrote page.md" in done.err
    assert page.count("\n## ") == 6 and "| train" in page
    assert "--out" in program.refuses("eval", trial.name, "--out", "nowhere/page.md", code=2)


def test_markdown_shows_foreign_text_as_text(program: Program, trial: Path) -> None:
    probe = {"prompt": "the", "candidates": [" fox", " dog"], "answer": 0, "group": "<b>|x"}
    (program.folder / "p.jsonl").write_text(json.dumps(probe))
    done = program("eval", trial.name, "--format", "md", "evaluation.probes=p.jsonl")
    assert done.code == 0 and "<b>" not in done.out and "&#60;b&#62;&#124;x" in done.out


def test_a_checkpoint_elsewhere_is_evaluated_and_not_kept(program: Program, trial: Path) -> None:
    shutil.copytree(newest(trial), program.folder / "step-copy")
    before = program.tree()
    done = program("eval", "step-copy")
    assert done.code == 0 and "not kept: it does not lie in the folder of a trial" in done.err
    assert program.tree() == before


def test_what_is_kept_leaves_the_run_sound(program: Program, trial: Path) -> None:
    program("eval", trial.name)
    assert program("doctor", "tiny").code == 0
    assert f"trials/{trial.name}/evaluations" in program("show", trial.name).out


# Samples.


def test_a_sample_follows_its_seed(program: Program, trial: Path) -> None:
    asked = ("sample", trial.name, "--prompt", "the quick 🦊", "--tokens", "20", "-q")
    one = program(*asked, "--seed", "5")
    assert one.code == 0 and one.out.startswith("the quick 🦊") and one.err == ""
    assert program(*asked, "--seed", "5").out == one.out != program(*asked, "--seed", "6").out
    greedy = program(*asked, "--temperature", "0").out
    assert greedy == program(*asked, "--top-k", "1", "--seed", "9").out


def test_several_samples_are_told_apart(program: Program, trial: Path) -> None:
    done = program("sample", "tiny", "--tokens", "5", "--count", "2")
    assert "[1 of 2]" in done.out and "[2 of 2]" in done.out
    assert done.err.splitlines()[-1].startswith("next: arbiter eval runs/tiny/trials/")
    document = program("sample", "tiny", "--tokens", "5", "--count", "2", "--format", "json", "-q")
    samples = json.loads(document.out)["samples"]
    assert len({one["continuation"] for one in samples}) == 2
    assert len({one["prompt"] for one in samples}) == 1


def test_a_bpe_checkpoint_goes_on_with_any_text(program: Program, with_bpe: Path) -> None:
    trial = copied(with_bpe, program)
    done = program("sample", trial.name, "--prompt", "日本 costs", "--tokens", "3", "-q")
    assert done.code == 0 and done.out.startswith("日本 costs")
    assert program("eval", trial.name, "-q").code == 0


def test_a_prompt_that_no_symbol_stands_for_is_refused(program: Program, with_char: Path) -> None:
    trial = copied(with_char, program)
    said = program.refuses("sample", trial.name, "--prompt", "the Zebra? XYZ", code=2)
    assert "the char tokenizer has not met: 'Z', '?', 'X' and 1 more" in said
    said = program.refuses("sample", trial.name, "--prompt", "caf\udce9", code=2)
    assert "the prompt is not UTF-8 text at character 3" in said
    assert "got no text" in program.refuses("sample", trial.name, "--prompt", "", code=2)
    assert program("sample", trial.name, "--prompt", "the fox", "--tokens", "2").code == 0
    probe = {"prompt": "Zebra", "candidates": [" a", " b"], "answer": 0}
    (program.folder / "p.jsonl").write_text("\n" + json.dumps(probe))
    said = program.refuses("eval", trial.name, "evaluation.probes=p.jsonl", code=2)
    assert "p.jsonl:2: prompt has characters" in said


def test_pairs_have_no_text_to_go_on_with(program: Program) -> None:
    words = "task=modular model=quadratic_mlp training.steps=2 training.batch_size=full data.p=7"
    assert program("train", *words.split(), "logging.enable_tensorboard=false", "-q").code == 0
    (run,) = (program.folder / "runs").iterdir()
    assert "task modular has no text" in program.refuses("sample", run.name, code=2)
    done = program("eval", run.name)
    assert done.code == 0 and "Likelihood" in done.out and "next: arbiter show" in done.err
    said = program.refuses("eval", run.name, "evaluation.max_perplexity=3", code=2)
    assert "evaluation.max_perplexity judges a text" in said


# What is refused, and writes nothing.


def test_a_checkpoint_that_is_not_there(program: Program, trial: Path) -> None:
    for given, expected in (
        ("tinny", "no checkpoint, trial or run 'tinny' - did you mean tiny?"),
        ("zzzzz", "no checkpoint, trial or run 'zzzzz'"),
        (f"{trial}/checkpoints/step-000000021", "did you mean step-000000020?"),
        (f"{newest(trial)}/model.safetensors", "expected a step-… folder, a trial"),
        (str(program.folder), "has no checkpoint"),
        ("x" * 300, "no checkpoint, trial or run"),
    ):
        said = program.refuses("eval", given, code=2)
        assert expected in said, said
    for checkpoint in (trial / "checkpoints").iterdir():
        shutil.rmtree(checkpoint)
    assert "has no checkpoint" in program.refuses("eval", trial.name, code=2)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("file", "harm", "expected"),
    [
        ("model.safetensors", flip, "model.safetensors does not have the hash in its manifest"),
        ("model.safetensors", Path.unlink, "model.safetensors is missing"),
        ("manifest.json", Path.unlink, "manifest.json is missing"),
        ("manifest.json", lambda p: p.write_text("{"), "its manifest is not one"),
        ("manifest.json", lambda p: p.write_text("[]"), "its manifest is not one"),
        ("manifest.json", flip, "manifest"),
    ],
    ids=["weights changed", "weights gone", "manifest gone", "cut", "a list", "manifest changed"],
)
def test_a_damaged_checkpoint(
    program: Program, trial: Path, file: str, harm: Edit, expected: str
) -> None:
    harm(newest(trial) / file)
    said = program.refuses("eval", trial.name, code=2)
    assert f"error: runs/tiny/trials/{trial.name}/checkpoints/step-000000020 is damaged" in said
    assert expected in said
    assert "hint: the one before: " in said and "step-000000010" in said
    assert program.refuses("sample", trial.name, code=2) == said


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.dim=32", "model.dim cannot be changed here"),
        ("data.tokenizer=char", "data.tokenizer cannot be changed here"),
        ("training.seq_len=8", "training.seq_len cannot be changed here"),
        ("checkpoint.keep=1", "evaluation.* and tier.* may be given"),
        ("evaluation.window=3", "did you mean evaluation.windows?"),
        ("evaluation.windows=0", "expected at least 1"),
        ("evaluation.windows=1,2", "got several values"),
        ("tier=high_vram", "needs a GPU"),
        ("evaluation.probes=nowhere.jsonl", "cannot read 'nowhere.jsonl'"),
    ],
)
def test_a_setting_that_is_not_for_an_evaluation(
    program: Program, trial: Path, setting: str, expected: str
) -> None:
    assert expected in program.refuses("eval", trial.name, setting, "--gpus", "0", code=2)


def test_a_sample_takes_no_setting_of_an_evaluation(program: Program, trial: Path) -> None:
    said = program.refuses("sample", trial.name, "evaluation.windows=2", code=2)
    assert "evaluation.windows cannot be changed here" in said
    assert program.refuses("sample", trial.name, "--temperature", "nan", code=2)


def test_probes_that_are_none_are_named_by_line(program: Program, trial: Path) -> None:
    (program.folder / "p.jsonl").write_text('{"prompt": "a"}\n')
    said = program.refuses("eval", trial.name, "evaluation.probes=p.jsonl", code=2)
    assert "p.jsonl:1: candidates: expected at least two texts" in said


def test_a_text_that_changed_and_one_that_moved(program: Program, trial: Path) -> None:
    (program.folder / "moved.txt").write_text(help.text())
    (program.folder / "other.txt").write_text(help.text() + "x")
    done = program("eval", trial.name, "data.dataset_path=moved.txt")
    assert done.code == 0, done.err
    said = program.refuses("eval", trial.name, "data.dataset_path=other.txt", code=2)
    assert "the text does not match the checkpoint: 'other.txt' has the hash" in said
    said = program.refuses("eval", trial.name, "data.dataset_path=gone.txt", code=2)
    assert "no file 'gone.txt'" in said


def test_a_tokenizer_that_does_not_match(program: Program, with_bpe: Path) -> None:
    trial = copied(with_bpe, program)
    folder = with_bpe.parent
    other = f"data.tokenizer_path={folder / 'other.json'}"
    said = program.refuses("eval", trial.name, other, code=2)
    assert "the tokenizer does not match the checkpoint" in said and "other.json" in said
    own = (folder / "own.json").read_text()
    shutil.copy(folder / "own.json", program.folder / "moved.json")
    assert program("eval", trial.name, "data.tokenizer_path=moved.json", "-q").code == 0
    try:
        (folder / "own.json").write_text(own + " ")
        assert "the tokenizer does not match" in program.refuses("eval", trial.name, code=2)
    finally:
        (folder / "own.json").write_text(own)


def test_a_checkpoint_of_another_architecture(program: Program, trial: Path) -> None:
    """Its manifest says another model than its weights are."""
    manifest = json.loads(json.loads((newest(trial) / "manifest.json").read_text())["manifest"])
    config = manifest["config"] | {"model": manifest["config"]["model"] | {"ffn_dim": 5}}
    rewrite(newest(trial), config=config)
    said = program.refuses("eval", trial.name, code=2)
    assert "is of another architecture: blocks.0.ffn." in said
    assert "(64, 16) there, (5, 16) by the config" in said
    rewrite(newest(trial), config={"model": {"depth": 5}})
    assert "written by another version" in program.refuses("eval", trial.name, code=2)


def test_a_checkpoint_that_does_not_hold_its_config(program: Program, trial: Path) -> None:
    """As versions before wrote them: the config beside it is read, and its trial id compared."""
    own = program("eval", trial.name, *QUICK)
    rewrite(newest(trial), config=None, data=None)
    assert timeless(program("eval", trial.name, *QUICK).out) == timeless(own.out)
    shutil.copytree(newest(trial), program.folder / "step-copy")
    said = program.refuses("eval", "step-copy", code=2)
    assert "step-copy does not say how it was trained" in said and "hint: put it back" in said
    written = (trial / "config.yaml").read_text()
    (trial / "config.yaml").write_text(written.replace("dim: 16", "dim: 32"))
    assert "gives another id" in program.refuses("eval", trial.name, code=2)
    (trial / "config.yaml").write_text("x: [")
    assert "damaged: it is no run config" in program.refuses("eval", trial.name, code=2)

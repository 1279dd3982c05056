"""A run that was stopped anywhere, by anything, tells what an unbroken one tells."""

from __future__ import annotations

import errno
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import trainer_help as help
from trainer import Reason, RunConfig

DECODER = {"kind": "decoder", "dim": 8, "n_layers": 1, "n_heads": 2}
CASES: dict[str, Callable[[str], RunConfig]] = {
    "corpus": help.corpus,
    "corpus, dropout, accumulation": lambda path: help.corpus(
        path,
        model={"dropout": 0.2},
        tier={"micro_batch": 3},
        logging={"track_grad_norms": True, "track_weight_norms": True},
    ),
    "corpus, char": lambda path: help.corpus(path, data={"tokenizer": "char"}),
    "modular, full batch": lambda path: help.modular(),
    "modular, decoder, minibatch, dropout, accumulation": lambda path: help.modular(
        model=DECODER | {"dropout": 0.2}, training={"batch_size": 5}, tier={"micro_batch": 2}
    ),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return request.param(help.write_text(tmp_path))


@pytest.mark.parametrize("seed", range(3))
def test_interrupted_at_random_steps_any_number_of_times(
    config: RunConfig, seed: int, tmp_path: Path
) -> None:
    whole, unbroken = help.run(config, tmp_path / "whole")
    draw, broken, stops = random.Random(seed), help.Recorder(), []
    while True:
        result, _ = help.run(config, tmp_path / "b", broken, help.after(draw.randint(1, 12)))
        if result.reason is Reason.FINISHED:
            break
        assert result.reason is Reason.INTERRUPTED
        assert help.newest(tmp_path / "b").step == result.step
        stops.append(result.step)
    assert stops and any(step % 7 for step in stops)
    assert broken.rows() == unbroken.rows()
    assert result.final == whole.final and result.step == whole.step == 20
    one, other = help.newest(tmp_path / "whole"), help.newest(tmp_path / "b")
    assert help.same_tensors(one.model, other.model)
    assert help.same_tensors(one.optimizer, other.optimizer)


def test_interrupted_before_the_first_step(tmp_path: Path) -> None:
    config = help.modular()
    _, unbroken = help.run(config, tmp_path / "whole")
    result, broken = help.run(config, tmp_path / "b", interrupted=lambda: True)
    assert (result.reason, result.step) == (Reason.INTERRUPTED, 0)
    help.run(config, tmp_path / "b", broken)
    assert broken.rows() == unbroken.rows()


def test_damage_between_attempts_costs_steps_and_changes_nothing(
    config: RunConfig, tmp_path: Path
) -> None:
    _, unbroken = help.run(config, tmp_path / "whole")
    _, broken = help.run(config, tmp_path / "b", interrupted=help.after(18))
    steps = help.steps_on_disk(tmp_path / "b")
    assert len(steps) == 2
    model = tmp_path / "b" / f"checkpoints/step-{steps[-1]:09d}" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-5])
    help.run(config, tmp_path / "b", broken)
    assert broken.of("started")[-1][2] == steps[0]
    assert "damaged" in broken.note() and f"resumes at step {steps[0]}" in broken.note()
    assert broken.rows() == unbroken.rows()
    assert help.same_tensors(
        help.newest(tmp_path / "whole").model, help.newest(tmp_path / "b").model
    )


def test_all_damaged_starts_again_and_says_so(tmp_path: Path) -> None:
    config = help.modular()
    _, unbroken = help.run(config, tmp_path / "whole")
    _, broken = help.run(config, tmp_path / "b", interrupted=help.after(18))
    for manifest in (tmp_path / "b").glob("checkpoints/step-*/manifest.json"):
        manifest.write_text("")
    help.run(config, tmp_path / "b", broken)
    assert broken.of("started")[-1][2] == 0
    assert broken.note().count("damaged") == 2 and "starts again from step 0" in broken.note()
    assert broken.rows() == unbroken.rows()


@pytest.mark.parametrize("task", ["corpus", "modular"])
def test_killed_at_a_random_row_again_and_again(task: str, tmp_path: Path) -> None:
    config = help.corpus(help.write_text(tmp_path)) if task == "corpus" else help.modular()
    _, unbroken = help.run(config, tmp_path / "whole")
    draw, rows, kills = random.Random(task), tmp_path / "rows.jsonl", 0
    for _ in range(4):
        kills += help.killed_run(config, tmp_path / "b", rows, at_row=draw.randint(0, 5))
    while help.killed_run(config, tmp_path / "b", rows, at_row=6):
        kills += 1
    assert kills >= 3
    assert help.merge_rows(help.read_rows(rows)) == unbroken.rows()
    assert help.same_tensors(
        help.newest(tmp_path / "whole").model, help.newest(tmp_path / "b").model
    )


def test_killed_after_the_last_step_before_it_said_so(tmp_path: Path) -> None:
    config, rows = help.modular(), tmp_path / "rows.jsonl"
    whole, unbroken = help.run(config, tmp_path / "whole")
    assert help.killed_run(config, tmp_path / "b", rows, at_end=True)
    result, again = help.run(config, tmp_path / "b")
    assert again.of("started")[-1][2] == 20
    assert result.reason is Reason.FINISHED and result.final == whole.final
    assert help.merge_rows(help.read_rows(rows)) == unbroken.rows()
    assert again.rows().items() <= unbroken.rows().items() and 20 in again.rows()


def test_rows_since_the_checkpoint_before_are_told_again(tmp_path: Path) -> None:
    config = help.modular()
    _, first = help.run(config, tmp_path, interrupted=help.after(18))
    resumed = help.Recorder()
    help.run(config, tmp_path, resumed)
    before, at = first.of("ended")[0][2].step // 7 * 7, resumed.of("started")[0][2]
    told_again = [step for _, _, step, _ in resumed.of("row") if step <= at]
    assert told_again == [step for step in first.rows() if before < step <= at] != []


def groks() -> RunConfig:
    return help.modular(
        model={"dim": 64},
        data={"p": 23, "train_frac": 0.8},
        training={
            "steps": 400,
            "learning_rate": 0.03,
            "schedule": "constant",
            "weight_decay": 2.0,
            "beta2": 0.98,
            "grad_clip": None,
        },
        checkpoint={"interval": 50},
        limits={"stop_when_generalised": True},
    )


def test_stops_when_generalised_and_is_finished_also_when_asked_again(tmp_path: Path) -> None:
    result, unbroken = help.run(groks(), tmp_path / "whole")
    reached = unbroken.rows()[result.step]["grok/generalised_step"]
    assert result.reason is Reason.FINISHED and result.step < 400
    assert result.detail == f"generalised at step {reached:.0f}"
    assert "test/accuracy" in result.final

    again, resumed = help.run(groks(), tmp_path / "whole")
    assert (again.reason, again.step, again.detail) == (
        Reason.FINISHED,
        result.step,
        result.detail,
    )
    assert again.final == result.final
    assert resumed.rows().items() <= unbroken.rows().items()


def test_the_streak_survives_an_interruption_inside_it(tmp_path: Path) -> None:
    result, unbroken = help.run(groks(), tmp_path / "whole")
    inside = result.step - 6  # evaluations are 5 steps apart, and a streak has 3
    broken = help.Recorder()
    stopped, _ = help.run(
        groks().model_copy(
            update={"limits": groks().limits.model_copy(update={"stop_after_steps": inside})}
        ),
        tmp_path / "b",
        broken,
    )
    assert (stopped.reason, stopped.step) == (Reason.BUDGET, inside)
    again, _ = help.run(groks(), tmp_path / "b", broken)
    assert (again.step, again.detail) == (result.step, result.detail)
    assert broken.rows() == unbroken.rows()


def test_a_full_disk_fails_no_run(tmp_path: Path) -> None:
    config, folder = help.modular(), tmp_path / "full"
    whole, _ = help.run(config, tmp_path / "whole")
    assert help.in_process(_train_where_little_fits, config, folder) == help.KILLED
    assert help.steps_on_disk(folder) == []
    result, _ = help.run(config, folder)
    assert (result.reason, result.final) == (Reason.FINISHED, whole.final)


def _train_where_little_fits(config: RunConfig, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
    try:
        help.run(config, folder)
    except OSError as error:
        os._exit(help.KILLED if error.errno == errno.EFBIG else 1)

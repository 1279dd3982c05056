"""A few steps of a run are timed as the run would do them, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import trainer_help as help
from trainer.errors import InputError
from trainer.timing import MOST_STEPS, time_run


def test_steps_and_an_evaluation_are_timed_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    timing = time_run(help.modular(), budget_s=60.0)
    assert (timing.steps, timing.evaluated) == (MOST_STEPS, True)
    assert min(timing.start_s, timing.step_s, timing.evaluation_s) > 0
    assert list(tmp_path.iterdir()) == []


def test_without_a_budget_one_step_is_timed_and_the_evaluation_follows_from_it() -> None:
    timing = time_run(help.modular(), budget_s=0.0)
    assert (timing.steps, timing.evaluated) == (1, False)
    assert timing.evaluation_s > 0


def test_data_that_is_too_short_is_said_with_its_hint(tmp_path: Path) -> None:
    path = help.write_text(tmp_path, "to be or not to be " * 9)
    with pytest.raises(InputError, match="expected more than training") as caught:
        time_run(help.corpus(path, training={"seq_len": 256}), budget_s=0.1)
    assert caught.value.hint


def test_an_error_of_a_step_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(unit: object, step: int) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr("trainer.engines.solo._step", fails)
    with pytest.raises(RuntimeError, match="no memory"):
        time_run(help.modular(model={"kind": "decoder", "dim": 8, "n_heads": 2}), budget_s=0.1)

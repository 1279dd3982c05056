"""`ablate` from its arguments to `outputs/ablation_leaderboard.*`, and how its trials are started."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from orchestrator import sweep
from orchestrator.cli import ablation
from orchestrator.cli import app as programs
from orchestrator.errors import Exit
from orchestrator.executors import Execution
from orchestrator.layout import RunDirectory
from orchestrator.leaderboard.paired import Judgement
from orchestrator.ledger import TrialRecord
from orchestrator.plan import Plan, make_plan
from orchestrator.request import Request
from tests.program import Done, Program
from tests.sweeps import CPU_ONLY, events_of, ranking_of, rows_of, trials_of
from trainer.reporting import Reason
from trainer.tasks.modular import ModularTask

TINY = (
    "task=modular",
    "trainer=ablation",
    "model=quadratic_mlp",
    "data.p=13",
    "model.dim=16",
    "training.steps=60",
    "training.eval_interval=20",
    "training.learning_rate=0.01",
    "checkpoint.interval=60",
    "logging.enable_tensorboard=false",
)
DECAY = "training.weight_decay=0.0,0.1,3.0"


@pytest.fixture
def ablate(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """A program of that one command and of those that look at its run."""
    from orchestrator.cli import runs, tools

    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    for module in (ablation, runs, tools):
        module.add_to(app)
    monkeypatch.setattr(programs, "app", app)
    return program


def run_of(done: Done, folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    assert run.name in done.err
    return run


def test_an_ablation_from_its_axes_to_its_leaderboard(ablate: Program) -> None:
    words = ("ablate", *TINY, "-m", DECAY, "ablation.top_n=2", "--executor", "inline")
    done = ablate(*words)
    assert done.code == Exit.OK
    run = run_of(done, ablate.folder)
    folder = ablate.folder / "outputs"
    formats = ("csv", "html", "json", "md")
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"ablation_leaderboard.{format}" for format in formats),
        "diagnostics",
    ]
    published = json.loads((folder / "ablation_leaderboard.json").read_text())
    own = json.loads((run / "leaderboard.json").read_text())
    assert published["entries"] == own["entries"]
    judged = {e["changed"]["training.weight_decay"]: e["judgement"] for e in own["entries"]}
    assert judged[0.1] == "baseline" and judged.keys() == {0.0, 0.1, 3.0}
    assert all(entry["n_finished"] == 3 for entry in own["entries"])
    assert "difference (95 % interval)" in done.out and "Holm" in done.out
    assert "and 1 more" not in done.out  # a third row stands where that line would
    assert "leaderboard: outputs/ablation_leaderboard.html" in done.err
    best = own["entries"][0]["trial_ids"][0]
    assert done.err.rstrip().endswith(f"next: arbiter show runs/{run.name} {best}")
    page = (folder / "ablation_leaderboard.html").read_text()
    assert "Best 2 points" in page and "Ranked lower" in page
    links = re.findall(r'<a href="([^"]+)">', page)
    assert links[0] == "diagnostics/ablation/index.html" and len(links) == 2
    assert all((folder / link).is_file() for link in links)
    # The record is whole, and says the same when it is read again.
    assert ablate("doctor", str(run)).code == Exit.OK
    assert "difference (95 % interval)" in ablate("leaderboard", str(run)).out
    # The same command again trains nothing; what is shown follows what is asked for now.
    again = ablate(*words[:-3], "ablation.top_n=9", "--executor", "inline", "--multirun")
    assert "nothing to train" in again.err
    assert "Ranked lower" not in (folder / "ablation_leaderboard.html").read_text()
    assert len(events_of(run, "started")) == 9


def test_what_is_wrong_writes_nothing(ablate: Program) -> None:
    said = ablate.refuses("ablate", *TINY, "-m", DECAY, "ablation.seed=3", code=Exit.USAGE)
    assert "unknown key ablation.seed - did you mean ablation.seeds?" in said
    (ablate.folder / "outputs").write_text("in the way")
    said = ablate.refuses("ablate", *TINY, "-m", DECAY, code=Exit.USAGE)
    assert "outputs is not a folder" in said


def plan_of(*words: str) -> Plan:
    return make_plan(Request(ablation=True, overrides=(*TINY, *words)), CPU_ONLY)


def train(plan: Plan, folder: Path) -> sweep.Outcome:
    said: list[str] = []
    return sweep.run(
        plan,
        RunDirectory(folder),
        CPU_ONLY,
        Execution("inline", cohort_size=1),
        command=["test"],
        notify=said.append,
    )


def resume(folder: Path) -> sweep.Outcome:
    return sweep.resume(
        RunDirectory(folder), CPU_ONLY, Execution("inline"), notify=lambda line: None
    )


def started(folder: Path) -> list[str]:
    return [str(event.trial_id) for event in events_of(folder, "started")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants of two seeds, started in the order of the plan."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train(plan_of("training.weight_decay=0.1,3.0", "ablation.seeds=2"), folder)
    return folder


def test_the_order_is_drawn_and_the_results_are_not(tmp_path: Path, undisturbed: Path) -> None:
    words = ("training.weight_decay=0.1,3.0", "ablation.seeds=2", "ablation.randomize_order=true")
    train(plan_of(*words), tmp_path / "run")
    train(plan_of(*words), tmp_path / "again")
    assert started(tmp_path / "run") == started(tmp_path / "again") != started(undisturbed)
    assert rows_of(tmp_path / "run") == rows_of(undisturbed)
    assert ranking_of(tmp_path / "run") == ranking_of(undisturbed)
    plans = [
        json.loads((path / "plan.json").read_text()) for path in (tmp_path / "run", undisturbed)
    ]
    assert plans[0] == plans[1]


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Makes the trials of a seed fail at their evaluation, so many times."""
    left: dict[int, int] = {}
    working = ModularTask.evaluate

    def evaluate(task: ModularTask, *args: Any) -> Any:
        if left.get(task.seed, 0) > 0:
            left[task.seed] -= 1
            raise RuntimeError("boom")
        return working(task, *args)

    monkeypatch.setattr(ModularTask, "evaluate", evaluate)
    return left


def failed(folder: Path) -> list[TrialRecord]:
    return [trial for trial in trials_of(folder) if trial.reason is Reason.FAILED]


def test_a_failed_trial_is_tried_again_as_often_as_it_says(
    tmp_path: Path, undisturbed: Path, fails: dict[int, int]
) -> None:
    words = ("training.weight_decay=0.1,3.0", "ablation.seeds=2")
    fails[1] = 4  # the trials of seed 1 fail twice each
    outcome = train(plan_of(*words, "ablation.retry_failed=2"), tmp_path / "run")
    assert outcome.exit_code is Exit.OK
    assert rows_of(tmp_path / "run") == rows_of(undisturbed)
    assert len(events_of(tmp_path / "run", "retried")) == 4
    fails[1] = 9
    once = tmp_path / "once"
    assert train(plan_of(*words, "ablation.retry_failed=1"), once).exit_code is Exit.FAILED_TRIALS
    assert len(failed(once)) == 2 and len(events_of(once, "retried")) == 2
    # Its tries are counted over the life of the sweep, and a resume goes by what it was told.
    assert resume(once).trained == 0
    fails.clear()
    outcome = train(plan_of(*words, "ablation.retry_failed=2"), once)
    assert (outcome.exit_code, outcome.trained) == (Exit.OK, 2)


def test_what_helps_is_told_from_what_does_not(tmp_path: Path) -> None:
    """Of real runs that overfit, stronger weight decay helps.

    Subtraction is addition with the second operands renamed: whatever differs between the two is
    chance.
    """
    words = (
        "training.weight_decay=0.1,3.0",
        "data.operation=add,subtract",
        "checkpoint.enable=false",
        "ablation.mode=one-at-a-time",
        "ablation.seeds=5",
    )
    board = train(plan_of(*words), tmp_path / "run").board
    judged = {
        (e.changed["training.weight_decay"], e.changed["data.operation"]): board.paired[e.point_id]
        for e in board.entries
    }
    assert judged[(0.1, "add")].judgement is Judgement.BASELINE
    assert judged[(3.0, "add")].judgement is Judgement.BETTER
    useless = judged[(0.1, "subtract")]
    assert useless.judgement is Judgement.NOT_SEPARABLE
    assert useless.interval is not None and useless.interval[0] < 0 < useless.interval[1]


def test_what_diverged_is_not_tried_again(tmp_path: Path) -> None:
    words = ("training.learning_rate=0.01,1e30", "ablation.seeds=1", "ablation.retry_failed=3")
    tiny = tuple(word for word in TINY if "learning_rate" not in word)
    request = Request(
        ablation=True, overrides=(*tiny, *words, "ablation.baseline=learning_rate=0.01")
    )
    outcome = train(make_plan(request, CPU_ONLY), tmp_path / "run")
    assert outcome.exit_code is Exit.FAILED_TRIALS
    assert len(started(tmp_path / "run")) == 2 and not events_of(tmp_path / "run", "retried")
    assert any("not compared" in note for note in outcome.board.notes)


def test_a_timeout_ends_trials_that_can_be_resumed(tmp_path: Path, undisturbed: Path) -> None:
    words = ("training.weight_decay=0.1,3.0", "ablation.seeds=2", "ablation.timeout_minutes=1e-9")
    outcome = train(plan_of(*words), tmp_path / "run")
    assert outcome.exit_code is Exit.INTERRUPTED
    assert {trial.reason for trial in outcome.trials} == {Reason.WALL_CLOCK}
    board = (tmp_path / "run" / "leaderboard.md").read_text()
    assert "wall clock" in board and "limits.wall_clock_minutes is 1e-09" in board
    later = train(plan_of(*words[:-1]), tmp_path / "run")
    assert later.exit_code is Exit.OK
    assert rows_of(tmp_path / "run") == rows_of(undisturbed)


def test_a_file_of_another_task_is_ablated_as_that_task(program: Program) -> None:
    program.name = "spectramind"
    (program.folder / "m.toml").write_text(
        "[data]\ntask = 'modular'\np = 11\n[model]\nkind = 'quadratic_mlp'\ndim = 8\n"
        "[training]\nsteps = 2\nbatch_size = 'full'\neval_interval = 1\n"
    )
    words = ("training.weight_decay=0.1,1.0", "ablation.seeds=1", "--executor", "inline")
    done = program("ablate", "--base-config", "m.toml", "-m", *words)
    assert done.code == 0, done.err
    (run,) = (program.folder / "runs").iterdir()
    assert {trial.config["data"]["task"] for trial in trials_of(run)} == {"modular"}

"""Train a cohort, turn by turn. Read `fit`, then `trainer.run.Run`.

One turn takes a group of members from one event to the next: a row that is due, an
evaluation, a checkpoint, a limit. Events lie at fixed steps, so where a run was interrupted
leaves no trace in what it reports afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from trainer.engines import Engine, make_engine
from trainer.out_of_memory import free_cache
from trainer.reporting import FitResult, Member, Reporter
from trainer.run import Run


def fit(
    cohort: Sequence[Member],
    reporter: Reporter,
    *,
    engine: str | Engine = "stacked",
    interrupted: Callable[[], bool] = lambda: False,
    on_error: Callable[[Exception], None] = lambda error: None,
) -> list[FitResult]:
    """Train every member of a cohort to its end, resuming where a checkpoint is found.

    A member that fails, diverges or reaches a limit ends alone; its neighbours go on. One that
    runs out of memory goes on under the next lower tier (`ladder.py`), while there is one.

    Args:
        cohort: Members with different ids and directories.
        reporter: Receives starts, rows and ends; answers rows with verdicts.
        engine: A name in `trainer.engines.ENGINES`, or one that is there. Members whose tier asks for
            several processes have an engine of their own: they are started, and ended at the end.
        interrupted: Polled before each step; once true, every member is checkpointed and
            ends as interrupted.
        on_error: Told the exception that ends a member, before it ends: the place for a debugger,
            which finds the failing frames in its traceback.

    Returns:
        One result per member, in the order of `cohort`.

    Raises:
        RanksLostError: A process that trains the same model is gone.
        OSError: The disk takes no more; the members go on from their checkpoints.
    """
    torch.set_num_threads(max((member.config.tier.cpus for member in cohort), default=1))
    if any(member.config.tier.device == "cuda" for member in cohort):
        free_cache("cuda")  # of a cohort before in this process: its peak is not this one's
    if isinstance(engine, str):
        sizes = {(member.config.tier.ranks, member.config.tier.device) for member in cohort}
        ranks, device = max(sizes, default=(1, "cpu"))
        if ranks > 1:
            if len(sizes) > 1:
                raise ValueError(f"members of one cohort have one number of processes: got {sizes}")
            from trainer.processes import leading

            with leading(ranks, device) as led:
                return fit(cohort, reporter, engine=led, interrupted=interrupted, on_error=on_error)
        engine = make_engine(engine)
    computer = engine
    runs = {m.id: Run(m, computer, reporter, interrupted, on_error) for m in cohort}
    try:
        return _train(runs, computer, reporter)
    finally:
        for run in runs.values():
            run.lock.release()  # one that a lost process has left


def _train(runs: dict[str, Run], computer: Engine, reporter: Reporter) -> list[FitResult]:
    """Train runs to their ends, turn by turn."""
    for run in runs.values():
        run.start()
    while live := [run.id for run in runs.values() if run.result is None]:
        for keys in computer.turns(live):
            group = [runs[key] for key in keys]
            for run in group:
                run.watch.start(share=1 / len(group))
            advances = computer.advance(
                keys,
                [run.step for run in group],
                min(run.steps_to_event() for run in group),
                lambda key, step: runs[key].may_step(step),
            )
            for run in group:
                run.watch.stop()
            for run, advance in zip(group, advances, strict=True):
                run.settle(advance)
    reporter.flush()
    results = [run.result for run in runs.values()]
    return [result for result in results if result is not None]

"""Gauges of a sweep in Ray's metrics, for Prometheus and Grafana.

They are derived from the ledger, as all that is shown is: a thread reads it once a second, so
that a trial pays nothing for being watched. Ray exports each under its name with `ray_` before.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.executors import ray_environment

ray_environment.prepare()

from ray.util.metrics import Gauge  # noqa: E402

from orchestrator.cohort import Cohort  # noqa: E402
from orchestrator.errors import StorageError  # noqa: E402
from orchestrator.layout import RunDirectory  # noqa: E402
from orchestrator.ledger import Event, Ledger, State, TrialRecord  # noqa: E402
from orchestrator.names import name_of  # noqa: E402
from orchestrator.objective import Objective  # noqa: E402
from trainer.reporting import Reason  # noqa: E402

INTERVAL_S = 1.0
"""Between two looks. Ray forgets a gauge that is not set for four seconds."""

TOKENS_PER_S = "perf/tokens_per_s"
STATES = (State.WAITING.value, State.RUNNING.value, *(reason.value for reason in Reason))

OF_A_TRIAL = {
    "arbiter_objective": "The metric that ranks, from the trial's last evaluation",
    "arbiter_step": "Optimizer steps done",
    "arbiter_steps": "Optimizer steps of the whole trial",
    "arbiter_tokens_per_s": "Tokens trained on a second, since the row before",
}
OF_A_COHORT = {"arbiter_members_alive": "Trials of the cohort that have not ended"}
OF_A_STATE = {"arbiter_trials": "Trials of the sweep in a state; ended ones by their reason"}
OF_A_SWEEP = {
    "arbiter_best_objective": "The best of the trials that finished",
    "arbiter_sweep_steps_done": "Optimizer steps done by all trials",
    "arbiter_sweep_steps": "Optimizer steps of all trials",
}
TAGS = {
    **dict.fromkeys(OF_A_TRIAL, ("sweep", "trial", "cohort")),
    **dict.fromkeys(OF_A_COHORT, ("sweep", "cohort")),
    **dict.fromkeys(OF_A_STATE, ("sweep", "state")),
    **dict.fromkeys(OF_A_SWEEP, ("sweep",)),
}
"""Every gauge, and the tags that its series have."""


class Gauges:
    """A thread that turns the ledger into gauges. Use as a context manager.

    Args:
        directory: The sweep's; its folder's name is the tag `sweep`.
        running: Returns the cohorts that Tune has and that have not ended.
    """

    def __init__(self, directory: RunDirectory, running: Callable[[], Sequence[Cohort]]) -> None:
        self.directory, self.running = directory, running
        told = {**OF_A_TRIAL, **OF_A_COHORT, **OF_A_STATE, **OF_A_SWEEP}
        self._gauges = {name: Gauge(name, told[name], tag_keys=TAGS[name]) for name in TAGS}
        self._shown: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="gauges", daemon=True)

    def __enter__(self) -> Gauges:
        with contextlib.closing(Ledger.read(self.directory.ledger)) as ledger:
            trials = ledger.trials()
            self._objective = Objective(**ledger.sweep()["objective"])
            events = ledger.events()
        self._names = {trial.id: name_of(trial) for trial in trials}
        self._steps = {trial.id: int(trial.config["training"]["steps"]) for trial in trials}
        self._ended = {trial.id for trial in trials if trial.state is State.ENDED}
        self._best: float | None = None
        for trial in trials:
            self._take_best(trial)
        self._last_event = events[-1].seq if events else 0
        self._rows: dict[str, dict[str, float]] = {}
        self._rows_to: dict[str, int] = {}
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while True:
            with contextlib.suppress(StorageError):  # the next look may read it
                self.look()
            if self._stop.wait(INTERVAL_S):
                return

    def look(self) -> None:
        """Read the ledger and set every gauge that has a value now; the others go."""
        with contextlib.closing(Ledger.read(self.directory.ledger)) as ledger:
            for event in ledger.events(self._last_event):
                self._take(event, ledger)
            tally, done = ledger.tally(), ledger.steps_done()
            running = ledger.running()
            for trial_id in running:
                self._take_rows(trial_id, ledger)
        # Tune asks for a cohort before there is room for it.
        begun = self._ended | running.keys()
        cohorts = [cohort for cohort in self.running() if not begun.isdisjoint(cohort.trial_ids)]
        cohort_of = {trial: cohort.name for cohort in cohorts for trial in cohort.trial_ids}
        values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

        def show(name: str, value: float | None, **tags: str) -> None:
            if value is not None and math.isfinite(value):
                key = (name, tuple({"sweep": self.directory.path.name, **tags}.items()))
                values[key] = value

        for trial_id, step in running.items():
            row = self._rows.get(trial_id, {})
            tags = {"trial": self._names[trial_id], "cohort": cohort_of.get(trial_id, "")}
            show("arbiter_objective", row.get(self._objective.metric), **tags)
            show("arbiter_step", step, **tags)
            show("arbiter_steps", self._steps[trial_id], **tags)
            show("arbiter_tokens_per_s", row.get(TOKENS_PER_S), **tags)
        for cohort in cohorts:
            alive = sum(trial_id not in self._ended for trial_id in cohort.trial_ids)
            show("arbiter_members_alive", alive, cohort=cohort.name)
        for state in STATES:
            show("arbiter_trials", tally.get(state, 0), state=state)
        show("arbiter_best_objective", self._best)
        show("arbiter_sweep_steps_done", done)
        show("arbiter_sweep_steps", sum(self._steps.values()))
        self._set(values)

    def _set(self, values: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> None:
        for (name, tags), value in values.items():
            self._gauges[name].set(value, tags=dict(tags))
        for name, tags in self._shown - values.keys():
            # Ray goes on to export the last value of a gauge, unless that is no number.
            self._gauges[name].set(math.nan, tags=dict(tags))
        self._shown = set(values)

    def _take(self, event: Event, ledger: Ledger) -> None:
        self._last_event = event.seq
        if event.trial_id is None:
            return
        if event.kind == "ended":
            self._ended.add(event.trial_id)
            self._take_best(ledger.trial(event.trial_id))
            self._rows.pop(event.trial_id, None)
        else:  # started, or waiting again
            self._ended.discard(event.trial_id)

    def _take_best(self, trial: TrialRecord) -> None:
        value = self._objective.value(trial)
        if value is not None and math.isfinite(value):
            better: Any = min if self._objective.mode == "min" else max
            self._best = value if self._best is None else better(self._best, value)

    def _take_rows(self, trial_id: str, ledger: Ledger) -> None:
        """Keep the last value of each metric; not every row has the objective."""
        seen = self._rows.setdefault(trial_id, {})
        for step, metrics in ledger.rows(trial_id, after=self._rows_to.get(trial_id, -1)):
            self._rows_to[trial_id] = step
            seen.update(metrics)

"""A new sweep out of one that exists: its trials, with settings changed."""

from __future__ import annotations

import contextlib

from orchestrator.errors import Problem, UsageError
from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger
from orchestrator.objective import Objective
from orchestrator.plan import Plan, plan_of_configs
from orchestrator.revision import Revision, changes, described
from trainer.config import RunConfig


def fork(directory: RunDirectory, revision: Revision) -> Plan:
    """Return the plan of a run's trials under changed settings.

    Args:
        directory: The run; it is only read.
        revision: What is changed. An axis that it sets is one no longer.

    Raises:
        UsageError: It changes no result, or its trials cannot be trained.
        StorageError: The run's ledger is damaged.
    """
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        sweep, trials = ledger.sweep(), ledger.trials()
    before = [RunConfig.model_validate(trial.config) for trial in trials]
    after = [revision.over(config) for config in before]
    kept = [
        {key: value for key, value in trial.changed.items() if key not in revision.settings}
        for trial in trials
    ]
    plan = plan_of_configs(
        str(sweep["name"]),
        list(zip(after, kept, strict=True)),
        Objective(**sweep["objective"]),
        {key: place for key, (_, place) in revision.settings.items()},
    )
    if {trial.id for trial in plan.trials} == {trial.id for trial in trials}:
        raise UsageError(
            Problem(
                "got no setting that decides what is learned: the fork would be the same sweep",
                directory.shown(),
                f"arbiter resume {directory.shown()} without --fork, or key=value",
            )
        )
    lines = described(map(changes, before, after))
    plan.notes.extend(
        [*revision.notes, *(f"forked from {directory.path.name}: {x}" for x in lines)]
    )
    return plan

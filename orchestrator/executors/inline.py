"""The reference executor: one cohort after the other, in this process."""

from __future__ import annotations

import os

from orchestrator.executors import Job
from orchestrator.referee import Referee


class InlineExecutor:
    """Implements `orchestrator.executors.Executor`."""

    concurrent = False

    def run(self, job: Job) -> None:
        """Train every cohort in turn."""
        from trainer import fit
        from trainer.errors import RanksLostError

        referee = Referee(job.directory.ledger, job.directory.path / "trials")
        try:
            while not job.interrupted() and (cohort := job.queue.next()) is not None:
                members = referee.members(cohort.trial_ids)
                referee.placed(cohort.id, cohort.trial_ids, f"process {os.getpid()}")
                try:
                    fit(members, referee, interrupted=job.interrupted)
                except RanksLostError as lost:
                    job.queue.split(cohort, referee.died(cohort.trial_ids, str(lost)))
        finally:
            referee.close()

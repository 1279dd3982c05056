"""Receives each report, writes it to the ledger, answers each member.

A plain object in-process; the Ray executor wraps it in an actor. Rows are committed in
batches: at the latest after `COMMIT_EVERY_S`, when somebody asks for `flush` (before each
checkpoint), and with every start and end of a trial.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import yaml

from orchestrator.errors import Problem, StorageError
from orchestrator.layout import write_whole
from orchestrator.ledger import Ledger, State
from orchestrator.lessons import LEARNED, STEPPED_DOWN, Lessons
from trainer.config import RunConfig, TierConfig
from trainer.identity import fingerprint
from trainer.reporting import GO_ON, FitResult, Member, Reason, Verdict

Report = (
    tuple[Literal["started"], str, int, str]
    | tuple[Literal["row"], str, int, dict[str, float]]
    | tuple[Literal["stepped_down"], str, int, TierConfig, str]
    | tuple[Literal["ended"], FitResult]
)
"""A call of `trainer.Reporter` as a value."""

COMMIT_EVERY_S = 0.5
MOST_DEATHS = 3
"""Times a trial's process may die before the trial is called failed."""


_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's writes the same ten times as fast; PyYAML may be built without it."""


def snapshot(trial_id: str, config: RunConfig) -> str:
    """Return the resolved config as YAML; `arbiter train --base-config` reads it back.

    The hash in its first line is `fingerprint` of the settings below.
    """
    settings = config.model_dump(mode="json")
    body = yaml.dump(settings, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    return f"# trial {trial_id}, resolved config, sha256 {fingerprint(settings)}\n{body}"


class Referee:
    """The one writer of a ledger. Implements `trainer.Reporter`.

    Args:
        path: The ledger.
        trials_folder: Where the trials' folders are.
    """

    def __init__(self, path: Path, trials_folder: Path) -> None:
        self.ledger = Ledger.open(path)
        self.trials_folder = trials_folder
        self._lessons = Lessons(self.ledger)
        self._refused: Problem | None = None
        self._pending: list[tuple[str, int, dict[str, float]]] = []
        self._committed_at = time.monotonic()

    def members(self, trial_ids: Sequence[str]) -> list[Member]:
        """Return the members of a cohort that have not ended; their configs are snapshot.

        One of a shape that ran out of memory before begins under the tier that was found then.
        """
        members = []
        for trial_id in trial_ids:
            record = self.ledger.trial(trial_id)
            if record.state is not State.ENDED:
                planned = RunConfig.model_validate(record.config)
                config, learned = self._lessons.apply(planned)
                if learned:
                    self.ledger.lower(trial_id, config.model_dump(mode="json"), LEARNED, learned)
                members.append(Member(trial_id, config, self._snapshot(trial_id, config)))
        return members

    def _snapshot(self, trial_id: str, config: RunConfig) -> Path:
        """Write a trial's config into its folder; return the folder."""
        folder = self.trials_folder / trial_id
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "config.yaml", snapshot(trial_id, config))
        return folder

    def placed(self, cohort_id: str, trial_ids: Sequence[str], where: str) -> None:
        """Record on which process and devices a cohort trains."""
        self.ledger.record("placed", f"{cohort_id} on {where}: {' '.join(trial_ids)}")

    def started(self, member_id: str, step: int, note: str) -> None:
        """Record that a member trains from `step`."""
        with self._with_pending():
            self.ledger.started(member_id, step, note)

    def row(self, member_id: str, step: int, metrics: dict[str, float]) -> Verdict:
        """Take a row and say whether the member goes on."""
        self._pending.append((member_id, step, metrics))
        if time.monotonic() - self._committed_at >= COMMIT_EVERY_S:
            self.flush()
        return GO_ON

    def stepped_down(self, member_id: str, step: int, tier: TierConfig, detail: str) -> None:
        """Record that a member ran out of memory, and the tier that it goes on under."""
        before = RunConfig.model_validate(self.ledger.trial(member_id).config)
        config = before.model_copy(update={"tier": tier})
        with self._with_pending():
            self.ledger.lower(member_id, config.model_dump(mode="json"), STEPPED_DOWN, detail)
        self._snapshot(member_id, config)
        self._lessons.add(member_id, config)

    def flush(self) -> None:
        """Return when every row so far is durable."""
        if self._pending:
            with self._with_pending():
                pass
        self._committed_at = time.monotonic()

    def ended(self, result: FitResult) -> None:
        """Record how a member ended; every row before is durable with it."""
        with self._with_pending():
            self.ledger.ended(result)

    def take(self, reports: Sequence[Report]) -> dict[str, Verdict]:
        """Take reports in their order, in one commit; return who has to stop."""
        verdicts: dict[str, Verdict] = {}
        with self.ledger.transaction():
            for report in reports:
                match report:
                    case ("started", member_id, step, note):
                        self.started(member_id, step, note)
                    case ("row", member_id, step, metrics):
                        verdicts[member_id] = self.row(member_id, step, metrics)
                    case ("stepped_down", member_id, step, tier, detail):
                        self.stepped_down(member_id, step, tier, detail)
                    case ("ended", result):
                        self.ended(result)
            self.flush()
        return {member: verdict for member, verdict in verdicts.items() if verdict.stop is not None}

    @contextlib.contextmanager
    def _with_pending(self) -> Iterator[None]:
        """One commit of the rows that wait and of what is written inside."""
        with self.ledger.transaction():
            if self._pending:
                self.ledger.add_rows(self._pending)
            yield
        self._pending = []
        self._committed_at = time.monotonic()

    def disk_refused(self, problem: Problem) -> None:
        """Take that a process could write nothing more: the sweep stops, and no trial has failed."""
        self._refused = problem

    def died(self, trial_ids: Sequence[str], detail: str) -> list[str]:
        """Take the death of a cohort's process; return the trials to run again.

        A trial whose process died more than `MOST_DEATHS` times has failed.

        Raises:
            StorageError: It died because the disk takes no more.
        """
        if self._refused is not None:
            raise StorageError(self._refused)
        self.flush()
        again = []
        for trial_id in trial_ids:
            record = self.ledger.trial(trial_id)
            if record.state is State.ENDED:
                continue
            if record.deaths >= MOST_DEATHS:
                text = f"its process died {record.deaths + 1} times; the last time: {detail}"
                self.ledger.ended(FitResult(trial_id, Reason.FAILED, text, record.step, 0.0))
            else:
                again.append(trial_id)
        self.ledger.requeue(again, "died", detail)
        return again

    def close(self) -> None:
        """Commit what is pending and let go of the ledger."""
        self.flush()
        self.ledger.close()

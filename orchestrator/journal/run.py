"""The run that a command trains or reads, and the hashes that name what it is made of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.layout import RunDirectory
from orchestrator.ledger import Ledger
from trainer.identity import fingerprint

if TYPE_CHECKING:
    from orchestrator.plan import Plan


@dataclass(frozen=True)
class Run:
    """What a command trains or reads.

    Args:
        directory: Of the run; it may not exist yet.
        configs: Trial id to the resolved config, as plain values.
        data_hashes: Content hashes of what is trained on.
    """

    directory: RunDirectory
    configs: Mapping[str, Mapping[str, Any]]
    data_hashes: Sequence[str]

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.directory.path.name

    @property
    def config_hash(self) -> str:
        """The hash of its one config; of several, that of their sorted hashes."""
        return _one_of([fingerprint(config) for config in self.configs.values()])

    @property
    def data_hash(self) -> str:
        """The hash of its data; of several data sets, that of their sorted hashes."""
        return _one_of(self.data_hashes)

    @property
    def snapshots(self) -> list[dict[str, str]]:
        """The resolved config of each trial: where it is, and its hash."""
        return [
            {
                "trial_id": trial_id,
                "path": str(self.directory.config(trial_id)),
                "config_hash": fingerprint(config),
            }
            for trial_id, config in self.configs.items()
        ]


def _one_of(hashes: Sequence[str]) -> str:
    different = sorted(set(hashes))
    return different[0] if len(different) == 1 else fingerprint(different)


def run_of(plan: Plan, directory: RunDirectory) -> Run:
    """Return the run that a plan will be."""
    configs = {trial.id: trial.config.model_dump(mode="json") for trial in plan.trials}
    return Run(directory, configs, plan.data_hashes)


def read_run(directory: RunDirectory) -> Run:
    """Return a run that exists, as its ledger has it.

    Raises:
        StorageError: The ledger is damaged.
    """
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        configs = {trial.id: trial.config for trial in ledger.trials()}
    hashes: list[str] = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # it is for people only
        found = json.loads(directory.provenance.read_text(encoding="utf-8"))["data_sha256"]
        hashes = [str(data) for data in found]
    return Run(directory, configs, hashes)

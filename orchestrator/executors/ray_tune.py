"""Cohorts on Ray Tune. The only importer of Ray.

Ray places cohorts on cores and GPUs and tells when one of their processes dies. A cohort is
one Ray Tune trial: a custom searcher hands out ids, the trial asks the referee, an actor
beside the driver, for its configs. Rows go to the referee without being waited for. Ray's own
records are scratch: they are never read and are removed at the end.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Ray reads its environment when it is imported, so this stands before the import.
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
if not os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
    # Kept in the environment of this process tree: Ray would write a file others can read.
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from orchestrator.cohort import Cohort, CohortQueue  # noqa: E402
from orchestrator.errors import ArbiterError, Exit, Problem, UsageError  # noqa: E402
from orchestrator.executors import Job  # noqa: E402
from orchestrator.executors.outbox import Outbox  # noqa: E402
from orchestrator.hardware import Hardware  # noqa: E402
from orchestrator.referee import Referee  # noqa: E402
from orchestrator.signals import SIGNALS  # noqa: E402

STOP_POLL_S = 0.1
OBJECT_STORE_BYTES = 100_000_000
"""Nothing large goes through Ray's object store; its smallest size is about 75 MB."""


class RefereeLostError(ArbiterError):
    """The process that writes the ledger died; what it acknowledged is safe."""

    exit_code = Exit.INTERRUPTED


class RayTuneExecutor:
    """Implements `orchestrator.executors.Executor`.

    It uses the cluster this process is connected to, or starts one and ends it.
    """

    concurrent = True

    def run(self, job: Job) -> None:
        """Train every cohort."""
        with_own_cluster = not ray.is_initialized()
        if with_own_cluster:
            start_cluster(job.hardware)
        scratch = Path(tempfile.mkdtemp(prefix="ray-", dir=_made(job.directory.scratch)))
        referee: Any = None
        try:
            referee = ray.remote(_RefereeActor).remote(
                job.directory.ledger, job.directory.path / "trials"
            )
            self._tune(job, referee, scratch)
            ray.get(referee.close.remote())
        except ray.exceptions.RayActorError as error:
            raise RefereeLostError(
                Problem(
                    "the process that writes the ledger died",
                    job.directory.shown(),
                    f"arbiter resume {job.directory.shown()}",
                )
            ) from error
        finally:
            if referee is not None:
                ray.kill(referee)
            if with_own_cluster:
                ray.shutdown()
            shutil.rmtree(job.directory.scratch, ignore_errors=True)

    def _tune(self, job: Job, referee: Any, scratch: Path) -> None:
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(job.hardware.cpus)
        searcher = _CohortSearcher(job, referee)
        trainable = tune.with_resources(
            tune.with_parameters(
                train_cohort, referee=referee, stop_file=str(job.directory.stop_file)
            ),
            reserved,
        )
        on_gpu = bool(job.hardware.gpus)
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                # Memory of the last trial lingers on a GPU: there each cohort has a fresh process.
                reuse_actors=not on_gpu,
                trial_name_creator=lambda trial: trial.config["cohort"],
                trial_dirname_creator=lambda trial: trial.config["cohort"],
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[],
            ),
        )
        tuner.fit()


def start_cluster(hardware: Hardware) -> None:
    """Start Ray on this machine, behind a token.

    Raises:
        UsageError: Token authentication was switched off.
    """
    if os.environ["RAY_AUTH_MODE"] != "token":
        raise UsageError(
            Problem(
                f"RAY_AUTH_MODE is {os.environ['RAY_AUTH_MODE']!r}: any user of this machine"
                " could run code as you",
                "environment",
                "unset RAY_AUTH_MODE",
            )
        )
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    ray.init(
        address="local",
        num_cpus=hardware.cpus,
        num_gpus=len(hardware.gpus),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
    )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():  # Ray's own would end this process at SIGTERM
            signal.signal(number, handler)


def reserved(config: dict[str, Any]) -> Any:
    """Return what Ray reserves for a cohort, from the searcher's config."""
    return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])


def train_cohort(config: dict[str, Any], *, referee: Any, stop_file: str) -> None:
    """Train one cohort; runs in a Ray worker.

    Args:
        config: `cohort`, its id; `trials`, ids with spaces between them; its share.
        referee: Handle of the referee's actor.
        stop_file: Exists once the sweep was asked to stop.
    """
    interrupted = _StopFile(Path(stop_file))
    if not interrupted():
        from trainer import fit

        ids = config["trials"].split()
        members = ray.get(referee.members.remote(ids))
        devices = ",".join(str(gpu) for gpu in ray.get_gpu_ids())
        where = f"process {os.getpid()}" + (f", GPU {devices}" if devices else "")
        ray.get(referee.placed.remote(config["cohort"], ids, where))
        with Outbox(lambda reports: ray.get(referee.take.remote(reports))) as outbox:
            fit(members, outbox, interrupted=interrupted)
    tune.report({"done": 1})


class _StopFile:
    """True once the file exists; looks at most ten times a second."""

    def __init__(self, path: Path) -> None:
        self.path, self.seen, self.next_look = path, False, 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self.seen and now >= self.next_look:
            self.next_look = now + STOP_POLL_S
            self.seen = self.path.exists()
        return self.seen


class _RefereeActor(Referee):
    """The referee in a process of its own, beside the driver; needs no core of the trials."""


class _CohortSearcher(Searcher):
    """Hands cohorts to Tune and hears which of their processes died."""

    def __init__(self, job: Job, referee: Any) -> None:
        super().__init__()
        self.job, self.referee = job, referee
        self.running: dict[str, Cohort] = {}

    @property
    def queue(self) -> CohortQueue:
        return self.job.queue

    def suggest(self, trial_id: str) -> Any:
        """Return the next cohort's ids, None to be asked again, or FINISHED."""
        cohort = None if self.job.interrupted() else self.queue.next()
        if cohort is None:
            return None if self.running else Searcher.FINISHED
        self.running[trial_id] = cohort
        return {
            "cohort": cohort.id,
            "trials": " ".join(cohort.trial_ids),
            "cpus": cohort.share.cpus,
            "gpus": cohort.share.gpus,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take the end of a cohort; what is left of a dead one is tried again, one by one."""
        cohort = self.running.pop(trial_id)
        left = self._died(cohort.trial_ids) if error else []
        self.queue.split(cohort, left)

    def _died(self, trial_ids: Sequence[str]) -> list[str]:
        again: list[str] = ray.get(self.referee.died.remote(trial_ids, "its process died"))
        return again

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its searcher, and nobody reads that back."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is resumed from its ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is resumed from its ledger."""


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path

"""Cohorts on Ray Tune. The `ray_` modules of this package are the only importers of Ray.

Ray places cohorts on cores and GPUs and tells when one of their processes dies. A cohort is
one Ray Tune trial: a custom searcher hands out ids, the trial asks the referee, an actor
beside the driver, for its configs. Rows go to the referee without being waited for. Ray's own
records are scratch: they are never read and are removed at the end.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.executors import ray_environment

ray_environment.prepare()

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from orchestrator.cohort import Cohort, CohortQueue, has_room  # noqa: E402
from orchestrator.errors import ArbiterError, Exit, Problem  # noqa: E402
from orchestrator.executors import Job  # noqa: E402
from orchestrator.executors.oom_killer import OomKiller  # noqa: E402
from orchestrator.executors.outbox import Outbox  # noqa: E402
from orchestrator.executors.ray_cluster import (  # noqa: E402
    check_sees,
    dashboard_url,
    start_cluster,
    stop_cluster,
)
from orchestrator.executors.ray_metrics import Gauges  # noqa: E402
from orchestrator.referee import Referee  # noqa: E402
from orchestrator.shared_files import find  # noqa: E402
from trainer.disk import takes_no_more  # noqa: E402

if TYPE_CHECKING:
    from trainer.engines import Engine

STOP_POLL_S = 0.1

DRIVER_BYTES = 2**28
"""Memory that a trial of several processes holds; Tune places nothing that asks for nothing."""


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
            start_cluster(
                job.hardware, dashboard=job.execution.dashboard, name=job.directory.path.name
            )
        if job.execution.address is not None:
            check_sees(job.directory.ledger)
        if job.execution.dashboard:
            for line in how_to_look(dashboard_url()):
                job.notify(line)
        scratch = Path(tempfile.mkdtemp(prefix="ray-", dir=_made(job.directory.scratch)))
        referee: Any = None
        try:
            referee = (
                ray.remote(Referee)  # beside the driver; needs no core of the trials
                .options(
                    name=f"referee of {job.directory.path.name}",
                    enable_task_events=False,  # a task a row: nobody would find the cohorts
                    **beside_the_driver(),
                )
                .remote(job.directory.ledger, job.directory.path / "trials")
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
                stop_cluster()
            shutil.rmtree(job.directory.scratch, ignore_errors=True)

    def _tune(self, job: Job, referee: Any, scratch: Path) -> None:
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(job.hardware.cpus)
        searcher = _CohortSearcher(job, referee)
        trainable = tune.with_parameters(
            CohortTrainable,
            referee=referee,
            stop_file=str(job.directory.stop_file),
            scratch=str(scratch / "train"),
        )
        trainable.__qualname__ = "Cohort"  # the dashboard's word for the class
        # Memory of the last trial lingers on a GPU, and Ray's dashboard shows a process under
        # the name that it had at first: then each cohort has a fresh one.
        fresh = bool(job.hardware.gpus) or job.execution.dashboard
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=not fresh,
                trial_name_creator=lambda trial: trial.config["cohort"],
                trial_dirname_creator=lambda trial: trial.config["cohort"],
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[],
            ),
        )
        gauges = Gauges(job.directory, lambda: list(searcher.running.values()))
        with gauges if job.execution.dashboard else contextlib.nullcontext():
            try:
                tuner.fit()
            except tune.TuneError as error:  # which has what the searcher raised as text only
                raise searcher.refused or error from error


class CohortTrainable(tune.Trainable):
    """A cohort as Ray Tune sees it: one step, in a process of Ray's."""

    def setup(  # type: ignore[override]  # Tune calls it through `with_parameters`
        self, config: dict[str, Any], referee: Any, stop_file: str, scratch: str
    ) -> None:
        """Take what every cohort of the sweep is given."""
        self.referee, self.stop_file, self.scratch = referee, stop_file, Path(scratch)

    def step(self) -> dict[str, Any]:
        """Train the cohort to its end."""
        train = partial(train_cohort, self.config, self.referee, self.stop_file)
        if self.config["ranks"] > 1:
            from orchestrator.executors.ray_ranks import train_on_ranks

            train_on_ranks(self.config, self.scratch, train)
        else:
            train()
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Let the process train another cohort."""
        return True

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> Any:
        """Return what Ray reserves for a cohort, from the searcher's config."""
        if config["ranks"] > 1:  # Ray Train reserves what its processes need
            return tune.PlacementGroupFactory([{"memory": DRIVER_BYTES}])
        return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])

    def __repr__(self) -> str:
        """Return the name that Ray's dashboard shows."""
        return str(self.config["name"])


def train_cohort(
    config: dict[str, Any],
    referee: Any,
    stop_file: str,
    engine: str | Engine = "stacked",
    where: str | None = None,
) -> None:
    """Train one cohort; runs in a Ray worker.

    Args:
        config: `cohort`, its id; `trials`, ids with spaces between them; its share.
        referee: Handle of the referee's actor.
        stop_file: Exists once the sweep was asked to stop.
        engine: What computes; of several processes, their leader's.
        where: Processes and devices; None is this process and those that Ray gave it.
    """
    interrupted = _StopFile(Path(stop_file))
    if not interrupted():
        from trainer import fit

        ids = config["trials"].split()
        members = ray.get(referee.members.remote(ids))
        if where is None:
            devices = ",".join(str(gpu) for gpu in ray.get_gpu_ids())
            where = f"process {os.getpid()}" + (f", GPU {devices}" if devices else "")
        ray.get(referee.placed.remote(config["cohort"], ids, where))
        try:
            with Outbox(lambda reports: ray.get(referee.take.remote(reports))) as outbox:
                fit(members, outbox, engine=engine, interrupted=interrupted)
        except OSError as error:
            if takes_no_more(error):
                told = Problem(f"the disk refused: {error.strerror}", str(error.filename or ""))
                ray.get(referee.disk_refused.remote(told))
            raise


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


class _CohortSearcher(Searcher):
    """Hands cohorts to Tune and hears which of their processes died."""

    def __init__(self, job: Job, referee: Any) -> None:
        super().__init__()
        self.job, self.referee = job, referee
        self.running: dict[str, Cohort] = {}
        self.held: Cohort | None = None
        self.oom_killer = OomKiller()
        self.refused: ArbiterError | None = None

    @property
    def queue(self) -> CohortQueue:
        return self.job.queue

    def suggest(self, trial_id: str) -> Any:
        """Return the next cohort's ids, None to be asked again, or FINISHED."""
        cohort = None if self.job.interrupted() else self.held or self.queue.next()
        self.held = cohort
        if cohort is None:
            return None if self.running else Searcher.FINISHED
        most = self.job.execution.most_cohorts
        if most is not None and len(self.running) >= most:
            return None
        if not has_room(list(self.running.values()), cohort, self.job.hardware):
            return None
        self.held = None
        self.running[trial_id] = cohort
        return {
            "cohort": cohort.id,
            "name": cohort.name,
            "trials": " ".join(cohort.trial_ids),
            "cpus": cohort.share.cpus,
            "gpus": cohort.share.gpus,
            "ranks": cohort.share.ranks,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take the end of a cohort; what is left of a dead one is tried again, one by one."""
        cohort = self.running.pop(trial_id)
        left = self._died(cohort.trial_ids) if error else []
        self.queue.split(cohort, left)

    def _died(self, trial_ids: Sequence[str]) -> list[str]:
        why = self.oom_killer.why_died()
        try:
            again: list[str] = ray.get(self.referee.died.remote(trial_ids, why))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ArbiterError):
                self.refused = error.cause
            raise
        return again

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its searcher, and nobody reads that back."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is resumed from its ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is resumed from its ledger."""


def beside_the_driver() -> dict[str, Any]:
    """Return the options of an actor on this machine: a ledger is no file for two machines."""
    here = ray.get_runtime_context().get_node_id()
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    return {"scheduling_strategy": affinity(here, soft=False)}


def how_to_look(url: str | None) -> list[str]:
    """Return lines for a person: where the dashboard is, how to log in, who reads the gauges."""
    where = "the cluster has none (`ray start --head --include-dashboard=true`)"
    if url is not None:
        where = f"{url} (to log in: {ray_environment.how_to_log_in()})"
    gauges = shlex.quote(str(find("monitoring") / "prometheus.yml"))
    return [f"dashboard: {where}", f"gauges: prometheus --config.file={gauges} reads them"]


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path

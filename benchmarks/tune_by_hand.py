"""Ray Tune on the hand-written trials, as its documentation shows it. Prints the seconds.

    python -m benchmarks.tune_by_hand TRIALS REUSE

Run by `trial_price.py`. Two trials at a time, one core each, Tune's own loggers left on.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from typing import Any


def train(config: dict[str, Any]) -> None:
    """One trial."""
    from ray import tune

    from benchmarks.by_hand import train_tiny

    tune.report(train_tiny(config["seed"], config["weight_decay"]))


def main() -> None:
    """Run `TRIALS` trials."""
    n, reuse = int(sys.argv[1]), bool(int(sys.argv[2]))
    began = time.perf_counter()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    import ray
    from ray import tune

    from benchmarks.by_hand import DECAYS

    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=100_000_000,
    )
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            train,
            param_space={
                "weight_decay": tune.grid_search(list(DECAYS)[: min(n, len(DECAYS))]),
                "seed": tune.grid_search(list(range(max(1, n // len(DECAYS))))),
            },
            tune_config=tune.TuneConfig(reuse_actors=reuse),
            run_config=tune.RunConfig(name="by_hand", storage_path=folder, verbose=0),
        )
        results = tuner.fit()
    if len(results) != n or results.num_errors:
        raise RuntimeError(f"{len(results)} trials, {results.num_errors} failed: expected {n}, 0")
    ray.shutdown()
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()

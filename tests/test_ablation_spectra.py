"""What an ablation of spectra says of a term that helps and of a rule that cannot."""

from __future__ import annotations

import json
import os
from pathlib import Path

from orchestrator.errors import Exit
from tests.program import Program
from trainer.tasks.ariel.simulation import Recipe, simulate

GLL = "loss.composite.gll.weight"
LENSING = "symbolic.gravitational_lensing.enabled"


def test_a_term_that_helps_is_told_from_a_rule_that_cannot(program: Program) -> None:
    """The score is a likelihood, so a network trained without `gll` must be worse.

    No simulated planet is lensed: the rule changes what is trained, and has nothing to improve.
    """
    sky = Path(os.environ["ARBITER_HOME"]) / "sky"
    simulate(sky, Recipe(24, exposures=24, rows=1, fgs1_side=2, truth=False))
    program.name = "spectramind"
    done = program(
        *("ablate", "ablation.mode=leave-one-out", "ablation.seeds=5", "--executor", "inline"),
        *("-m", f"{GLL}=1.0,0.0", f"{LENSING}=true,false"),
        *(f"data.dataset_path={sky}", "data.frames=24", "data.folds=3", "data.views=4"),
        *("model.dim=8", "model.n_layers=1", "training.eval_interval=80"),
        *("checkpoint.enable=false", "logging.enable_tensorboard=false"),
        *("training.epochs=10", "training.batch_size=8", "training.learning_rate=0.01"),
    )
    assert done.code == Exit.OK
    page = json.loads((program.folder / "outputs/ablation_leaderboard.json").read_text())
    told = {(e["changed"][GLL] > 0, e["changed"][LENSING]): e for e in page["entries"]}
    assert told[True, True]["judgement"] == "baseline"

    without_term, without_rule = told[False, True], told[True, False]
    assert without_term["judgement"] == "worse"
    assert without_term["difference_high"] < 0 and without_term["p_corrected"] < 0.05

    assert without_rule["judgement"] == "not separable"  # it differs, and says nothing
    assert without_rule["difference_low"] < 0 < without_rule["difference_high"]
    assert without_rule["p_corrected"] >= 0.05
    assert without_rule["seed_values"] != told[True, True]["seed_values"]
    assert "A row again: spectramind train" in program("leaderboard").out

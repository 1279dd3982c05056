"""Short loss curves that were written down: what a config learns does not change unnoticed.

The numbers are the code's own, from the day they were written; nothing but the code can say
them. To write them again: `python -m tests.test_trainer_golden` in the checkout's root.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import trainer_help as help
from trainer import RunConfig
from trainer.identity import CODE_VERSION

GOLDEN = Path(__file__).parent / "golden" / "loss_curves.json"
EVERY = {"log_interval": 1, "enable_tensorboard": False}
DECODER = {"kind": "decoder", "dim": 8, "n_layers": 1, "n_heads": 2}
CURVES: dict[str, Callable[[str], RunConfig]] = {
    "corpus": lambda path: help.corpus(path, logging=EVERY),
    "corpus, deepnorm, dropout": lambda path: help.corpus(
        path, model={"norm_type": "deepnorm", "ffn": "gelu", "dropout": 0.1}, logging=EVERY
    ),
    "modular": lambda path: help.modular(logging=EVERY),
    "modular, decoder, minibatch": lambda path: help.modular(
        model=DECODER | {"norm_type": "none", "position": "learned"},
        training={"batch_size": 5, "schedule": "linear"},
        logging=EVERY,
    ),
}


def curve(name: str, folder: Path) -> list[float]:
    rows = help.run(CURVES[name](help.write_text(folder)), folder / "run")[1].rows()
    return [row["train/loss"] for row in rows.values()] + [rows[20]["val/loss"]]


@pytest.mark.parametrize("name", CURVES)
def test_a_config_learns_what_it_learned(name: str, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden["code_version"] == CODE_VERSION, "write the curves of this version down"
    assert curve(name, tmp_path) == pytest.approx(golden["curves"][name], abs=1e-4), (
        f"{name}: the same config learns something else. If that is meant, raise"
        " trainer.identity.CODE_VERSION, so that no trial of before is taken for one of now,"
        " and write the curves again: python -m tests.test_trainer_golden"
    )


if __name__ == "__main__":
    curves = {}
    for name in CURVES:
        with tempfile.TemporaryDirectory() as temporary:
            curves[name] = [round(loss, 6) for loss in curve(name, Path(temporary))]
    GOLDEN.write_text(json.dumps({"code_version": CODE_VERSION, "curves": curves}, indent=1) + "\n")

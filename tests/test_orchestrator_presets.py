"""The models of configs/model/: what each is, and how large it truly is."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.groups import options_of, place_of
from orchestrator.hardware import Hardware
from orchestrator.plan import make_plan
from orchestrator.request import Request
from orchestrator.shared_files import find
from trainer.config import DecoderConfig

CPU = Hardware(cpus=2)
PRESETS = {
    "theos_small": (1024, 80, "deepnorm", 1_359_118_336),
    "deep_narrow_60": (768, 60, "deepnorm", 578_906_112),
    "deep_narrow_80": (1024, 80, "deepnorm", 1_359_118_336),
    "deep_narrow_100": (1024, 100, "deepnorm", 1_694_703_616),
    "tower_of_truth": (512, 144, "deepnorm", 612_515_840),
    "baseline_standard": (2048, 32, "rmsnorm", 2_181_171_200),
    "wide_shallow": (2048, 32, "rmsnorm", 2_181_171_200),
    "high_res_arbiter": (1024, 24, "rmsnorm", 419_480_576),
    "microscope": (768, 12, "rmsnorm", 125_848_320),
}
"""Width, depth, arrangement, parameters."""
SMALL = {"small_decoder", "quadratic_mlp"}
"""Models of the grokking papers: their vocabulary is the task's."""


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_its_comment_says(name: str) -> None:
    dim, layers, norm, parameters = PRESETS[name]
    (trial,) = make_plan(Request(overrides=(f"model={name}",)), CPU).trials
    model = trial.config.model
    assert isinstance(model, DecoderConfig)
    assert (model.dim, model.n_layers, model.norm_type) == (dim, layers, norm)
    assert (model.name, model.vocab_size, trial.config.data.task) == (name, 8192, "corpus")
    assert model.dim // model.n_heads == (128 if dim == 2048 else 64)
    assert trial.parameters == parameters
    comment = (find("configs") / "model" / f"{name}.yaml").read_text().splitlines()[1]
    assert f" {parameters:,} parameters" in comment, place_of("model", name)


def test_every_preset_is_listed_above() -> None:
    assert set(options_of("model")) == PRESETS.keys() | SMALL


def test_the_microscope_of_the_contract_has_another_vocabulary() -> None:
    changed = ("model=microscope", "model.vocab_size=8000")
    (trial,) = make_plan(Request(overrides=changed), CPU).trials
    assert round(trial.parameters / 1e6, 1) == 125.6


def test_a_sweep_over_presets_names_them(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("[space]\nseeds = 2\n")
    names = "theos_small,deep_narrow_100,wide_shallow,microscope"
    request = Request(strategy=str(tmp_path / "t.toml"), overrides=(f"model={names}",))
    sizes = {t.changed["model"]: t.parameters for t in make_plan(request, CPU).trials}
    assert sizes == {name: PRESETS[name][3] for name in names.split(",")}

"""How any run is made small enough for two cores and a few minutes.

`--scale smoke` keeps the shape of a sweep (its axes and their order) and shrinks their
values by fixed rules, so that it also works on templates that were not written for it. A
template's `[scale.smoke]` table and the command line have the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.compose import Layer
from orchestrator.errors import Problem, UsageError
from orchestrator.space import Axis
from orchestrator.template import Scale, Template, make_axis, parse_seeds

STEPS = 150
WIDTH_RATIO = 16


def smoke_dim(dim: int) -> int:
    """Return the width: a sixteenth, in multiples of 8, and at least 16; small ones stay."""
    return dim if dim <= 128 else max(16, round(dim / WIDTH_RATIO / 8) * 8)


RULES: Mapping[str, Callable[[Any], Any]] = {
    "model.dim": smoke_dim,
    "model.n_layers": lambda n: n if n <= 4 else max(2, round(n / 10)),
    "model.n_heads": lambda n: min(n, 4),
    "model.ffn_dim": lambda n: n if n <= 512 else max(16, round(n / WIDTH_RATIO / 8) * 8),
    "model.vocab_size": lambda n: min(n, 512),
    "training.seq_len": lambda n: min(n, 64),
    "training.batch_size": lambda n: n if n == "full" else min(n, 8),
    "training.eval_tokens": lambda n: min(n, 8_192),
}
"""What a value becomes, by key."""

STEP_KEYS = (
    "training.warmup_steps",
    "training.eval_interval",
    "checkpoint.interval",
    "logging.log_interval",
)
"""Step counts that keep their share of the run."""


def scale(
    name: str, settings: Mapping[str, Any], template: Template | None, axes: tuple[Axis, ...]
) -> tuple[Layer, tuple[Axis, ...], tuple[int, ...] | None]:
    """Return what a scale sets, the axes as it tries them, and its seeds where it names some.

    Args:
        name: `smoke`, or a `[scale.NAME]` of the template.
        settings: What the run is without it: every dotted key, defaults included.
        template: The template, if there is one.
        axes: Its axes.

    Raises:
        UsageError: Neither this program nor the template knows the scale.
    """
    known = {"smoke", *(template.scales if template else {})}
    if name not in known:
        raise UsageError(
            Problem(f"no scale {name!r}: known are {', '.join(sorted(known))}", "--scale")
        )
    own = template.scales.get(name, Scale()) if template else Scale()
    place = f"--scale {name}"
    small: dict[str, tuple[Any, str]] = {}
    if name == "smoke":
        small, axes = _shrink(settings, axes, place)
    where = template.file.place(f"scale.{name}") if template else place
    small |= {key: (value, where) for key, value in own.settings.items()}
    replaced = {
        key: make_axis(key, values, where) for key, values in own.space.items() if key != "seeds"
    }
    axes = tuple(replaced.pop(axis.key, axis) for axis in axes) + tuple(replaced.values())
    seeds = parse_seeds(own.space["seeds"], where) if "seeds" in own.space else None
    return Layer(small), axes, seeds


def _shrink(
    settings: Mapping[str, Any], axes: tuple[Axis, ...], place: str
) -> tuple[dict[str, tuple[Any, str]], tuple[Axis, ...]]:
    by_axis = {axis.key: axis for axis in axes}

    def largest(key: str) -> Any:
        if key in by_axis:
            return max(by_axis[key].values)
        return settings.get(key)

    rules = dict(RULES)
    steps = largest("training.steps")
    if isinstance(steps, int) and steps > STEPS:

        def shorten(n: Any, ratio: float = STEPS / steps) -> Any:
            return max(1, round(n * ratio)) if n else n

        rules |= dict.fromkeys(("training.steps", *STEP_KEYS), shorten)
        # A run this short is still worth ten rows, five evaluations and three checkpoints.
        rules["logging.log_interval"] = lambda n: min(n, STEPS // 10)
        rules["training.eval_interval"] = lambda n: max(shorten(n), STEPS // 5)
        rules["checkpoint.interval"] = lambda n: max(shorten(n), STEPS // 3)
    dim = largest("model.dim")
    if isinstance(dim, int) and smoke_dim(dim) < dim:
        # Adam's best rate goes as 1 / width (Yang et al. 2022, arXiv 2203.03466).
        rules["training.learning_rate"] = lambda rate: rate * dim / smoke_dim(dim)

    def shrunk(key: str, value: Any) -> Any:
        usable = value is not None and (isinstance(value, int | float) or value == "full")
        return rules[key](value) if key in rules and usable else value

    small = {
        key: (shrunk(key, value), place)
        for key, value in settings.items()
        if shrunk(key, value) != value
    }
    return small, tuple(
        Axis(axis.key, tuple(shrunk(axis.key, v) for v in axis.values), axis.source)
        for axis in axes
    )

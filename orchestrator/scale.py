"""How any run is made small enough for two cores and a few minutes.

`--scale smoke` keeps the shape of a sweep (its axes and their order) and shrinks their
values by fixed rules, so that it also works on templates that were not written for it. A
template's `[scale.smoke]` table and the command line have the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from orchestrator.axis import Axis
from orchestrator.compose import Layer
from orchestrator.errors import Problem, UsageError, nearest
from orchestrator.group_axis import with_options
from orchestrator.interval import Interval
from orchestrator.space import space_of
from orchestrator.space_table import make_axis, parse_seeds
from orchestrator.template import Scale, Template

STEPS = 150
SMOKE_WIDTH, WIDTH_RATIO = 64, 16


def smoke_dim(dim: int, widest: int) -> int:
    """Return the width of a small run.

    The widest of a sweep becomes 64, or a sixteenth where that is more; the others keep their
    ratio to it, in multiples of 8.
    """
    if widest <= SMOKE_WIDTH:
        return dim
    return max(8, round(dim * max(SMOKE_WIDTH, widest / WIDTH_RATIO) / widest / 8) * 8)


CAPS: Mapping[str, int] = {
    "model.vocab_size": 512,
    "model.ffn_dim": 512,
    "training.seq_len": 64,
    "training.batch_size": 8,
    "training.eval_tokens": 8_192,
    "training.epochs": 2,
    "data.planets": 12,
}
"""Values that are cut to at most this; those of an axis keep their ratios."""

SMALLEST_VOCABULARY = 320
"""A byte-level BPE starts from 256 symbols; below this it would learn next to nothing."""

STEP_KEYS = (
    "training.warmup_steps",
    "training.eval_interval",
    "checkpoint.interval",
    "logging.log_interval",
)
"""Step counts that keep their share of the run."""


def scale(
    name: str,
    settings: Mapping[str, Any],
    template: Template | None,
    axes: tuple[Axis, ...],
    fixed: Mapping[str, Any],
) -> tuple[Layer, tuple[Axis, ...], tuple[int, ...] | None]:
    """Return what a scale sets, the axes as it tries them, and its seeds where it names some.

    Args:
        name: `smoke`, or a `[scale.NAME]` of the template.
        settings: What the run is without it: every dotted key, defaults included.
        template: The template, if there is one.
        axes: Its axes.
        fixed: What the command line sets: the last word, so other values are made to fit it.

    Raises:
        UsageError: Neither this program nor the template knows the scale, or two values of an
            axis would become one.
    """
    known = {"smoke", *(template.scales if template else {})}
    if name not in known:
        raise UsageError(
            Problem(
                f"no scale {name!r}{nearest(name, known)}",
                "--scale",
                f"one of {', '.join(sorted(known))}",
            )
        )
    own = template.scales.get(name, Scale()) if template else Scale()
    small: dict[str, tuple[Any, str]] = {}
    if name == "smoke":
        replaced = {*own.space, *fixed}
        small, axes = _shrink(settings, axes, {**own.settings, **fixed}, replaced)

    def place(key: str) -> str:
        return template.file.place(f"scale.{name}.{key}") if template else f"--scale {name}"

    small |= {key: (value, place(key)) for key, value in own.settings.items()}
    listed = {
        key: with_options(make_axis(key, values, place(f"space.{key}")), fixed)[0]
        for key, values in own.space.items()
        if key != "seeds"
    }
    axes = space_of([*axes, *listed.values()]).axes
    seeds = None
    if "seeds" in own.space:
        seeds = parse_seeds(own.space["seeds"], place("space.seeds"))
    return Layer(small), axes, seeds


def _shrink(
    settings: Mapping[str, Any],
    axes: tuple[Axis, ...],
    given: Mapping[str, Any],
    replaced: Collection[str],
) -> tuple[dict[str, tuple[Any, str]], tuple[Axis, ...]]:
    """Return the settings that become smaller, and the axes with smaller values.

    Args:
        settings: Every dotted key of the full run.
        axes: Of the full sweep.
        given: Values that somebody chose for this scale.
        replaced: Axes that somebody chose values of for this scale; they stay as they are.
    """
    by_axis = {axis.key: axis for axis in axes}

    def largest(key: str) -> Any:
        values = by_axis[key].numbers if key in by_axis else (settings.get(key),)
        values = (*values, *(v for axis in axes for v in axis.values_of(key) if axis.options))
        numbers = [v for v in values if type(v) is int and v > 0]
        return max(numbers, default=None)

    rules: dict[str, Callable[[Any], Any]] = {}
    for key, cap in CAPS.items():
        ratio = min(1.0, cap / (largest(key) or cap))
        rules[key] = partial(_times, ratio, SMALLEST_VOCABULARY if "vocab" in key else 1)
    rules["model.n_layers"] = lambda n: n if n <= 4 else max(2, round(n / 10))
    steps = largest("training.steps")
    counts_epochs = settings.get("training.epochs") is not None
    if steps is not None and steps > STEPS and not counts_epochs:
        final = given.get("training.steps", STEPS)
        short = final if isinstance(final, int) else STEPS
        rules["training.steps"] = partial(_times, STEPS / steps, 1)
        rules |= dict.fromkeys(STEP_KEYS, partial(_times, short / steps, 1))
        # A run this short is still worth ten rows, five evaluations and three checkpoints.
        for key, parts in (("training.eval_interval", 5), ("checkpoint.interval", 3)):
            rules[key] = partial(_times, short / steps, max(1, short // parts))
        rules["logging.log_interval"] = lambda n: min(n, max(1, short // 10))
    dim = largest("model.dim")
    if dim is not None and smoke_dim(dim, dim) < dim:
        rules["model.dim"] = partial(smoke_dim, widest=dim)
        rules["model.ffn_dim"] = lambda n: max(8, round(n * smoke_dim(dim, dim) / dim / 8) * 8)
        heads = largest("model.n_heads") or 1
        rules["model.n_heads"] = lambda n: _power_of_two(n * min(1.0, 4 / heads))
        final_dim = given.get("model.dim", smoke_dim(dim, dim))
        narrow = final_dim if isinstance(final_dim, int) and final_dim > 0 else smoke_dim(dim, dim)
        # Adam's best rate goes as 1 / width (Yang et al. 2022, arXiv 2203.03466).
        rules["training.learning_rate"] = lambda rate: rate * dim / narrow

    def shrunk(key: str, value: Any) -> Any:
        """Leave alone what is no valid value, so that it is still refused as it was given."""
        kinds = (int, float) if key == "training.learning_rate" else (int,)
        return rules[key](value) if key in rules and type(value) in kinds and value > 0 else value

    small = {
        key: (shrunk(key, value), "--scale smoke")
        for key, value in settings.items()
        if shrunk(key, value) != value
    }
    if settings.get("data.planets", 0) is None:  # all of them
        small["data.planets"] = (CAPS["data.planets"], "--scale smoke")
    tried = tuple(axis if axis.key in replaced else _shrunk_axis(axis, shrunk) for axis in axes)
    tried = tuple(  # a condition speaks of the values that are tried
        replace(
            axis,
            when={
                key: values if key in {*replaced, *given} else [shrunk(key, v) for v in values]
                for key, values in axis.when.items()
            },
        )
        for axis in tried
    )
    problems = [
        Problem(
            f"axis {new.key}: --scale smoke makes {_shown(old)} into {_shown(new)},"
            " expected values that differ",
            old.source,
            f"[scale.smoke.space] {new.key.rpartition('.')[2]} = […], or {new.key}=… on the"
            " command line",
        )
        for old, new in zip(axes, tried, strict=True)
        if _fewer(old, new)
    ]
    if problems:
        raise UsageError(*problems)
    return small, tried


def _times(ratio: float, least: int, n: int) -> int:
    """Return n times a ratio, at least `least` and never more than n."""
    return min(n, max(least, round(n * ratio)))


def _power_of_two(n: float) -> int:
    """Return the largest power of two that is at most n, and at least 1."""
    return 1 << max(0, int(n).bit_length() - 1)


def _shrunk_axis(axis: Axis, shrunk: Callable[[str, Any], Any]) -> Axis:
    """Return an axis with its values, the ends of its range or its options made smaller."""
    if axis.options is not None:
        options = {
            name: {key: shrunk(key, value) for key, value in settings.items()}
            for name, settings in axis.options.items()
        }
        return replace(axis, options=options)
    rule = partial(shrunk, axis.key)
    if axis.interval is None:
        return replace(axis, values=tuple(map(rule, axis.values)))
    interval = axis.interval.scaled(rule)
    return replace(axis, values=interval.values if _spans(interval) else (), interval=interval)


def _spans(interval: Interval) -> bool:
    return interval.low < interval.high


def _fewer(old: Axis, new: Axis) -> bool:
    """Return whether values that differ have become one; a range may lose some, not all."""
    if new.interval is not None:
        return not _spans(new.interval)
    return len(set(map(repr, new.values))) < len(set(map(repr, old.values)))


def _shown(axis: Axis) -> str:
    if axis.interval is not None:
        return f"{axis.interval.low} to {axis.interval.high}"
    return ", ".join(str(value) for value in axis.values)

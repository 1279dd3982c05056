"""How a run is executed: what is chosen and why, and that none of it changes what is learned."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests import trainer_help as help
from trainer import Reason, RunConfig
from trainer.computation import Choice, Computation, attention_kernel, computation_of
from trainer.engines import make_engine
from trainer.evaluation.subject import load
from trainer.models import build_model
from trainer.tasks import Task, build_task

DECODER = {"kind": "decoder", "dim": 8, "n_layers": 2, "n_heads": 2}
DEEP = {"kind": "decoder", "dim": 1024, "n_layers": 80, "n_heads": 16, "norm_type": "deepnorm"}


def decoder(tier: dict[str, Any] | None = None, **sections: dict[str, Any]) -> RunConfig:
    return help.modular(model=DECODER, tier=tier or {}, **sections)


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, tier: dict[str, Any], **sections: Any) -> Computation:
    """Return what would be done on a GPU; which kernel it has is not asked."""
    monkeypatch.setattr("trainer.computation.attention_kernel", lambda *_: Choice("flash"))
    base: dict[str, Any] = {"model": DEEP, "training": {"seq_len": 512}}
    config = RunConfig.model_validate(
        {name: base.get(name, {}) | sections.get(name, {}) for name in base}
        | {"tier": {"device": "cuda", "precision": "bf16"} | tier}
    )
    assert isinstance(config.training.batch_size, int)
    how = computation_of(config, 8192, config.training.batch_size * 512)
    assert how is not None
    return how


# What is chosen


@pytest.mark.parametrize(
    ("precision", "dropout", "asked", "used", "why"),
    [
        ("fp32", 0.0, "auto", "flash", "torch's choice"),
        ("bf16", 0.1, "auto", "math", "torch's choice"),
        ("fp16", 0.0, "flash", "flash", ""),
        ("fp32", 0.0, "math", "math", ""),
        ("bf16", 0.0, "efficient", "flash", "not efficient: a CPU has none"),
        ("fp32", 0.1, "flash", "math", "not flash: Both fused kernels do not support non-zero"),
    ],
)
def test_the_kernel_is_the_one_asked_for_or_there_is_a_reason(
    precision: str, dropout: float, asked: str, used: str, why: str
) -> None:
    choice = attention_kernel("cpu", precision, 8, dropout, asked)
    assert choice.value == used and choice.why.startswith(why) and bool(why) == bool(choice.why)


def test_a_kernel_that_cannot_be_used_is_replaced_in_training_too(tmp_path: Path) -> None:
    model = DECODER | {"dropout": 0.1}
    config = help.modular(model=model, tier={"attention": "flash"}, training={"steps": 3})
    result, _ = help.run(config, tmp_path)
    assert result.reason is Reason.FINISHED, result.detail
    assert (tmp_path / "log.txt").read_text().startswith("from step 0: attention math (not flash: ")


def test_a_kernel_that_cannot_be_used_is_replaced_in_an_evaluation_too(tmp_path: Path) -> None:
    config = help.corpus(help.write_text(tmp_path), tier={"attention": "efficient"})
    help.run(config, tmp_path / "run")
    (newest, *_) = sorted((tmp_path / "run" / "checkpoints").iterdir(), reverse=True)
    subject = load(newest, config)
    assert subject.model(torch.zeros(1, 8, dtype=torch.int64)).shape[:2] == (1, 8)


def test_a_model_without_a_choice_says_nothing(tmp_path: Path) -> None:
    config = help.modular()
    assert computation_of(config, 8, 3) is None
    help.run(config, tmp_path)
    assert not (tmp_path / "log.txt").exists()


def test_a_cpu_does_not_compile_by_itself_and_says_why() -> None:
    how = computation_of(decoder({"tf32": True}), 8, 60)
    assert how is not None and not (how.compiled or how.graphed)
    assert str(how) == (
        "attention flash (torch's choice); recomputation off; compilation off (on a CPU it takes 10"
        " to 20 s and gains a tenth at most); cuda graphs off (no GPU); tf32 off (no GPU)"
    )
    asked = computation_of(decoder({"compile": True}), 8, 60)
    assert asked is not None and str(asked.compilation) == "on"


@pytest.mark.parametrize(
    ("tier", "sections", "compilation", "graphs"),
    [
        (
            {"micro_batch": 4},
            {"training": {"steps": 10_000}},
            "on (about 2.0 h of training)",
            "on (2,048 tokens a pass: the GPU waits for launches)",
        ),
        (
            {"micro_batch": 32},
            {"training": {"steps": 200, "batch_size": 32}},
            "off (about 282 s of training do not repay a minute of it)",
            "off (16,384 tokens a pass keep the GPU busy)",
        ),
        ({}, {"training": {"steps": 10}}, "off (about 7 s", "off (10 steps)"),
        ({"compile": "off"}, {"training": {"steps": 10_000}}, "off", "off (compile is off)"),
        ({"compile": "on"}, {"training": {"steps": 10}}, "on", "on"),
        ({"gpus": 2.0}, {}, "off (2 processes train one model)", "off (2 processes train one"),
        (
            {},
            {"model": {"dropout": 0.1}},
            "on (about 0.2 h",
            "off (dropout draws anew in each pass)",
        ),
    ],
)
def test_a_gpu_compiles_and_records_where_it_pays(
    monkeypatch: pytest.MonkeyPatch,
    tier: dict[str, Any],
    sections: dict[str, Any],
    compilation: str,
    graphs: str,
) -> None:
    how = on_a_gpu(monkeypatch, tier, **sections)
    assert str(how.compilation).startswith(compilation)
    assert str(how.cuda_graphs).startswith(graphs)


# TF32


class Watched:
    """A task that notes the process's switch at each batch."""

    def __init__(self, task: Task, seen: list[str]) -> None:
        self.task, self.seen = task, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batch(self, step: int) -> Any:
        self.seen.append(torch.backends.cuda.matmul.fp32_precision)
        return self.task.batch(step)


def test_tf32_is_a_members_own_and_does_not_leak() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    engine, seen = make_engine("stacked"), {"on": [], "off": []}  # type: ignore[var-annotated]
    for key, noted in seen.items():
        config = decoder({"tf32": key == "on"})
        engine.add(key, config, Watched(build_task(config), noted))  # type: ignore[arg-type]
    for key in ("on", "off", "on"):
        engine.advance([key], [0], 2, lambda *_: True)
        assert torch.backends.cuda.matmul.fp32_precision == before
    assert seen == {"on": ["tf32"] * 4, "off": ["ieee"] * 2}


# Recomputation


class Living(TorchDispatchMode):
    """Counts the bytes of the tensors made inside that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.known = 0, weakref.WeakKeyDictionary[Any, int]()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **kwargs or {})
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in self.known:
                storage = tensor.untyped_storage()
                self.known[storage] = storage.nbytes()
        return result

    def count(self) -> int:
        return sum(self.known.values())


def forward_and_backward(recomputation: str) -> tuple[int, list[torch.Tensor]]:
    """Return the bytes alive between the passes, and all gradients."""
    model = {"dim": 32, "n_layers": 2, "n_heads": 2, "norm_type": "deepnorm"}
    settings = RunConfig.model_validate(
        {
            "model": model,
            "training": {"seq_len": 32},
            "tier": {"activation_checkpointing": recomputation},
        }
    )
    network = build_model(settings, 11)
    text = torch.randint(0, 11, (8, 32), generator=torch.Generator().manual_seed(2))
    with Living() as living:
        loss = F.cross_entropy(network(text).flatten(0, 1), text.flatten())
        alive = living.count()
    torch.autograd.backward(loss)
    return alive, [p.grad for p in network.parameters() if p.grad is not None]


def test_recomputation_gives_the_same_gradients_and_keeps_less() -> None:
    kept, grads = forward_and_backward("off")
    kept_some, grads_some = forward_and_backward("selective")
    kept_least, grads_least = forward_and_backward("full")
    for one, two, three in zip(grads, grads_some, grads_least, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    assert kept_least < 0.35 * kept_some and kept_some < 0.8 * kept


# torch.compile and CUDA graphs


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own doings
def test_the_compiler_can_read_the_switch_of_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Any:
        seen.append(torch.get_float32_matmul_precision())  # as torch's own does on a GPU
        return graph.forward

    compile_with = partialmethod(torch.nn.Module.compile, backend=backend)
    monkeypatch.setattr(torch.nn.Module, "compile", compile_with)
    engine, config = make_engine("solo"), decoder({"compile": "on", "tf32": True})
    engine.add("a", config, build_task(config))
    (done,) = engine.advance(["a"], [0], 1, lambda *_: True)
    assert done.error is None and seen and set(seen) == {"high"}
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_blocks_that_cannot_be_compiled_are_computed_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backend(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler")

    _, plain = help.run(decoder(training={"steps": 6}), tmp_path / "plain")
    compile_with = partialmethod(torch.nn.Module.compile, backend=backend)
    monkeypatch.setattr(torch.nn.Module, "compile", compile_with)
    with pytest.warns(
        UserWarning, match="compilation off .the blocks cannot be compiled: Failed to find"
    ):
        result, other = help.run(decoder({"compile": "on"}, training={"steps": 6}), tmp_path / "on")
    assert result.reason is Reason.FINISHED, result.detail
    assert other.rows() == plain.rows()


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own doings
def test_a_member_that_leaves_takes_its_compiled_model_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compile_with = partialmethod(torch.nn.Module.compile, backend="eager")
    monkeypatch.setattr(torch.nn.Module, "compile", compile_with)
    engine, config = make_engine("solo"), decoder({"compile": "on"})
    engine.add("a", config, build_task(config))
    engine.advance(["a"], [0], 1, lambda *_: True)
    weights = [weakref.ref(parameter) for parameter in engine.units["a"].parameters]  # type: ignore[attr-defined]
    engine.remove("a")
    assert not any(ref() is not None for ref in weights)


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own doings
def test_compiled_blocks_learn_the_same_and_leave_an_ordinary_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    # All of torch.compile but its last part, which has a C++ compiler work for half a minute.
    compile_with = partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", compile_with)
    sections = {"training": {"steps": 6, "eval_interval": 3}, "checkpoint": {"interval": 3}}
    results = {
        compile: help.run(decoder({"compile": compile}, **sections), tmp_path / compile)
        for compile in ("off", "on")
    }
    (_, plain), (result, compiled) = results.values()
    assert result.reason is Reason.FINISHED, result.detail
    assert counters["stats"]["unique_graphs"] == 1  # two blocks, one region; no evaluation
    for step, row in plain.rows().items():
        assert compiled.rows()[step] == pytest.approx(row, rel=1e-4, abs=1e-5)
    one, other = (help.newest(tmp_path / name).model for name in ("off", "on"))
    assert one.keys() == other.keys()


class Recomputing:
    """Stands where there is no GPU for a recorded pass: computes instead of replaying."""

    def __init__(self, compute: Any, parameters: Any, inputs: Any, targets: Any) -> None:
        compute(inputs, targets)  # the warm-up leaves gradients behind
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.grads = [parameter.grad for parameter in parameters]
        self.compute, self.parameters, self.shape = compute, parameters, inputs.shape
        self.replays = 0

    def fits(self, inputs: torch.Tensor) -> bool:
        return bool(inputs.shape == self.shape)

    def __call__(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.replays += 1
        loss: torch.Tensor = self.compute(inputs, targets)
        pairs = zip(self.parameters, self.grads, strict=True)
        assert all(parameter.grad is grad for parameter, grad in pairs)  # a graph has addresses
        return loss


def test_a_step_around_a_recorded_pass_is_the_plain_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = decoder({"micro_batch": 10}, training={"steps": 6})  # 25 pairs: 10, 10 and 5
    _, plain = help.run(config, tmp_path / "plain")
    monkeypatch.setattr("trainer.computation._cuda_graphs", lambda *_: Choice("on"))
    monkeypatch.setattr("trainer.engines.solo.CapturedPass", Recomputing)
    _, recorded = help.run(config, tmp_path / "recorded")
    assert recorded.rows() == plain.rows()


def test_a_pass_that_cannot_be_recorded_is_computed_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(compute: Any, *_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    config = decoder(training={"steps": 6})
    _, plain = help.run(config, tmp_path / "plain")
    monkeypatch.setattr("trainer.computation._cuda_graphs", lambda *_: Choice("on"))
    monkeypatch.setattr("trainer.engines.solo.CapturedPass", refuses)
    with pytest.warns(UserWarning, match="cuda graphs off .the pass cannot be recorded: operation"):
        _, other = help.run(config, tmp_path / "other")
    assert other.rows() == plain.rows()

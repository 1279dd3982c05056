"""The quick evaluation of a checkpoint: what it knows, what it learned by heart, how it computes.

Read `quick.py` first: `evaluate`, which runs the parts in order. Each part is one file:
`likelihood`, `memorisation`, `probes` (questions read by `probe_file`), `activations`,
`attention`. `subject.py` loads the checkpoint, `continuation.py` lets it go on with a text,
`result.py` says what comes out.

    from trainer.evaluation import evaluate
    evaluation = evaluate(Path("…/checkpoints/step-000000500"), config)
    evaluation.passed, evaluation.gates, evaluation.to_dict()

torch is imported with `evaluate`, not with the results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer.evaluation.result import Evaluation, Gate

if TYPE_CHECKING:
    from trainer.evaluation.quick import evaluate

__all__ = ["Evaluation", "Gate", "evaluate"]


def __getattr__(name: str) -> Any:
    if name == "evaluate":
        from trainer.evaluation.quick import evaluate

        return evaluate
    raise AttributeError(f"module 'trainer.evaluation' has no attribute {name!r}")

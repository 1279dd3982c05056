"""What of its text a model knows by heart: seen against unseen continuations.

Prefixes are drawn from the text that was trained on and from held-out text; the model goes on
greedily, and what it says is compared with what stands there. An exact match is the run of
tokens from the end of the prefix that are all reproduced; a prefix is extractable when that is
the whole continuation (Carlini et al. 2023, arXiv 2202.07646).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from trainer.evaluation.continuation import greedy
from trainer.evaluation.result import NotApplicableError
from trainer.evaluation.subject import Subject
from trainer.seeds import Stream, generator


def measure(subject: Subject) -> dict[str, Any]:
    """Return accuracy and exact matches on seen and unseen text, and the gap between them.

    Raises:
        NotApplicableError: The task has no text, or a split is shorter than one continuation.
    """
    asked, corpus = subject.config.evaluation, subject.corpus
    if corpus is None:
        raise NotApplicableError("task modular has no text to continue")
    length = asked.prefix_tokens + asked.continuation_tokens
    texts = {"seen": corpus.splits["train"], "unseen": corpus.splits["val"]}
    for name, text in texts.items():
        if len(text) < length:
            raise NotApplicableError(
                f"the {name} text has {len(text)} tokens, a prefix and its continuation {length}"
            )
    values: dict[str, Any] = {}
    for index, (name, text) in enumerate(texts.items()):
        draw = generator(0, Stream.EVALUATION, index)
        count = min(asked.prefixes, len(text) - length + 1)
        starts = np.sort(draw.choice(len(text) - length + 1, size=count, replace=False))
        windows = torch.from_numpy(text[starts[:, None] + np.arange(length)].astype(np.int64))
        prefixes, truth = windows[:, : asked.prefix_tokens], windows[:, asked.prefix_tokens :]
        values[name] = _agreement(greedy(subject, prefixes, truth.shape[1]), truth)
    values["gap"] = values["seen"]["accuracy"] - values["unseen"]["accuracy"]
    return values


def _agreement(said: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """Compare continuations (prefixes, tokens) with what stands in the text."""
    same = said == truth
    exact = same.long().cumprod(dim=1).sum(dim=1)  # (prefixes,) tokens up to the first mistake
    return {
        "prefixes": len(truth),
        "tokens": truth.shape[1],
        "accuracy": float(same.double().mean()),
        "exact_match_mean_tokens": float(exact.double().mean()),
        "exact_match_longest_tokens": int(exact.max()),
        "extractable_frac": float((exact == truth.shape[1]).double().mean()),
    }

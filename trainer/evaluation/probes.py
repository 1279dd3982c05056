"""Questions that are answered by likelihood: the candidate that the model finds likeliest.

A candidate's score is the sum of log p of its tokens after the prompt; beside it, that sum over
its UTF-8 bytes, which does not favour short candidates. Candidates that fp32 cannot tell apart
share their ranks, so a model that knows nothing is at chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from trainer.errors import InputError
from trainer.evaluation.probe_file import Probe, ProbeSet
from trainer.evaluation.result import NotApplicableError
from trainer.evaluation.subject import Subject

EQUAL = 1e-6
"""Relative difference below which two scores are equal."""
ROWS = 32
"""Candidates a batch."""


Row = tuple[torch.Tensor, int]
"""A candidate behind its prompt, (time,), and how many tokens of it are the candidate's."""


def encode(subject: Subject, asked: ProbeSet | NotApplicableError) -> list[Row]:
    """Return a row for each candidate of each probe; none where there are no probes.

    Raises:
        InputError: A candidate is longer than a sequence, or has unknown characters.
    """
    if isinstance(asked, NotApplicableError):
        return []
    return [row for probe in asked.probes for row in _rows(subject, probe, asked.name)]


def measure(
    subject: Subject, asked: ProbeSet | NotApplicableError, rows: Sequence[Row]
) -> dict[str, Any]:
    """Return accuracy, mean reciprocal rank and chance level, of all and of each group.

    Args:
        subject: The model.
        asked: The probes, or why there are none.
        rows: From `encode`.

    Raises:
        NotApplicableError: There are no probes for this text.
    """
    if isinstance(asked, NotApplicableError):
        raise asked
    sums = _log_likelihoods(subject, rows)
    results: dict[str, list[dict[str, float]]] = {"all": []}
    first = 0
    for probe in asked.probes:
        own = sums[first : first + len(probe.candidates)]
        first += len(own)
        lengths = [len(candidate.encode()) for candidate in probe.candidates]
        per_byte = [score / length for score, length in zip(own, lengths, strict=True)]
        result = {"chance": 1 / len(own)}
        for suffix, scores in (("", own), ("_per_byte", per_byte)):
            right, reciprocal = standing(scores, probe.answer)
            result[f"accuracy{suffix}"], result[f"mean_reciprocal_rank{suffix}"] = right, reciprocal
        results["all"].append(result)
        if probe.group:
            results.setdefault(f"group {probe.group}", []).append(result)
    values: dict[str, Any] = {"set": asked.name, "sha256": asked.sha256}
    for name, group in results.items():
        values[name] = {"probes": len(group)} | {
            key: math.fsum(result[key] for result in group) / len(group) for key in group[0]
        }
    return values


def standing(scores: Sequence[float], answer: int) -> tuple[float, float]:
    """Return the chance that the answer is first, and its expected 1 / rank, equals at random."""
    own = scores[answer]
    equal = sum(math.isclose(score, own, rel_tol=EQUAL) for score in scores)
    above = sum(score > own and not math.isclose(score, own, rel_tol=EQUAL) for score in scores)
    ranks = range(above + 1, above + equal + 1)
    return (0.0 if above else 1 / equal), math.fsum(1 / rank for rank in ranks) / equal


def _rows(subject: Subject, probe: Probe, name: str) -> list[Row]:
    """Return each candidate behind the prompt, (time,) cut to a sequence, and its tokens."""
    assert subject.corpus is not None
    place, most = f"{name}:{probe.line}", subject.corpus.seq_len
    prompt = torch.from_numpy(subject.encode(probe.prompt, f"{place}: prompt"))
    rows = []
    for candidate in probe.candidates:
        tokens = torch.from_numpy(subject.encode(candidate, f"{place}: candidate {candidate!r}"))
        if len(tokens) > most:
            raise InputError(
                f"{place}: candidate {candidate!r} has {len(tokens)} tokens: the model reads"
                f" sequences of {most}"
            )
        rows.append((torch.cat([prompt, tokens])[-(most + 1) :], len(tokens)))
    return rows


@torch.inference_mode()
def _log_likelihoods(subject: Subject, rows: Sequence[Row]) -> list[float]:
    """Return log p of the last tokens of each row, given those before, in nats."""
    sums = []
    for first in range(0, len(rows), ROWS):
        batch = rows[first : first + ROWS]
        longest = max(len(tokens) for tokens, _ in batch)
        # What is padded stands behind: under a causal mask nothing before it sees it.
        inputs = torch.stack([F.pad(tokens, (0, longest - len(tokens))) for tokens, _ in batch])
        log_p = subject.logits(inputs[:, :-1]).log_softmax(-1).cpu()
        for row, (tokens, n) in zip(log_p, batch, strict=True):
            end = len(tokens) - 1
            chosen = row[end - n : end].gather(-1, tokens[-n:, None])
            sums.append(float(chosen.double().sum()))
    return sums

"""Let a model go on with a text: greedily, or with tokens drawn from its distribution."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from trainer.config import RunConfig
from trainer.evaluation.subject import Subject, load
from trainer.seeds import Stream, torch_generator

PROMPT_TOKENS = 64
"""Most tokens of the prompt that is taken where none is given."""
LOOKED_AT = 1024
"""Tokens of the held-out text in which a line is looked for."""


def greedy(subject: Subject, prefixes: torch.Tensor, tokens: int) -> torch.Tensor:
    """Return the likeliest next token, and the one after it, and so on.

    Args:
        subject: The model.
        prefixes: (batch, time), at least one token each.
        tokens: How many to add.

    Returns:
        (batch, tokens), on the CPU.
    """
    text = prefixes
    for _ in range(tokens):
        text = torch.cat([text, _next(subject, text).argmax(-1, keepdim=True)], dim=1)
    return text[:, prefixes.shape[1] :]


def sample(
    subject: Subject,
    prompt: torch.Tensor,
    tokens: int,
    *,
    temperature: float,
    top_k: int | None,
    seed: int,
    index: int = 0,
) -> torch.Tensor:
    """Return one continuation; the same for the same seed and index, whatever the others are.

    Args:
        subject: The model.
        prompt: (time,), at least one token.
        tokens: How many to add.
        temperature: Divides the logits; 0 takes the likeliest token.
        top_k: Only that many of the likeliest tokens are drawn from; none: all.
        seed: Of the draws.
        index: Which of several continuations it is.

    Returns:
        (tokens,), on the CPU.
    """
    draw = torch_generator(seed, Stream.SAMPLE, index)
    text = prompt[None]
    for _ in range(tokens):
        logits = _next(subject, text)
        if temperature == 0:
            token = logits.argmax(-1, keepdim=True)
        else:
            if top_k is not None and top_k < logits.shape[-1]:
                least = logits.topk(top_k).values[:, -1:]
                logits = logits.masked_fill(logits < least, -math.inf)
            chances = ((logits - logits.max()).double() / temperature).softmax(-1)
            token = torch.multinomial(chances, 1, generator=draw)
        text = torch.cat([text, token], dim=1)
    return text[0, len(prompt) :]


def continue_text(
    checkpoint: Path,
    config: RunConfig,
    prompt: str | None,
    tokens: int,
    *,
    temperature: float = 0.8,
    top_k: int | None = None,
    seed: int = 0,
    count: int = 1,
) -> list[tuple[str, str]]:
    """Return how a checkpoint goes on with a text, as (prompt, continuation) each.

    Args:
        checkpoint: A `step-…` folder.
        config: What it was trained with, on task corpus.
        prompt: Any text that is not empty; None takes the beginning of the held-out text.
        tokens: How many to add.
        temperature: Divides the logits; 0 takes the likeliest token.
        top_k: Only that many of the likeliest tokens are drawn from; none: all.
        seed: Of the draws.
        count: How many continuations.

    Raises:
        InputError: As `trainer.evaluation.subject.load`, or the prompt has characters that are
            no symbols of the tokenizer.
    """
    subject = load(checkpoint, config)
    symbols = (
        opening(subject)
        if prompt is None
        else torch.from_numpy(subject.encode(prompt, "the prompt"))
    )
    said = subject.tokenizer.decode(symbols.tolist())
    texts = []
    for index in range(count):
        more = sample(
            subject,
            symbols,
            tokens,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            index=index,
        )
        whole = subject.tokenizer.decode(torch.cat([symbols, more]).tolist())
        # A prompt that was cut inside of a character ends in it once more is known.
        cut = next(
            (i for i, (a, b) in enumerate(zip(said, whole, strict=False)) if a != b), len(said)
        )
        texts.append((whole[:cut], whole[cut:]))
    return texts


def opening(subject: Subject) -> torch.Tensor:
    """Return the prompt where none is given: the first whole line of the held-out text, (time,)."""
    assert subject.corpus is not None
    most = max(1, min(PROMPT_TOKENS, subject.corpus.seq_len // 2))
    held_out = subject.corpus.splits["val"][:LOOKED_AT].astype("int64")
    _, _, line = subject.tokenizer.decode(held_out).partition("\n")
    if line and "\ufffd" not in line[:most]:
        held_out = subject.encode(line, "the held-out text")
    return torch.from_numpy(held_out[:most])


@torch.inference_mode()
def _next(subject: Subject, text: torch.Tensor) -> torch.Tensor:
    """Return the logits (batch, symbols) of what follows the last `seq_len` tokens of each row."""
    assert subject.corpus is not None
    logits = subject.logits(text[:, -subject.corpus.seq_len :])[:, -1]
    return logits[:, : subject.corpus.symbols].cpu()  # the rows above stand for nothing

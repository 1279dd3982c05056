"""What a checkpoint makes of held-out text: a few continuations for a person to read."""

from __future__ import annotations

from pathlib import Path

from trainer.config import RunConfig

COUNT, PROMPT_TOKENS, TOKENS = 4, 24, 64
TEMPERATURE, TOP_K, SEED = 0.8, 40, 0


def continuations(checkpoint: Path, config: RunConfig) -> list[dict[str, str]]:
    """Return beginnings of held-out windows, spread evenly, and how the model goes on.

    The same checkpoint gives the same ones on the same device.

    Raises:
        InputError: The checkpoint, or its text, cannot be used.
    """
    from trainer.evaluation.continuation import sample
    from trainer.evaluation.subject import load

    subject = load(checkpoint, config)
    found = []
    for index, window in enumerate(subject.held_out(COUNT)):
        prompt = window[: max(1, min(PROMPT_TOKENS, len(window) // 2))]
        made = sample(
            subject, prompt, TOKENS, temperature=TEMPERATURE, top_k=TOP_K, seed=SEED, index=index
        )
        decode = subject.tokenizer.decode
        found.append({"prompt": decode(prompt.tolist()), "continuation": decode(made.tolist())})
    return found

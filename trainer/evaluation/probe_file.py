"""Probes: questions with ranked candidates, one JSON object a line. Without torch.

    {"prompt": "And God called the light", "candidates": [" Day", " Night"], "answer": 0,
     "group": "fact"}

A candidate is what follows the prompt, its leading space included. `answer` counts from 0;
`group` may be left out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config import CorpusData, RunConfig
from trainer.errors import InputError
from trainer.evaluation.result import NotApplicableError
from trainer.tasks.corpus import text

SHIPPED = {"kjv": Path(__file__).parent / "questions" / "kjv.jsonl"}
"""Sets that come with the project, by the name of the text they are about."""

KEYS = ("prompt", "candidates", "answer", "group")


@dataclass(frozen=True)
class Probe:
    """One question.

    Args:
        line: Where it stands in its file, from 1.
        prompt: What comes before; not empty.
        candidates: At least two different texts, one of which goes on with it.
        answer: Index of that one.
        group: What kind of question it is.
    """

    line: int
    prompt: str
    candidates: tuple[str, ...]
    answer: int
    group: str


@dataclass(frozen=True)
class ProbeSet:
    """The questions of one file.

    Args:
        name: A name in `SHIPPED`, or the path as it was given.
        sha256: Hash of the file.
        probes: In the order of the file.
    """

    name: str
    sha256: str
    probes: tuple[Probe, ...]


def chosen(config: RunConfig) -> ProbeSet:
    """Return the probes that `evaluation.probes` asks for.

    Raises:
        NotApplicableError: It asks for none.
        InputError: The file is missing, or a line of it is no probe.
    """
    asked = config.evaluation.probes
    if not isinstance(config.data, CorpusData):
        raise NotApplicableError("task modular has no text to ask about")
    if asked is None:
        raise NotApplicableError("evaluation.probes is none")
    if asked == "auto":
        about = text.content_hash(config.data.dataset_path)
        names = [name for name in SHIPPED if text.SHIPPED_SHA256[name] == about]
        if not names:
            raise NotApplicableError("no probes about this text ship: evaluation.probes=FILE")
        asked = names[0]
    return read(asked)


def read(name: str) -> ProbeSet:
    """Read the probes of a shipped set's name or of a file.

    Raises:
        InputError: The file is missing, or lines of it are no probes; the first is named.
    """
    path = SHIPPED.get(name) or Path(name).expanduser()
    try:
        raw = path.read_bytes()
        lines = raw.decode("utf-8").split("\n")
    except (OSError, ValueError) as error:
        is_text = not isinstance(error, UnicodeDecodeError)
        reason = (getattr(error, "strerror", None) or str(error)) if is_text else "not UTF-8 text"
        raise InputError(
            f"evaluation.probes: cannot read {name!r}: {reason}",
            hint=f"one of {', '.join(SHIPPED)}, none, or a .jsonl file",
        ) from error
    probes = tuple(
        _probe(line, f"{name}:{number}", number)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )
    if not probes:
        raise InputError(f"evaluation.probes: {name} has no probe: expected a JSON object a line")
    return ProbeSet(name, hashlib.sha256(raw).hexdigest(), probes)


def _probe(line: str, place: str, number: int) -> Probe:
    def wrong(message: str) -> InputError:
        example = json.dumps({"prompt": "two and two are", "candidates": [" four", " five"]})
        return InputError(f"{place}: {message}", hint=f'{example[:-1]}, "answer": 0}}')

    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise wrong(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise wrong(f"got {line.strip()[:40]}, expected a JSON object")
    if unknown := [key for key in found if key not in KEYS]:
        raise wrong(f"unknown key {unknown[0]!r}, expected {', '.join(KEYS)}")
    prompt, candidates, answer = (found.get(key) for key in KEYS[:3])
    group = found.get("group", "")
    if not isinstance(prompt, str) or not prompt:
        raise wrong(f"prompt: got {prompt!r}, expected text that is not empty")
    if not (
        isinstance(candidates, list)
        and len(candidates) > 1
        and all(isinstance(candidate, str) and candidate for candidate in candidates)
    ):
        raise wrong("candidates: expected at least two texts that are not empty")
    if len(set(candidates)) < len(candidates):
        raise wrong("candidates: two of them are the same")
    if type(answer) is not int or not 0 <= answer < len(candidates):
        raise wrong(f"answer: got {answer!r}, expected a number from 0 to {len(candidates) - 1}")
    if not isinstance(group, str):
        raise wrong(f"group: got {group!r}, expected text")
    return Probe(number, prompt, tuple(candidates), answer, group)

"""Phrases of several words that deserve an entry of their own in a vocabulary.

A word is a run of letters together with the space before it, as byte-level BPE cuts a text; a
phrase is up to `MOST_WORDS` of them in a row, so `And it came` at the start of a line and
` And it came` within one are two. How firmly a phrase holds together is the normalized pointwise
mutual information of its two parts where it could be cut most easily (G. Bouma, "Normalized
(pointwise) mutual information in collocation extraction", GSCL 2009):

    npmi = ln(p(ab) / (p(a) p(b))) / -ln p(ab)          -1 … 1

Of those that hold together, the ones that join the most words are taken, one after another: a
later phrase counts only what the earlier ones have not joined.
"""

from __future__ import annotations

import heapq
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.errors import InputError

MOST_WORDS = 8
LEAST_COUNT = 10
"""Occurrences in the train split below which chance decides what holds together."""
LEAST_NPMI = 0.5
RUN = re.compile(r"(?: |(?<![\w'’]))[^\W\d_]++(?: [^\W\d_]++)+(?!\w)")
"""Words with one space between them: no phrase goes over punctuation or a line's end."""


@dataclass(frozen=True)
class _Grams:
    """The phrases of one length, and of one word at the first level.

    Args:
        words: Words in each.
        at: (text words,) id of the phrase that begins at each word, -1 where it is too rare.
        counts: (phrases,) occurrences.
    """

    words: int
    at: np.ndarray
    counts: np.ndarray


def find(text: str, most: int, leave_out: Collection[str] = ()) -> tuple[str, ...]:
    """Return at most `most` phrases of a text, those that join the most words first.

    Args:
        text: The train split.
        most: Phrases wanted.
        leave_out: Phrases that are an entry anyway.
    """
    words, levels = _count(text)
    if len(levels) < 2 or not most:
        return ()
    joined = np.zeros(len(words) + 1, dtype=bool)  # [i]: word i is joined to the word before it
    queue: list[tuple[int, int, int]] = []  # (-words joined, position in the text, words)
    places: dict[tuple[int, int], np.ndarray] = {}
    for level in levels[1:]:
        firm = _npmi(levels, level) >= LEAST_NPMI
        order = np.argsort(level.at, kind="stable")
        order = order[np.searchsorted(level.at[order], 0) :]
        for id_, starts in enumerate(np.split(order, np.cumsum(level.counts)[:-1])):
            if firm[id_]:
                key = (int(starts[0]), level.words)
                places[key] = starts
                heapq.heappush(queue, (-len(starts) * (level.words - 1), *key))
    found: list[str] = []
    while queue and len(found) < most:
        _, start, n = heapq.heappop(queue)
        free, gain = _gain(places[start, n], n, joined)
        if len(free) < LEAST_COUNT or not gain:
            continue
        if queue and (-gain, start, n) > queue[0]:  # others have joined some of its words since
            heapq.heappush(queue, (-gain, start, n))
            continue
        joined[free[:, None] + np.arange(1, n)] = True
        phrase = "".join(words[start : start + n])
        if phrase not in leave_out:
            found.append(phrase)
    return tuple(found)


def _count(text: str) -> tuple[list[str], list[_Grams]]:
    """Return the words of a text, and its phrases by length; only the frequent ones grow."""
    words: list[str] = []
    follows: list[bool] = []
    for run in RUN.findall(text):
        parts = re.findall(r" ?[^ ]+", run)
        words += parts
        follows += [False] + [True] * (len(parts) - 1)
    ids: dict[str, int] = {}
    at = np.array([ids.setdefault(word, len(ids)) for word in words], dtype=np.int64)
    levels = [_Grams(1, at, np.bincount(at, minlength=1))]
    linked = np.array([*follows[1:], False], dtype=bool)
    while len(levels) < MOST_WORDS:
        below, first = levels[-1], levels[0]
        n = below.words
        last = np.append(first.at[n:], np.full(min(n, len(at)), -1))
        reach = np.append(linked[n - 1 :], np.zeros(n - 1, dtype=bool))[: len(at)]
        tail = np.append(below.at[1:], -1)[: len(at)]
        whole = (below.at >= 0) & (tail >= 0) & reach
        keys = below.at * len(ids) + last
        _, inverse, counts = np.unique(keys[whole], return_inverse=True, return_counts=True)
        frequent = counts >= LEAST_COUNT
        if not frequent.any():
            break
        renumbered = np.where(frequent, np.cumsum(frequent) - 1, -1)
        grown = np.full(len(at), -1, dtype=np.int64)
        grown[whole] = renumbered[inverse]
        levels.append(_Grams(n + 1, grown, counts[frequent]))
    return words, levels


def _npmi(levels: list[_Grams], level: _Grams) -> np.ndarray:
    """Return (phrases,) the normalized mutual information at each phrase's weakest cut."""
    total = len(level.at)
    ids, first = np.unique(level.at, return_index=True)
    first = first[ids >= 0]
    chance = np.log(level.counts / total)
    weakest = np.full(len(level.counts), np.inf)
    for cut in range(1, level.words):
        left, right = levels[cut - 1], levels[level.words - cut - 1]
        parts = np.log(left.counts[left.at[first]] / total) + np.log(
            right.counts[right.at[first + cut]] / total
        )
        weakest = np.minimum(weakest, (chance - parts) / -chance)
    return weakest


def _gain(starts: np.ndarray, n: int, joined: np.ndarray) -> tuple[np.ndarray, int]:
    """Return where a phrase crosses no other, and how many words it would join there."""
    free = starts[~joined[starts] & ~joined[starts + n]]
    return free, int((~joined[free[:, None] + np.arange(1, n)]).sum())


def read(file: Path) -> tuple[str, ...]:
    """Return the entries that a file of phrases asks for, one phrase a line.

    Each phrase takes two: itself, and itself after a space. Blank lines are passed over.

    Raises:
        InputError: The file cannot be read or has no phrase, or a line of it is none.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{file}: cannot read the file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: not UTF-8 text: byte {error.object[error.start]:#04x}"
        ) from error
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not (phrase := line.strip()):
            continue
        if why := _unfit(phrase):
            hint = "one phrase a line, such as: And it came to pass"
            raise InputError(f"{file}:{number}: {why}: got {phrase[:80]!r}", hint)
        if phrase in seen:
            message = f"{file}:{number}: {phrase[:80]!r} stands on line {seen[phrase]} already"
            raise InputError(message, "leave one of them out")
        seen[phrase] = number
    if not seen:
        raise InputError(f"{file}: it has no phrase", "one phrase a line")
    return tuple(entry for phrase in seen for entry in (phrase, f" {phrase}"))


def _unfit(phrase: str) -> str:
    """Return why a line is no phrase; empty where it is one."""
    if not (phrase[0].isalnum() and phrase[-1].isalnum()):
        return "a phrase begins and ends with a letter or a digit"
    if " " not in phrase:
        return "a phrase has a space between two words"
    if any(unicodedata.category(character) == "Cc" for character in phrase):
        return "a phrase has no control characters"
    return ""

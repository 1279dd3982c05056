"""Figures and foreign text as one format or another writes them.

What a user or an exception wrote is data in every format:

- for people, control characters, line breaks and invisible direction marks are spelled out;
- Markdown: what could be markup is a character entity, so no renderer forms a link, an
  element or another column of it;
- CSV: text that a spreadsheet would take for a formula gets an apostrophe in front; numbers
  are numbers.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

from orchestrator.leaderboard.ranking import Entry
from orchestrator.objective import Objective

LONGEST_TEXT = 400
"""Characters of a cell for people; CSV and JSON have all of them."""

MARKUP = re.compile(r"[\\`*\[\]<>|&~#!^{}$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)")
BARE_HOST = re.compile(r"(?<=www)\.", re.IGNORECASE)
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""The last four are the full-width forms, which spreadsheets of East Asian locales read alike."""


def one_line(text: str, longest: int | None = LONGEST_TEXT) -> str:
    """Return text without line breaks and with control characters spelled out.

    Args:
        text: Whatever a user or an exception wrote.
        longest: Characters to keep, an ellipsis included; None for all.
    """
    line = spelled(" ".join(text.split()))
    return line if longest is None or len(line) <= longest else line[: longest - 1] + "…"


def spelled(text: str) -> str:
    """Return text with what would act on a terminal, or hide or reorder text, spelled out."""
    return "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    category = unicodedata.category(character)
    # The two joiners are part of ordinary words and emoji.
    harmless = category not in ("Cc", "Cf", "Cs", "Zl", "Zp") or character in "\u200c\u200d"
    return character if harmless else character.encode("unicode_escape").decode()


def number(value: float) -> str:
    """Return a measured number with four decimals, or four digits where those say nothing.

    A whole number, as a step is, has no decimals.
    """
    return _written(value, _decimals(value))


def brief(value: float) -> str:
    """Return a number with four digits at most, and separators from a thousand on."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def figure(value: float | None, spread: float | None, objective: Objective) -> str:
    """Return a value with its spread; empty where there is none."""
    if value is None:
        return ""
    if spread is None:
        return number(value)
    decimals = _decimals(value)
    if decimals == 0 and spread != int(spread):  # whole numbers that are halfway to the next
        decimals = 1
    # As many decimals as the value has, unless they would all be zeros.
    fine = decimals is not None and (spread >= 10**-decimals or spread == 0)
    around = _written(spread, decimals) if fine else f"{spread:.2g}"
    if objective.middle == "median":
        return f"{_written(value, decimals)} (IQR {around})"
    return f"{_written(value, decimals)} ± {around}"


def entry_figure(entry: Entry, objective: Objective) -> str:
    """Return a point's objective for a person: `> 4000` where its median is not reached."""
    if entry.value is None and entry.left is not None and entry.bound is not None:
        return f"> {number(entry.bound)}"
    if entry.value is not None and entry.interval is not None and entry.spread is None:
        low, end = entry.interval
        return f"{number(entry.value)} (IQR {number(low)} to > {number(end)})"
    return figure(entry.value, entry.spread, objective)


def with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """Return a difference with its sign and its interval: `+0.0123 (-0.0011 to +0.0257)`.

    Half the interval is written with two digits, and the others as far.
    """
    if value is None:
        return ""
    if interval is None:
        return f"{value:+.4g}"
    reach = (interval[1] - interval[0]) / 2
    decimals = 1 - math.floor(math.log10(reach)) if reach else -1
    if not 0 <= decimals <= 6:
        return f"{value:+.4g} ({interval[0]:+.4g} to {interval[1]:+.4g})"
    low, high = (f"{end:+.{decimals}f}" for end in interval)
    return f"{value:+.{decimals}f} ({low} to {high})"


def share(p: float | None) -> str:
    """Return a probability for a person."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _decimals(value: float) -> int | None:
    """How many decimals a number is written with; None for four digits, wherever they are."""
    if abs(value) < 1e6 and value == int(value):
        return 0
    if not 0.01 <= abs(value) < 1e6:
        return None
    return 4 if abs(value) < 1000 else 1


def _written(value: float, decimals: int | None) -> str:
    return f"{value:.4g}" if decimals is None else f"{value:.{decimals}f}"


def setting(value: Any) -> str:
    """Return the value of an axis: floats with six digits, other plain values as TOML has them."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else one_line(_compact(value))


def duration(seconds: float) -> str:
    """Return `12.3 s`, `4 min 10 s`, `2 h 05 min` or `3 d 04 h`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours:02d} h"


def markdown_text(text: str) -> str:
    """Return Markdown that shows `text` and nothing else, in a paragraph or a table cell.

    Entities, unlike backslashes, are read alike by all renderers: an escaped `|` behind
    another backslash splits a cell in some. An `@` stands in a code span, since an e-mail
    address or a mention is found after entities are resolved.
    """
    text = MARKUP.sub(lambda found: f"&#{ord(found[0])};", one_line(text, longest=None))
    text = BARE_HOST.sub("&#46;", text)
    return re.sub("@+", lambda found: f"`{found[0]}`", text)


def markdown_code(text: str) -> str:
    """Return `text` as a code span, or escaped where a code span could not hold it."""
    if not text or re.search(r"[|`\\]", text):
        return markdown_text(text)
    return f"`{text}`"


def csv_value(value: Any) -> str | int | float | None:
    """Return what the CSV writer is to write.

    Numbers stay numbers. Lists are JSON. Text that a spreadsheet would take for a formula gets
    an apostrophe; text that has the apostrophe already gets another, so that taking one away
    gives back what was there.
    """
    value = plain(value)
    if value is None or is_number(value):
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str):
        return _compact(value)
    text = "".join(c if c in "\t\r\n" else _spelled(c) for c in value)
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def plain(value: Any) -> Any:
    """Return a value that strict JSON can hold; a number that is not finite becomes its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _compact(value: Any) -> str:
    return json.dumps(plain(value), allow_nan=False)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

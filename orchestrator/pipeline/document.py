"""A report as plain values, which each format writes in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Args:
        text: Plain; each format escapes it.
        doubt: Whether it says that something went wrong, or was not done.
    """

    text: str
    doubt: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under columns.

    Args:
        columns: Their headings.
        rows: As many cells each as there are columns; numbers are set as such.
        title: Above it, or empty.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""


@dataclass(frozen=True)
class Curve:
    """A metric by step.

    Args:
        name: Of the metric.
        points: `(step, value)`, ascending.
    """

    name: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Chart:
    """Curves over the same steps and with the same unit, at least one with two points."""

    title: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Sample:
    """What a model made of the beginning of a text."""

    prompt: str
    continuation: str


Block = Text | Table | Chart | Sample


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Card:
    """One of the figures at the top."""

    title: str
    figure: str
    below: str = ""
    doubt: bool = False


@dataclass(frozen=True)
class Document:
    """A report.

    Args:
        title: Its heading.
        subtitle: One line under it.
        cards: What a reader wants first.
        sections: The same for each pipeline of the same request on the same machine, however
            often it was killed.
        runs: When and how it ran; the last section, and the only one that differs.
    """

    title: str
    subtitle: str
    cards: Sequence[Card]
    sections: Sequence[Section]
    runs: Section = field(default_factory=lambda: Section("", ()))

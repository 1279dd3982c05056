"""The errors of the trainer that are no fault of its code."""

from __future__ import annotations


class InputError(ValueError):
    """A setting or a file that cannot be trained on.

    Args:
        message: What failed: what was got, what was expected.
        hint: What to type; empty where there is nothing to type.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DivergedError(ArithmeticError):
    """A loss or another metric that is not finite: the run ends, its neighbours go on."""


class RanksLostError(BaseException):
    """A process of the group is gone, or the ranks no longer hold parts of one state.

    No `Exception`: this process cannot go on either, whatever it was doing. The run is resumed from
    its checkpoint, as after any other death of its process.
    """

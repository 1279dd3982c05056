"""The one error that a user of the trainer can mend."""

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

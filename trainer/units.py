"""Units that figures are told in."""

GIB = 2**30
"""Bytes of a GiB."""

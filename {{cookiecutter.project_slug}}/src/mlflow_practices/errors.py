"""The base of every error that the practices raise on purpose."""

from collections.abc import Sequence


class PracticeError(Exception):
    """Something was refused or cannot be done; the message names the place and the remedy.

    The command line prints the message alone. Every room derives its own errors from this one, so
    that a caller can tell them apart.
    """


def listed(heading: str, reasons: Sequence[str]) -> str:
    """Return a message with a line for each reason."""
    return "\n  ".join([f"{heading}:", *reasons])

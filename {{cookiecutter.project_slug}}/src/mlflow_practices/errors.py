"""The base of every error that the practices raise on purpose, and helpers for their messages."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class PracticeError(Exception):
    """Something was refused or failed; the message names the place and the remedy.

    The command line prints only the message. Every folder derives its own errors from this one.
    """


def listed(heading: str, reasons: Sequence[str]) -> str:
    """Return a message with a line for each reason."""
    return "\n  ".join([f"{heading}:", *reasons])


def did_you_mean(name: str, choices: Iterable[str], prefix: str = "") -> str:
    """Return the end of a message that suggests the nearest choice; empty if none is near.

    Example:
        >>> did_you_mean("sed", ["seed", "params"], prefix="training.")
        '; did you mean training.seed?'
    """
    near = get_close_matches(name, list(choices), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""

"""Names of fields that hold secrets or personal data."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Literal

REDACTED = "[REDACTED]"

# Names of fields, as lower-case words with a space between.
_SECRET = re.compile(
    r"\b(passw(or)?ds?|pwd|pass ?(phrase|code)s?|secrets?|credentials?|authori[sz]ation|jwt"
    r"|(api|access|private|signing|encryption|secret|account|pseudonym|ssh) ?keys?"
    r"|(access|api|auth|bearer|refresh|session) ?tokens?|token( \d+)?$|cookie$)\b"
)
_PERSONAL = re.compile(
    r"\b(ssn|social ?security|tax ?(payer ?)?(id|no)|tax(?= number)|passports?"
    r"|driv(er|ing)s?( s)? ?licen[cs]es?"
    r"|credit ?cards?|cards?(?= ?number)|cv[vc]|iban|bank ?accounts?|accounts?(?= ?number)"
    r"|e ?mails?( ?address(es)?)?|(tele|cell)?phones?|(mobile|cell|contact)(?= ?number)|fax|tel$"
    r"|(first|middle|last|given|family|full|maiden|user) ?names?|surnames?|user login|^login$"
    r"|(customer|client|patient|employee|contact|person|cardholder) names?"
    r"|birth ?(date|day)s?|dates? ?of ?birth|dob"
    r"|address(es)?|(ip|mac|street|home) ?addr(ess)?|ip|i ?pv \d)( ?numbers?)?\b"
)
# Counts and kinds of such fields, and the special tokens of language models.
_HARMLESS = re.compile(
    r"^(count|has|is|max|min|n|number of) | (counts?|length|rate|type|verified)$"
    r"|\b(bos|cls|eos|image|mask|pad|per|sep|special|unk) token$"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")  # ends where camelCase does too

_fields: re.Pattern[str] | None = None
_keep: frozenset[str] = frozenset()


def configure(fields: Iterable[str] = (), keep: Iterable[str] = ()) -> None:
    """Set, for this process, which other names are sensitive and which only look it.

    Args:
        fields: names that are matched like the built-in ones: as whole words, in any case, with
            any separator.
        keep: exact names; also of the last part of a dotted key.
    """
    global _fields, _keep
    words = [words for field in fields if (words := _words(field))]
    _fields = re.compile(rf"\b({'|'.join(words)})\b") if words else None
    _keep = frozenset(keep)
    kind_of.cache_clear()


def is_sensitive(name: str) -> bool:
    """Return whether a field of this name holds what must not be written."""
    return kind_of(name) != "ordinary"


@functools.lru_cache(10_000)
def kind_of(name: str) -> Literal["secret", "personal", "ordinary"]:
    """Return what a field of this name holds."""
    words = _words(name)
    if name in _keep or name.rpartition(".")[2] in _keep:
        return "ordinary"
    if _fields and _fields.search(words):
        return "personal"
    if _HARMLESS.search(words):
        return "ordinary"
    return (
        "secret" if _SECRET.search(words) else "personal" if _PERSONAL.search(words) else "ordinary"
    )


def _words(name: str) -> str:
    return " ".join(_WORD.findall(name)).lower()


# Checks of what a pattern found: each returns the beginning that is to be masked.


def is_kept(name: str) -> bool:
    """Return whether the configuration says that this name only looks sensitive."""
    return name in _keep

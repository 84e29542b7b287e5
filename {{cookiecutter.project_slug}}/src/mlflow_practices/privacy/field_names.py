"""Names of fields that hold secrets or personal data."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Literal

REDACTED = "[REDACTED]"

# All of these match lower-case words with one space between.
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
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")  # also in camelCase

# Set by `configure` for the whole process.
_configured_fields: re.Pattern[str] | None = None
_kept_names: frozenset[str] = frozenset()


def configure(fields: Iterable[str] = (), keep: Iterable[str] = ()) -> None:
    """Set, for the whole process, which other names are sensitive and which are not.

    Args:
        fields: names that are matched like the built-in ones: as whole words, in upper or lower
            case, with any separator.
        keep: exact names that are not sensitive; also the last part of a dotted key.
    """
    global _configured_fields, _kept_names
    words = list(filter(None, map(_words, fields)))
    _configured_fields = re.compile(rf"\b({'|'.join(words)})\b") if words else None
    _kept_names = frozenset(keep)
    kind_of.cache_clear()


def is_sensitive(name: str) -> bool:
    """Return whether a field of this name holds secrets or personal data."""
    return kind_of(name) != "ordinary"


def is_kept(name: str) -> bool:
    """Return whether the configuration says that this name is not sensitive."""
    return name in _kept_names


@functools.lru_cache(10_000)
def kind_of(name: str) -> Literal["secret", "personal", "ordinary"]:
    """Return what a field of this name holds."""
    words = _words(name)
    if is_kept(name) or is_kept(name.rpartition(".")[2]):
        return "ordinary"
    if _configured_fields and _configured_fields.search(words):
        return "personal"
    if _HARMLESS.search(words):
        return "ordinary"
    if _SECRET.search(words):
        return "secret"
    return "personal" if _PERSONAL.search(words) else "ordinary"


def _words(name: str) -> str:
    return " ".join(_WORD.findall(name)).lower()

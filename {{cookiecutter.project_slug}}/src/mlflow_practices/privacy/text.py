"""Secrets and personal data in text, found by their form."""

from __future__ import annotations

import re
from collections.abc import Callable

from .field_names import REDACTED, kind_of
from .patterns import PATTERNS, Pattern

PASSES = 5  # masking one thing may uncover the beginning of another

_NAME = re.compile(r"(?<![\w.-])((?:[\w.-]++ )?([\w.-]++))(\\*[\"']?) {0,8}([:=])[=>]? {0,8}")
_SIGN = re.compile("[:=](?:(?![0-9])|(?<![0-9]:))")  # not the colon of a time
_QUOTED = re.compile(r"(\\*[\"'])(?P<value>(?:(?!\1)(?:\\.|[^\\\n]))+)")
_NUMBER = re.compile(r"(?P<value>-?\d[\d.]*)(?=\s{0,3}(?:[]},]|$))")
_BARE = re.compile(
    r"(?P<value>(?:(?i:bearer|basic|token) {1,3})?"
    r"(?:\[REDACTED\]|[^\s&\"'<>]*[^\s&\"'<>,;)\]}]))"
)
_ROUGH_ASSIGNMENT = (
    r"=|: {0,8}\\*[\"']|[\"'] {0,8}:"
    r"|(?i:pass|pwd|secret|credential|authori|jwt|key|token|cookie)[^:\n]{0,12}:"
)


def redact_text(text: str) -> str:
    """Return ``text`` with secrets and personal data that have a form of their own masked."""
    for _ in range(PASSES):
        before = text
        if ":" in text or "=" in text:
            text = _mask_assignments(text)
        for look, masks in _MASKS:
            if look(text):
                for mask in masks:
                    text = mask(text)
        if text == before:
            break
    return text


def _mask_assignments(text: str) -> str:
    """Mask `password=...`, `"api_key": "..."`, `token: ...`, and fields with personal data.

    A bare word after a colon is masked for secrets only: "email: 3 rows failed" is prose.
    """
    if not (sign := _SIGN.search(text)):
        return text
    parts, done = [], 0
    here = text.rfind(" ", 0, max(0, sign.start() - 80)) + 1  # no name begins before
    stop = max(text.rfind(":"), text.rfind("=")) + 10
    while name := _NAME.search(text, here, stop):
        words, word, quote, separator = name.groups()
        here = name.end()
        kind, value = kind_of(word), None
        if kind == "ordinary":
            kind = kind_of(words)
        if kind != "ordinary":
            value = _QUOTED.match(text, here)
            if not value and quote:
                value = _NUMBER.match(text, here)
            elif not value and (kind == "secret" or separator == "="):
                value = _BARE.match(text, here)
        if value:
            parts += [text[done : value.start("value")], REDACTED]
            here = done = value.end("value")
    return "".join([*parts, text[done:]])


def _mask(pattern: Pattern) -> Callable[[str], str]:
    """Return a function that masks what a pattern finds in a text."""
    is_possible = re.compile(pattern.rough).search
    substitute = re.compile(pattern.exact).sub

    def replacement(match: re.Match[str]) -> str:
        kept = match.groupdict().get("kept") or ""
        found = match[0].removeprefix(kept)
        masked = pattern.masked_part(found) if pattern.masked_part else found
        return f"{kept}{REDACTED}{found[len(masked) :]}" if masked else match[0]

    return lambda text: substitute(replacement, text) if is_possible(text) else text


_MASKS = [(look, [_mask(pattern) for pattern in found]) for look, found in PATTERNS.items()]
ROUGH = "|".join(  # matches whatever is masked, and more
    [_ROUGH_ASSIGNMENT, *(pattern.rough for found in PATTERNS.values() for pattern in found)]
)

"""Secrets and personal data in text, found by their form."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

from .names import REDACTED, is_sensitive, kind_of

PASSES = 5  # what was masked may have hidden the beginning of something else


def _all(text: str) -> str:
    return text


def card_number(text: str) -> str:
    """Return a credit card number as it is, by issuer and check digit (Luhn; ISO/IEC 7812-1).

    Anything else gives empty text.
    """
    digits = re.sub("[ -]", "", text)
    return text if _ISSUER.fullmatch(digits) and _luhn(digits) else ""


_ISSUER = re.compile(
    r"4(\d{12}|\d{15}|\d{18})|(5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(0[0-5]|[689]\d)\d{11}|(6011|65\d\d|64[4-9]\d|62\d\d|35[2-8]\d)\d{12,15}"
)


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0


def _iban(text: str) -> str:
    """Return the longest run of groups with a valid check number (ISO 7064 MOD 97-10)."""
    ends = [match.start() for match in re.finditer(r"[ -]|$", text)]
    for end in reversed(ends):
        code = re.sub("[ -]", "", text[:end])
        if len(code) >= 15 and int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1:
            return text[:end]
    return ""


def _ipv6(text: str) -> str:
    text = text if text.endswith("::") else text.rstrip(":")
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return ""
    return text


def _international(text: str) -> str:
    """Refuse a signed number: without separators E.164 has hardly ever less than ten digits."""
    return "" if text[1:].isdigit() and len(text) < 11 else text


def _national(text: str) -> str:
    """Return the longest run of groups with 9 to 12 digits; refuse a listing such as 01 02 03."""
    if re.fullmatch(r"\d\d(\D\d\d)+", text):
        return text if len(text) == 14 else ""  # five pairs, as in France
    digits = end = 0
    for group in re.finditer(r"\d+\)?", text):
        digits += len(group[0].rstrip(")"))
        end = group.end() if 9 <= digits <= 12 else end
    return text[:end]


_TOKENS = {  # what follows each prefix
    "AKIA": r"[A-Z0-9]{16}(?!\w)",
    "ASIA": r"[A-Z0-9]{16}(?!\w)",
    "AIza": r"[\w-]{35}",
    "SG.": r"[\w-]{16,}\.[\w-]{16,}",
    "dapi": r"[0-9a-f]{32}(-\d)?",
    "eyJ": r"[\w-]{8,}\.[\w-]{8,}(\.[\w-]*)?",  # a JSON web token
    "gho_": r"\w{20,}",
    "ghp_": r"\w{20,}",
    "ghr_": r"\w{20,}",
    "ghs_": r"\w{20,}",
    "ghu_": r"\w{20,}",
    "github_pat_": r"\w{20,}",
    "glpat-": r"[\w-]{20,}",
    "hf_": r"[A-Za-z0-9]{30,}",
    "npm_": r"[A-Za-z0-9]{30,}",
    "pypi-": r"[\w-]{32,}",
    "rk_live_": r"\w{16,}",
    "sk_live_": r"\w{16,}",
    "sk_test_": r"\w{16,}",
    "sk-": r"(?=[\w-]*\d)[\w-]{20,}",
    "xox": r"[a-z]-[\w-]{10,}",
}
_KEYWORD = r"(?i:(?:tele|cell)?phones?|tel|mobile|cell|fax|call|sms|whatsapp)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_PEM = "[A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_PREFIX = "|".join(map(re.escape, _TOKENS))
_TOKEN = "|".join(re.escape(prefix) + rest for prefix, rest in _TOKENS.items())


class _Pattern(NamedTuple):
    """A form of personal data or secrets.

    ``rough`` matches whatever ``regex`` does and more, quickly, in the syntax of RE2 too (Arrow's).
    What the group ``kept`` of ``regex`` matches stays. All take time in proportion to the text:
    quantifiers are possessive, bounded, or preceded by what they cannot match.
    """

    rough: str
    regex: str
    check: Callable[[str], str] = _all


_IN_TOKENS = {
    "key or token": _Pattern(rf"\b(?:{_PREFIX})", rf"(?<![\w-])(?:{_TOKEN})"),
    "private key": _Pattern(
        "PRIVATE KEY",
        rf"(?s)-----BEGIN {_PEM}.*?(?:-----END {_PEM}|\Z)",
    ),
    "HTTP authorization": _Pattern(
        "(?i:bearer|basic) ",
        r"(?P<kept>\b(?i:bearer|basic) {1,3})(?=\S{0,200}[\d=]|\S{20})[\w.~+/-]{8,}=*",
    ),
}
_IN_ADDRESSES = {
    # A password may hold `/` and `@`, but what follows a port is a path.
    "password in a URL": _Pattern(
        "@",
        r"(?<=://)(?:[^\s/@:\"'<>]*:(?!\d{1,5}/)(?:(?!://)[^\s\"'<>])+|[^\s/\"'<>]+)(?=@)",
    ),
    "e-mail": _Pattern(
        "@|%40",
        r"(?<![\w.+-])(?!git@)[\w.+-]++(?:'[\w.+-]++)?(?:@|%40)(?:[\w-]{1,63}\.)+[^\W\d_]{2,}",
    ),
}
_IN_FIELDS = {
    "signature of a URL": _Pattern(
        "[?&](?:sig|X-(?:Amz|Goog)-Signature)=",
        r"(?P<kept>[?&](?:sig|X-(?:Amz|Goog)-Signature)=)[^\s&#\"'<>]+",
    ),
    # Only addresses that are routed or link-local: x[1::2] is none.
    "IPv6": _Pattern(
        "[0-9a-fA-F]{4}:[0-9a-fA-F]{0,4}:",
        r"(?<![\w:])(?<!//\[)(?<!\w\[)(?:[23][0-9a-fA-F]{3}|[fF][c-eC-E][0-9a-fA-F]{2})"
        r":(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}(?!\w|:[\w:])",
        _ipv6,
    ),
}
_IN_NUMBERS = {
    "IBAN": _Pattern(
        "[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]{4}[ -]?[A-Z0-9]{4}",
        r"(?<![\w-])[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]{4}){2,6}(?:[ -]?[A-Z0-9]{1,3})?(?!\w)",
        _iban,
    ),
    # Not a part of a path or of a listing of numbers.
    "credit card": _Pattern(
        "[2-6](?:[ -]?[0-9]){12}",
        r"(?<![\w.])(?:\d{13,16}|(?<!/)\d{17,19}|\d{4}([ -])\d{6}\1\d{4,5}"
        r"|(?<!\d{4}[ -])\d{4}([ -])\d{4}\2\d{4}\2\d{4}(?![ -]\d{4}))(?!\w|\.\d)",
        card_number,
    ),
    "US social security": _Pattern(
        "[0-9]{3}-[0-9]{2}-[0-9]{4}",
        r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-]|\.\d)",
    ),
    "US social security, after a word": _Pattern(
        "[Ss](?:[Ss][Nn]|ocial [Ss]ecurity)",
        r"(?P<kept>(?i:\bssn|social security)\D{0,12})\d{3}[ -]?\d\d[ -]?\d{4}(?!\w)",
    ),
    # Not the server of a URL, a version, or this machine.
    "IPv4": _Pattern(
        r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
        r"(?<![\w.-])(?<!://)(?<!\]@)(?<!==)(?<!ersion )(?<!ersion: )(?<!ersion=)"
        rf"(?!127\.|0\.0\.0\.0){_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?!\.?\w|-\w)",
    ),
    "phone, after a word": _Pattern(
        _KEYWORD + "[^0-9]{0,30}[0-9]",
        rf"(?P<kept>(?<![A-Za-z]){_KEYWORD}(?![a-z])"
        r"(?:[\W_]{0,3}(?:number|no|me|us|at|on|is|or)\b){0,3}[\W_]{0,3}?)"
        r"(?!\d*\.\d+(?:[^.\d]|$))[+(]{0,2}\d(?:[ ()./-]{0,2}\d){6,14}(?!\w)",
    ),
    "phone, international": _Pattern(
        r"\+[1-9][0-9() ./-]{7}",
        r"(?<![\w+.])\+[1-9](?:(?:[ ()/-]{0,3}\d){7,14}|\d{0,2}(?:\.\d{2,4}){2,4})"
        r"(?!\d|[.,]\d|e[+-]?\d)",
        _international,
    ),
    "phone, American": _Pattern(
        r"[0-9]{3}[ .)-] ?[0-9]{3}[ .-][0-9]{4}",
        r"(?<![\w.+-])(?:(?:00)?1[ .-])?(?:\(\d{3}\) ?\d{3}[ .-]|\d{3}([.-])\d{3}\1"
        r"|(?<!\d )\d{3} \d{3} (?!\d{4} \d))\d{4}(?!\d|[.-]\d)(?: ?(?:x|ext\.?) ?\d{1,6})?",
    ),
    "phone, national": _Pattern(
        r"(?:^|[^\w.,:/+-])\(?0[1-9][0-9]{0,3}[ ./)-]",
        r"(?<![\w.,:/+-])(?<!\d )(?!\d\d([/-])\d\d\1\d{4})"
        r"(?:(?:\(0[1-9]\d{0,3}\)[ /-]?|0[1-9]\d{0,3}[ /-])\d{2,8}(?:[ /-]\d{2,8}){0,11}"
        r"|0[1-9](?:\.\d\d){4})(?!\d|[.,:]\d)",
        _national,
    ),
}

_NAME = re.compile(r"(?<![\w.-])((?:[\w.-]++ )?([\w.-]++))(\\*[\"']?) {0,8}([:=])[=>]? {0,8}")
_SIGN = re.compile("[:=](?:(?![0-9])|(?<![0-9]:))")  # but not in a time
_QUOTED = re.compile(r"(\\*[\"'])(?P<value>(?:(?!\1)(?:\\.|[^\\\n]))+)")
_NUMBER = re.compile(r"(?P<value>-?\d[\d.]*)(?=\s{0,3}(?:[]},]|$))")
_BARE = re.compile(
    r"(?P<value>(?:(?i:bearer|basic|token) {1,3})?"
    r"(?:\[REDACTED\]|[^\s&\"'<>]*[^\s&\"'<>,;)\]}]))"
)
_ASSIGNED = (  # the rough pattern of an assignment
    r"=|: {0,8}\\*[\"']|[\"'] {0,8}:"
    r"|(?i:pass|pwd|secret|credential|authori|jwt|key|token|cookie)[^:\n]{0,12}:"
)


def _assignments(text: str) -> str:
    """Mask `password=...`, `"api_key": "..."`, `token: ...`, and personal data where it is marked.

    A bare word after a colon is masked for secrets only: "email: 3 rows failed" is prose.
    """
    if not (sign := _SIGN.search(text)):
        return text
    parts, done, here = [], 0, max(0, sign.start() - 80)
    stop = max(text.rfind(":"), text.rfind("=")) + 10
    while name := _NAME.search(text, here, stop):
        words, word, quote, sign_ = name.groups()
        here = name.end()
        kind = kind_of(word) if is_sensitive(word) else kind_of(words)
        value = None if kind == "ordinary" else _QUOTED.match(text, here)
        if kind != "ordinary" and not value:
            if quote:
                value = _NUMBER.match(text, here)
            elif kind == "secret" or sign_ == "=":
                value = _BARE.match(text, here)
        if value:
            parts += [text[done : value.start("value")], REDACTED]
            here = done = value.end("value")
    return "".join([*parts, text[done:]])


Rule = tuple[Callable[[str], object], Callable[[str], str]]


def _rule(pattern: _Pattern) -> Rule:
    def mask(match: re.Match[str]) -> str:
        kept = match.groupdict().get("kept") or ""
        found = match[0][len(kept) :]
        masked = pattern.check(found)
        return f"{kept}{REDACTED}{found[len(masked) :]}" if masked else match[0]

    return re.compile(pattern.rough).search, functools.partial(re.compile(pattern.regex).sub, mask)


# Most text holds nothing of the kind: a quick look decides which patterns are tried.
_RUN = re.compile("[A-Z0-9_-][A-Za-z0-9_-]{9}")
_DIGITS = re.compile(r"[0-9](?:[ ()./-]{0,3}[0-9]){6}|[0-9]\.[0-9]{1,3}\.[0-9]")
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")
ROUGH = "|".join(
    [_ASSIGNED]
    + [
        pattern.rough
        for patterns in (_IN_TOKENS, _IN_ADDRESSES, _IN_FIELDS, _IN_NUMBERS)
        for pattern in patterns.values()
    ]
)
_STEPS: list[tuple[Callable[[str], object], list[Rule]]] = [
    (
        lambda text: _RUN.search(text) or "earer " in text or "asic " in text,
        [_rule(pattern) for pattern in _IN_TOKENS.values()],
    ),
    (
        lambda text: "@" in text or "%40" in text,
        [_rule(pattern) for pattern in _IN_ADDRESSES.values()],
    ),
    (
        lambda text: ":" in text or "=" in text,
        [(bool, _assignments), *(_rule(pattern) for pattern in _IN_FIELDS.values())],
    ),
    (
        lambda text: _DIGITS.search(text) and _DIGITS.search(_DATE.sub("", text)),
        [_rule(pattern) for pattern in _IN_NUMBERS.values()],
    ),
]


def redact_text(text: str) -> str:
    """Return ``text`` with secrets and personal data that have a form of their own masked."""
    for _ in range(PASSES):
        former = text
        for look, rules in _STEPS:
            if look(text):
                for rough, mask in rules:
                    if rough(text):
                        text = mask(text)
        if text == former:
            break
    return text

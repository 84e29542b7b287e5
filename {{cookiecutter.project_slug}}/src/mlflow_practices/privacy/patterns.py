"""The table of patterns that find secrets and personal data in text.

Each takes time in proportion to the text: its quantifiers are possessive, bounded, or come after
something that they cannot match.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple


class Pattern(NamedTuple):
    """One form of secrets or personal data."""

    rough: str  # matches whatever `exact` does and more, but quickly; also in the syntax of RE2
    exact: str  # what is masked, except for its group `kept`
    masked_part: Callable[[str], str] | None = None  # the beginning of a match; empty: nothing


def card_number(text: str) -> str:
    """Return ``text`` if it is a credit card number, by issuer and check digit, else empty text.

    The check digit is that of Luhn (ISO/IEC 7812-1).
    """
    digits = re.sub("[ -]", "", text)
    if not _CARD_ISSUER.fullmatch(digits):
        return ""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return text if (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0 else ""


def _iban(text: str) -> str:
    """Return the longest run of groups with a valid check number (ISO 7064 MOD 97-10)."""
    ends = [match.start() for match in re.finditer(r"[ -]|$", text)]
    for end in reversed(ends):
        code = re.sub("[ -]", "", text[:end])
        number = "".join(str(int(character, 36)) for character in code[4:] + code[:4])
        if len(code) >= 15 and int(number) % 97 == 1:
            return text[:end]
    return ""


def _ipv6(text: str) -> str:
    address = text if text.endswith("::") else text.rstrip(":")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return ""
    return address


def _international_phone(text: str) -> str:
    # A signed number. A phone number (E.164) without separators hardly ever has so few digits.
    return "" if text[1:].isdigit() and len(text) < 11 else text


def _national_phone(text: str) -> str:
    """Return the longest run of groups with 9 to 12 digits; nothing of a listing like 01 02 03."""
    if re.fullmatch(r"\d\d(\D\d\d)+", text):
        return text if len(text) == 14 else ""  # five pairs, as in France
    digits = end = 0
    for group in re.finditer(r"(\d+)\)?", text):
        digits += len(group[1])
        if 9 <= digits <= 12:
            end = group.end()
    return text[:end]


_CARD_ISSUER = re.compile(
    r"4(\d{12}|\d{15}|\d{18})|(5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(0[0-5]|[689]\d)\d{11}|(6011|65\d\d|64[4-9]\d|62\d\d|35[2-8]\d)\d{12,15}"
)
_TOKENS = {  # beginnings of keys and tokens, and what follows
    "A[KS]IA": r"[A-Z0-9]{16}(?!\w)",
    "AIza": r"[\w-]{35}",
    r"SG\.": r"[\w-]{16,}\.[\w-]{16,}",
    "dapi": r"[0-9a-f]{32}(-\d)?",
    "eyJ": r"[\w-]{8,}\.[\w-]{8,}(\.[\w-]*)?",  # a JSON web token
    "(?:gh[oprsu]|github_pat)_": r"\w{20,}",
    "glpat-": r"[\w-]{20,}",
    "(?:hf|npm)_": r"[A-Za-z0-9]{30,}",
    "pypi-": r"[\w-]{32,}",
    "(?:rk_live|sk_live|sk_test)_": r"\w{16,}",
    "sk-": r"(?=[\w-]*\d)[\w-]{20,}",
    "xox": r"[a-z]-[\w-]{10,}",
}
_TOKEN = "|".join(prefix + rest for prefix, rest in _TOKENS.items())
_PEM_END = "[A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_PHONE_WORD = r"(?i:(?:tele|cell)?phones?|tel|mobile|cell|fax|call|sms|whatsapp)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"

# Most text holds nothing of the kind, so a quick look decides which patterns are tried.
_LONG_WORD = re.compile("[A-Z0-9_-][A-Za-z0-9_-]{9}")
_DIGITS = re.compile(r"[0-9](?:[ ()./-]{0,3}[0-9]){6}|[0-9]\.[0-9]{1,3}\.[0-9]")
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")


def _has_long_word(text: str) -> bool:
    return bool(_LONG_WORD.search(text)) or "earer " in text or "asic " in text


def _has_digits(text: str) -> bool:
    return bool(_DIGITS.search(text) and _DIGITS.search(_DATE.sub("", text)))


PATTERNS: dict[Callable[[str], bool], list[Pattern]] = {
    _has_long_word: [
        # Keys and tokens
        Pattern(rf"\b(?:{'|'.join(_TOKENS)})", rf"(?<![\w-])(?:{_TOKEN})"),
        # Private key
        Pattern(
            "PRIVATE KEY",
            rf"(?s)-----BEGIN {_PEM_END}.*?(?:-----END {_PEM_END}|\Z)",
        ),
        # HTTP authorization
        Pattern(
            "(?i:bearer|basic) ",
            r"(?P<kept>\b(?i:bearer|basic) {1,3})(?=\S{0,200}[\d=]|\S{20})[\w.~+/-]{8,}=*",
        ),
    ],
    lambda text: "@" in text or "%40" in text: [
        # Password in a URL. A password may hold `/` and `@`, and what follows a port is a path.
        Pattern(
            "@",
            r"(?<=://)(?:[^\s/@:\"'<>]*:(?!\d{1,5}/)(?:(?!://)[^\s\"'<>])+|[^\s/\"'<>]+)(?=@)",
        ),
        # E-mail
        Pattern(
            "@|%40",
            r"(?<![\w.+-])(?!git@)[\w.+-]++(?:'[\w.+-]++)?(?:@|%40)(?:[\w-]{1,63}\.)+[^\W\d_]{2,}",
        ),
    ],
    lambda text: ":" in text or "=" in text: [
        # Signature of a URL
        Pattern(
            "[?&](?:sig|X-(?:Amz|Goog)-Signature)=",
            r"(?P<kept>[?&](?:sig|X-(?:Amz|Goog)-Signature)=)[^\s&#\"'<>]+",
        ),
        # IPv6. Only addresses that are routed or link-local: x[1::2] is no address.
        Pattern(
            "[0-9a-fA-F]{4}:[0-9a-fA-F]{0,4}:",
            r"(?<![\w:])(?<!//\[)(?<!\w\[)(?:[23][0-9a-fA-F]{3}|[fF][c-eC-E][0-9a-fA-F]{2})"
            r":(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}(?!\w|:[\w:])",
            _ipv6,
        ),
    ],
    _has_digits: [
        # IBAN
        Pattern(
            "[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]{4}[ -]?[A-Z0-9]{4}",
            r"(?<![\w-])[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]{4}){2,6}(?:[ -]?[A-Z0-9]{1,3})?(?!\w)",
            _iban,
        ),
        # Credit card. Not a part of a path, nor of a listing of numbers.
        Pattern(
            "[2-6](?:[ -]?[0-9]){12}",
            r"(?<![\w.])(?:\d{13,16}|(?<!/)\d{17,19}|\d{4}([ -])\d{6}\1\d{4,5}"
            r"|(?<!\d{4}[ -])\d{4}([ -])\d{4}\2\d{4}\2\d{4}(?![ -]\d{4}))(?!\w|\.\d)",
            card_number,
        ),
        # US social security
        Pattern(
            "[0-9]{3}-[0-9]{2}-[0-9]{4}",
            r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-]|\.\d)",
        ),
        # US social security, after a word
        Pattern(
            "[Ss](?:[Ss][Nn]|ocial [Ss]ecurity)",
            r"(?P<kept>(?i:\bssn|social security)\D{0,12})\d{3}[ -]?\d\d[ -]?\d{4}(?!\w)",
        ),
        # IPv4. Not the server of a URL, a version, or this machine.
        Pattern(
            r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
            r"(?<![\w.-])(?<!://)(?<!\]@)(?<!==)(?<!ersion )(?<!ersion: )(?<!ersion=)"
            rf"(?!127\.|0\.0\.0\.0){_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?!\.?\w|-\w)",
        ),
        # Phone, after a word
        Pattern(
            _PHONE_WORD + "[^0-9]{0,30}[0-9]",
            rf"(?P<kept>(?<![A-Za-z]){_PHONE_WORD}(?![a-z])"
            r"(?:[\W_]{0,3}(?:number|no|me|us|at|on|is|or)\b){0,3}[\W_]{0,3}?)"
            r"(?!\d*\.\d+(?:[^.\d]|$))[+(]{0,2}\d(?:[ ()./-]{0,2}\d){6,14}(?!\w)",
        ),
        # Phone, international
        Pattern(
            r"\+[1-9][0-9() ./-]{7}",
            r"(?<![\w+.])\+[1-9](?:(?:[ ()/-]{0,3}\d){7,14}|\d{0,2}(?:\.\d{2,4}){2,4})"
            r"(?!\d|[.,]\d|e[+-]?\d)",
            _international_phone,
        ),
        # Phone, American
        Pattern(
            r"[0-9]{3}[ .)-] ?[0-9]{3}[ .-][0-9]{4}",
            r"(?<![\w.+-])(?:(?:00)?1[ .-])?(?:\(\d{3}\) ?\d{3}[ .-]|\d{3}([.-])\d{3}\1"
            r"|(?<!\d )\d{3} \d{3} (?!\d{4} \d))\d{4}(?!\d|[.-]\d)(?: ?(?:x|ext\.?) ?\d{1,6})?",
        ),
        # Phone, national
        Pattern(
            r"(?:^|[^\w.,:/+-])\(?0[1-9][0-9]{0,3}[ ./)-]",
            r"(?<![\w.,:/+-])(?<!\d )(?!\d\d([/-])\d\d\1\d{4})"
            r"(?:(?:\(0[1-9]\d{0,3}\)[ /-]?|0[1-9]\d{0,3}[ /-])\d{2,8}(?:[ /-]\d{2,8}){0,11}"
            r"|0[1-9](?:\.\d\d){4})(?!\d|[.,:]\d)",
            _national_phone,
        ),
    ],
}

"""What must not be written anywhere: secrets and personal data, by field name and by pattern."""

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[REDACTED]"

# Whole words of a field's name, whatever its case or separators.
SENSITIVE = re.compile(
    r"(?<![a-z])(passwords?|passwd|pwd|secrets?|token|(api|access|private)[-_ ]?keys?|credentials?|"
    r"ssn|credit[-_ ]?cards?|e?[-_]?mails?|phones?)(?![a-z])",
    re.IGNORECASE,
)
PATTERNS = [
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),  # the user and password of an address
    re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),  # an e-mail address
]


def is_sensitive(name: str) -> bool:
    """Return whether a field of this name holds what must not be written."""
    return SENSITIVE.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)) is not None


def redact_text(text: str) -> str:
    """Return ``text`` with credentials in addresses and e-mail addresses masked."""
    for pattern in PATTERNS:
        text = pattern.sub(REDACTED, text)
    return text


def redact(value: Any) -> Any:
    """Return a copy of ``value`` that is safe to write, at any depth of mappings and lists."""
    if isinstance(value, Mapping):
        return {
            key: REDACTED if is_sensitive(str(key)) and item not in (None, "") else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value

"""What becomes of the columns of a table that hold personal data."""

from __future__ import annotations

import hmac
import os
import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..errors import PracticeError
from .names import REDACTED, is_kept
from .values import holds_cards, is_personal, mask_patterns, redact, redact_index, redact_labels

if TYPE_CHECKING:
    import pandas as pd

Policy = Literal["drop", "mask", "pseudonymise", "keep"]
KEY = "PSEUDONYM_KEY"  # the environment variable that holds the key of pseudonyms
KEY_LENGTH = 32


class PrivacyError(PracticeError):
    """A table cannot be protected as the configuration asks; the message has the remedy."""


def policies(table: pd.DataFrame, chosen: Mapping[str, Policy]) -> dict[str, Policy]:
    """Return what becomes of columns: as chosen, else "drop" if they look personal.

    A column looks personal by its name or as it holds credit card numbers. "keep" is left out.

    Raises:
        PrivacyError: a chosen column is not in the table.
    """
    for column, policy in chosen.items():
        if column not in table.columns:
            has = ", ".join(str(redact(label)) for label in table.columns[:50])
            raise PrivacyError(
                f"privacy.{policy}: no column {column!r} in the table; it has: {has}"
            )
    personal = [str(name) for name, column in table.items() if is_personal(name, column)]
    found: dict[str, Policy] = {**dict.fromkeys(personal, "drop"), **chosen}
    return {name: policy for name, policy in found.items() if policy != "keep"}


def protect(table: pd.DataFrame, policies: Mapping[str, Policy]) -> tuple[pd.DataFrame, list[str]]:
    """Return a table that may be written, and notes on what was changed, without values.

    Columns are dropped, masked or pseudonymised by policy; in other text, patterns are masked,
    except in the columns that `configure` keeps. Missing values stay missing.

    Raises:
        PrivacyError: the key of pseudonyms is missing or too short.
    """
    result, notes, stay = table.copy(deep=False), [], []
    for position, (label, column) in enumerate(table.items()):
        name, new = f"column {redact(str(label))!r}", column
        policy = policies.get(str(label), "keep")
        if policy == "drop":
            notes.append(f"{name} left out: {_reason(label, column)}")
            continue
        stay.append(position)
        if policy == "mask":
            new = column.astype(object).where(column.isna(), REDACTED).astype("str")
            notes.append(f"{name}: masked (privacy.mask)")
        elif policy == "pseudonymise":
            new = pseudonymise(column)
            notes.append(f"{name}: pseudonymised (privacy.pseudonymise)")
        elif not is_kept(str(label)):
            new, rows = mask_patterns(column)
            if rows:
                counted = "1 row" if rows == 1 else f"{rows} rows"
                notes.append(f"{name}: personal data masked in {counted}")
        if new is not column:
            result.isetitem(position, new)
    result = result.iloc[:, stay]
    result.index, result.columns = redact_index(result.index), redact_labels(result.columns)
    result.attrs = redact(table.attrs)
    return result, notes


def _reason(label: Any, column: pd.Series) -> str:
    if not is_personal(label, column):
        return "privacy.drop"
    why = "it holds credit card numbers" if holds_cards(column) else "its name says personal data"
    return f"{why} (privacy.keep, privacy.mask or privacy.pseudonymise change that)"


def pseudonymise(column: pd.Series) -> pd.Series:
    """Return a column of text in which each value is replaced by a pseudonym of its own.

    It is an HMAC-SHA256 (NIST FIPS 198-1; ENISA, Pseudonymisation techniques and best practices,
    2019), shortened to 128 bits. The same person has the same one in every run, table and column:
    17, 17.0, "17" and " 17 " are alike, as are letters composed in different ways (Unicode NFC),
    and the case of e-mail addresses. Who has the key can find out who is who.

    Raises:
        PrivacyError: ``PSEUDONYM_KEY`` is missing or too short.
    """
    import pandas as pd

    key = os.environ.get(KEY, "").strip().encode()
    if len(key) < KEY_LENGTH:
        raise PrivacyError(
            f"{KEY} is {'too short' if key else 'not set'}; make one with "
            '`python -c "import secrets; print(secrets.token_hex(32))"`, keep it in the secret '
            "store of the team, and set that environment variable"
        )
    keyed = hmac.new(key, digestmod="sha256")  # a copy is faster than to begin anew

    def pseudonym(value: Any) -> str:
        code = keyed.copy()
        code.update(_identity(value).encode(errors="surrogatepass"))
        return f"p_{code.hexdigest()[:32]}"

    codes, values = pd.factorize(column)
    pseudonyms = pd.array([pseudonym(value) for value in values.tolist()], dtype="str")
    return pd.Series(pseudonyms.take(codes, allow_fill=True), column.index, name=column.name)


def _identity(value: Any) -> str:
    """Return the text that stands for a person, however the value was typed."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = unicodedata.normalize("NFC", str(value)).strip()
    if re.fullmatch(r"-?\d+\.0+", text):
        text = text.partition(".")[0]
    return text.casefold() if "@" in text else text

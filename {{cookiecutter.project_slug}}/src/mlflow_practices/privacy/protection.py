"""What happens to the columns of a table that hold personal data."""

from __future__ import annotations

import hmac
import os
import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..errors import PracticeError
from .field_names import REDACTED, is_kept
from .redaction import holds_cards, is_personal, mask_patterns, redact, rewrite_table

if TYPE_CHECKING:
    import pandas as pd

Policy = Literal["drop", "mask", "pseudonymise", "keep"]
KEY = "PSEUDONYM_KEY"  # the environment variable that holds the key of pseudonyms
KEY_LENGTH = 32


class PrivacyError(PracticeError):
    """A table cannot be protected as the configuration asks; the message has the remedy."""


def policies(table: pd.DataFrame, chosen: Mapping[str, Policy]) -> dict[str, Policy]:
    """Return the policy of each column: the chosen one, else "drop" if it looks personal.

    A column looks personal by its name, or if it holds credit card numbers. "keep" is left out.

    Raises:
        PrivacyError: a chosen column is not in the table.
    """
    for column, policy in chosen.items():
        if column not in table.columns:
            has = ", ".join(str(redact(label)) for label in table.columns[:50])
            raise PrivacyError(
                f"privacy.{policy}: no column {column!r} in the table; it has: {has}"
            )
    personal = [str(label) for label, column in table.items() if is_personal(label, column)]
    found: dict[str, Policy] = {**dict.fromkeys(personal, "drop"), **chosen}
    return {name: policy for name, policy in found.items() if policy != "keep"}


def protect(table: pd.DataFrame, policies: Mapping[str, Policy]) -> tuple[pd.DataFrame, list[str]]:
    """Return a table that may be written, and notes on what was changed, without values.

    Columns are dropped, masked or pseudonymised by policy. In other text, patterns are masked,
    except in the columns that `configure` keeps. Missing values stay missing.

    Raises:
        PrivacyError: the key of pseudonyms is missing or too short.
    """
    notes = []

    def change(label: Any, column: pd.Series) -> pd.Series | None:
        name = f"column {redact(str(label))!r}"
        policy = policies.get(str(label), "keep")
        if policy == "drop":
            notes.append(f"{name} left out: {_reason(label, column)}")
            return None
        if policy == "mask":
            notes.append(f"{name}: masked (privacy.mask)")
            return column.astype(object).where(column.isna(), REDACTED).astype("str")
        if policy == "pseudonymise":
            notes.append(f"{name}: pseudonymised (privacy.pseudonymise)")
            return pseudonymise(column)
        if is_kept(str(label)):
            return column
        masked, rows = mask_patterns(column)
        if rows:
            notes.append(f"{name}: personal data masked in {rows} row{'' if rows == 1 else 's'}")
        return masked

    return rewrite_table(table, change), notes


def _reason(label: Any, column: pd.Series) -> str:
    if not is_personal(label, column):
        return "privacy.drop"
    why = "it holds credit card numbers" if holds_cards(column) else "its name says personal data"
    return f"{why} (privacy.keep, privacy.mask or privacy.pseudonymise change that)"


def pseudonymise(column: pd.Series) -> pd.Series:
    """Return a column of text in which each value is replaced by its pseudonym.

    It is an HMAC-SHA256 (NIST FIPS 198-1; ENISA, Pseudonymisation techniques and best practices,
    2019), shortened to 128 bits. A person has the same one in every run, table and column: 17, 17.0,
    "17" and " 17 " are equal, as are letters composed in different ways (Unicode NFC), and e-mail
    addresses in upper and lower case. Anybody with the key can find out who is who.

    Raises:
        PrivacyError: ``PSEUDONYM_KEY`` is missing or too short.
    """
    import pandas as pd

    key = os.environ.get(KEY, "").strip().encode()
    if len(key) < KEY_LENGTH:
        raise PrivacyError(
            f"{KEY} is {'too short' if key else 'not set'}; create one with "
            '`python -c "import secrets; print(secrets.token_hex(32))"`, keep it in the secret '
            "store of the team, and set that environment variable"
        )
    keyed = hmac.new(key, digestmod="sha256")  # a copy is faster than a new one

    def pseudonym(value: Any) -> str:
        code = keyed.copy()
        code.update(_identity(value).encode(errors="surrogatepass"))
        return f"p_{code.hexdigest()[:32]}"

    codes, values = pd.factorize(column)
    pseudonyms = pd.array([pseudonym(value) for value in values.tolist()], dtype="str")
    return pd.Series(pseudonyms.take(codes, allow_fill=True), column.index, name=column.name)


def _identity(value: Any) -> str:
    """Return the same text for a person, however the value was written."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = unicodedata.normalize("NFC", str(value)).strip()
    if re.fullmatch(r"-?\d+\.0+", text):
        text = text.partition(".")[0]
    return text.casefold() if "@" in text else text

"""Time redaction: `python redact_data.py TEXTS ROWS REPEATS`, prints JSON.

Each group of cases is measured in rounds; the first case of a group is what the others are
compared with.
"""

import json
import os
import random
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from mlflow_practices import privacy

texts, rows, repeats = map(int, sys.argv[1:])
os.environ[privacy.KEY] = "k" * 64
E_MAIL = r"[\w.+-]+@[\w-]+\.[\w.-]+"
WORDS = (
    "the customer called about a late parcel and heard that it would arrive on Monday; thanks "
    "for your help with item 12 of the order, the price of 49.90 was wrong, please see page 3"
)


def sentences(number: int) -> list[str]:
    """Return texts of about 100 characters; in one of 50 a date, in one of 100 personal data."""
    draw = random.Random(0)
    found = [" ".join(draw.choices(WORDS.split(), k=19)) for _ in range(number)]
    found[::50] = [f"{text} 2024-05-01 12:30:00" for text in found[::50]]
    found[7::100] = [f"{text} write to ann{i}@example.org" for i, text in enumerate(found[7::100])]
    return found


def make(rows: int) -> pd.DataFrame:
    """Return 14 columns of numbers, a date, a category, three of text and one of addresses."""
    draw = np.random.default_rng(0)
    columns: dict[str, Any] = {f"float_{i}": draw.normal(size=rows) for i in range(10)}
    columns |= {f"int_{i}": draw.integers(0, 1000, rows) for i in range(4)}
    columns["date"] = draw.integers(0, 10**15, rows).astype("datetime64[us]")
    columns["colour"] = draw.choice(["red", "green", "blue"], rows)
    columns["code"] = [f"AB-{i:07d}" for i in range(rows)]
    columns["comment"] = sentences(rows)
    columns["kind"] = pd.Categorical(columns["colour"])
    columns["email"] = [f"ann{i}@example.org" for i in range(rows)]
    return pd.DataFrame(columns)


def guide(record: dict[str, Any]) -> dict[str, Any]:
    """Do what the guide's snippet does: look at the keys on top."""
    copy = record.copy()
    for field in ("ssn", "credit_card", "email", "phone"):
        if field in copy:
            copy[field] = privacy.REDACTED
    return copy


def one_pattern() -> None:
    """Replace one pattern in each column of text, with Arrow."""
    for name in ("colour", "code", "comment", "email"):
        pc.replace_substring_regex(pa.array(table[name]), pattern=E_MAIL, replacement="-")


def measure(cases: dict[str, Callable[[], object]]) -> list[dict[str, float]]:
    """Return the seconds of each case in each round."""
    rounds = []
    for _ in range(repeats):
        found = {}
        for name, work in cases.items():
            start = time.perf_counter()
            work()
            found[name] = time.perf_counter() - start
        rounds.append(found)
    return rounds


free, table = sentences(texts), make(rows)
records = [{"email": "ann@example.org", "note": text, "size": 1.5} for text in free]
search = re.compile(E_MAIL).sub
policies = privacy.policies(table, {})
choice: dict[str, privacy.Policy] = {"code": "pseudonymise", "email": "mask"}
report = {
    "texts": measure(
        {
            "one re.sub for e-mail addresses": lambda: [search("-", text) for text in free],
            "redact_text": lambda: [privacy.redact_text(text) for text in free],
        }
    ),
    "records": measure(
        {
            "the guide's snippet": lambda: [guide(record) for record in records],
            "redact": lambda: [privacy.redact(record) for record in records],
        }
    ),
    "table": measure(
        {
            "one pattern replaced by Arrow": one_pattern,
            "redact_table": lambda: privacy.redact_table(table),
            "protect": lambda: privacy.protect(table, policies),
            "protect, one column pseudonymised": lambda: privacy.protect(table, choice),
        }
    ),
}
print(json.dumps(report))

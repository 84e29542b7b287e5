"""Secrets do not pass, by the field's name or by how they look; ordinary values do."""

import pytest

from {{ cookiecutter.package_name }} import privacy


@pytest.mark.parametrize(
    "name", ["password", "DB_PASSWORD", "apiKey", "api-key", "user.email", "secrets", "auth token"]
)
def test_sensitive_names(name: str) -> None:
    assert privacy.is_sensitive(name)


@pytest.mark.parametrize("name", ["max_tokens", "tokenizer", "emailed_rows", "keyboard", "seed"])
def test_ordinary_names(name: str) -> None:
    assert not privacy.is_sensitive(name)


def test_nested_values_are_redacted() -> None:
    value = {"a": [{"Password": "hunter2", "rows": 3}], "uri": "https://me:pw@host/x", "b": None}
    assert privacy.redact(value) == {
        "a": [{"Password": "[REDACTED]", "rows": 3}],
        "uri": "https://[REDACTED]@host/x",
        "b": None,
    }


def test_addresses_in_text_are_redacted() -> None:
    assert privacy.redact_text("by ann@example.org, 3 rows") == "by [REDACTED], 3 rows"

"""The sources of the configuration: files, environment variables and ``--set``, and their merge."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .. import privacy
from .validation_errors import SettingsError

# Files of configs/ that hold no settings.
OTHER_FILES = {"approvers", "behaviour", "model_card"}
_NEXT_KEY = re.compile(r"\s+(?=[\w.]+=)")  # a value may contain spaces

Source = tuple[str, dict[str, Any]]  # its name in messages, and its values


def variable_prefix(package: str) -> str:
    """Return the beginning of every environment variable that changes a project's settings."""
    return f"{package.upper()}__"


def read_sources(
    root: Path, environment: str, prefix: str, overrides: Sequence[str]
) -> Iterator[Source]:
    """Yield all sources, the weakest first.

    Raises:
        SettingsError: one cannot be read.
    """
    yield _read_file(root, "base")
    yield _read_file(root, environment)
    for name in sorted(os.environ):
        if name.upper().startswith(prefix) and name.upper() not in (
            f"{prefix}ENV",
            f"{prefix}ROOT",
        ):
            key = name[len(prefix) :].lower().replace("__", ".")
            yield name, _nested(name, key, os.environ[name])
    for text in overrides:
        for assignment in filter(None, _NEXT_KEY.split(text)):
            key, separator, value = assignment.partition("=")
            if not separator or not key.strip():
                raise SettingsError(
                    f"--set {privacy.redact_text(assignment)}: write it as dotted.key=value, "
                    "such as training.seed=7"
                )
            yield "--set", _nested("--set", key.strip(), value)


def merge(sources: Iterator[Source]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the merged values, and the source of each dotted key, the weakest source first.

    A later source wins, key by key. The parameters of an estimator are dropped when a later source
    names another estimator.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, values in sources:
        before, after = _estimator(merged), _estimator(values)
        if before and after and before != after:
            merged["training"].pop("params", None)
            origins = {k: v for k, v in origins.items() if not k.startswith("training.params")}
        _merge_into(merged, values)
        for key, _ in flatten(values):
            origins.pop(key, None)  # keeps the strongest source last
            origins[key] = name
    return merged, origins


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with its dotted key."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read_file(root: Path, name: str) -> Source:
    place = f"configs/{name}.yaml"
    try:
        values = yaml.safe_load((root / place).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {path.stem for path in (root / "configs").glob("*.yaml")}
        environments = ", ".join(sorted(found - OTHER_FILES - {"base"})) or "none"
        raise SettingsError(
            f"{place}: no such file in {root}; environments here: {environments}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{place}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise SettingsError(f"{place}: not valid YAML: {_one_line(error)}") from None
    if not isinstance(values, dict | None):
        raise SettingsError(f"{place}: must be a mapping of sections, such as training:")
    return place, _with_text_keys(values or {})


def _nested(place: str, key: str, text: str) -> dict[str, Any]:
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{place}: {key}: not a valid YAML value: {_one_line(error)}") from None
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _with_text_keys(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(key): _with_text_keys(value) if isinstance(value, dict) else value
        for key, value in values.items()
    }


def _merge_into(merged: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            if not isinstance(merged.get(key), dict):
                merged[key] = {}
            _merge_into(merged[key], value)
        else:
            merged[key] = value


def _estimator(values: Mapping[str, Any]) -> object:
    training = values.get("training")
    return training.get("estimator") if isinstance(training, dict) else None


def _one_line(error: Exception) -> str:
    return privacy.redact_text(" ".join(str(error).split()))

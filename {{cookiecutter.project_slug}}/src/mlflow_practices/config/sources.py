"""The sources of the configuration: files, environment variables and ``--set``, and their merge."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .. import privacy
from .validation_errors import SettingsError

OTHER_FILES = {"approvers.yaml", "behaviour.yaml", "model_card.yaml"}  # of configs/
_NEXT_KEY = re.compile(r"\s+(?=[\w.]+=)")  # a value may contain spaces

Source = tuple[str, dict[str, Any]]  # its name in messages, and its values


def variable_prefix(package: str) -> str:
    """Return the beginning of every environment variable that changes a project's settings."""
    return f"{package.upper()}__"


def read_sources(
    root: Path, environment: str, prefix: str, overrides: Sequence[str]
) -> Iterator[Source]:
    """Yield all sources, the weakest first."""
    for name in ("base", environment):
        yield _read_file(root, f"configs/{name}.yaml")
    not_settings = (f"{prefix}ENV", f"{prefix}ROOT")
    for name in sorted(os.environ):
        if name.upper().startswith(prefix) and name.upper() not in not_settings:
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


def merge(sources: Iterable[Source]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the merged values, and the source of each dotted key, the weakest source first.

    A later source wins, key by key. A source that names another estimator than the sources before
    it drops their parameters of the estimator.
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


def _read_file(root: Path, place: str) -> Source:
    try:
        values = parse_yaml(place, (root / place).read_text(encoding="utf-8"))
    except FileNotFoundError:
        others = OTHER_FILES | {"base.yaml"}
        found = [each.stem for each in (root / "configs").glob("*.yaml") if each.name not in others]
        environments = ", ".join(sorted(found)) or "none"
        raise SettingsError(
            f"{place}: no such file in {root}; environments here: {environments}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{place}: cannot be read: {error}") from None
    if not isinstance(values, dict | None):
        raise SettingsError(f"{place}: must be a mapping of sections, such as training:")
    return place, values or {}


def parse_yaml(place: str, text: str) -> Any:
    """Return the values in YAML text; an error names ``place``."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        reason = privacy.redact_text(" ".join(str(error).split()))
        raise SettingsError(f"{place}: not valid YAML: {reason}") from None


def _nested(place: str, key: str, text: str) -> dict[str, Any]:
    value = parse_yaml(f"{place}: {key}", text)
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _merge_into(merged: dict[str, Any], values: Mapping[Any, Any]) -> None:
    for key, value in values.items():
        if not isinstance(value, Mapping):
            merged[str(key)] = value
            continue
        if not isinstance(merged.get(str(key)), dict):
            merged[str(key)] = {}
        _merge_into(merged[str(key)], value)


def _estimator(values: Mapping[str, Any]) -> object:
    training = values.get("training")
    return training.get("estimator") if isinstance(training, dict) else None

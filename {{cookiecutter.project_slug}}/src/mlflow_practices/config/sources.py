"""The layers of the configuration, read one by one, and their mistakes in words."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from .. import privacy
from ..errors import PracticeError, did_you_mean

NO_ENVIRONMENTS = {"base", "approvers", "behaviour", "model_card"}  # other files of configs/
_NEXT_KEY = re.compile(r"\s+(?=[\w.]+=)")  # a value may hold spaces

Layer = tuple[str, dict[str, Any]]


class SettingsError(PracticeError):
    """The configuration is wrong; one line a mistake, with its place and the remedy."""


def variable_prefix(package: str) -> str:
    """Return what every environment variable of a project's settings begins with."""
    return f"{package.upper()}__"


def read_file(root: Path, name: str) -> Layer:
    """Read ``configs/<name>.yaml``."""
    place = f"configs/{name}.yaml"
    try:
        values = yaml.safe_load((root / place).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {path.stem for path in (root / "configs").glob("*.yaml")}
        known = ", ".join(sorted(found - NO_ENVIRONMENTS))
        raise SettingsError(
            f"{place}: no such file in {root}; environments here: {known or 'none'}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{place}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise SettingsError(f"{place}: not valid YAML: {_one_line(error)}") from None
    return place, _mapping(place, values)


def read_variables(prefix: str) -> Iterator[Layer]:
    """Yield a layer for each environment variable that begins with ``prefix``."""
    others = {f"{prefix}ENV", f"{prefix}ROOT"}
    for name in sorted(os.environ):
        if name.upper().startswith(prefix) and name.upper() not in others:
            key = name[len(prefix) :].lower().replace("__", ".")
            yield name, _nested(name, key, os.environ[name])


def read_overrides(texts: Sequence[str]) -> Iterator[Layer]:
    """Yield a layer for each ``dotted.key=value``; a text may hold several."""
    for part in (part for text in texts for part in _NEXT_KEY.split(text) if part):
        yield _override(part)


def _override(text: str) -> Layer:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise SettingsError(
            f"--set {privacy.redact_text(text)}: write it as dotted.key=value, "
            "such as training.seed=7"
        )
    return "--set", _nested("--set", key.strip(), value)


def _nested(place: str, key: str, text: str) -> dict[str, Any]:
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{place}: {key}: not a valid YAML value: {_one_line(error)}") from None
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _mapping(place: str, values: object) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{place}: must be a mapping of sections, such as training:")
    return {str(key): _mapping(place, v) if isinstance(v, dict) else v for key, v in values.items()}


def merge(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the layers as one mapping; a later one wins, key by key."""
    merged: dict[str, Any] = {}
    for _, values in layers:
        _merge_into(merged, values)
    return merged


def _merge_into(merged: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            known = merged.get(key)
            merged[key] = dict(known) if isinstance(known, Mapping) else {}
            _merge_into(merged[key], value)
        else:
            merged[key] = value


def forget_parameters_of_other_estimators(layers: list[Layer]) -> None:
    """Drop what lower layers say of an estimator that a higher layer has replaced."""
    estimator = None
    for index, (_, values) in enumerate(layers):
        training = values.get("training")
        chosen = training.get("estimator") if isinstance(training, dict) else None
        if chosen is not None and estimator not in (None, chosen):
            for _, lower in layers[:index]:
                if isinstance(lower.get("training"), dict):
                    lower["training"].pop("params", None)
        estimator = chosen or estimator


def origins(layers: Sequence[Layer]) -> dict[str, str]:
    """Return the layer that each dotted key takes its value from, weakest layers first."""
    found: dict[str, str] = {}
    for name, values in layers:
        for key, _ in flatten(values):
            found.pop(key, None)  # so that the order stays that of the layers
            found[key] = name
    return found


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with its dotted key."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def explain(
    error: ValidationError, model: type[BaseModel], origins: Mapping[str, str], section: str = ""
) -> str:
    """Return all mistakes in words, a line each; ``section`` is where ``model`` stands."""
    return "\n".join(_explain(dict(mistake), model, origins, section) for mistake in error.errors())


def _explain(
    error: dict[str, Any], model: type[BaseModel], origins: Mapping[str, str], section: str
) -> str:
    """Return one line: place, dotted key, what is wrong, what is allowed, what may be meant."""
    if not error["loc"] and not section:  # a rule between sections; it starts with the key
        message = str(error["ctx"]["error"])
        return f"{place(message.partition(':')[0].split('.'), origins)}: {message}"
    inside = [str(part) for part in error["loc"]]
    *parents, last = parts = [*([section] if section else []), *inside]
    key = ".".join(parts)
    where = place(parts, origins)
    match error["type"]:
        case "extra_forbidden":
            allowed = list(_fields(model, inside[:-1]))
            hint = did_you_mean(last, allowed, "".join(f"{part}." for part in parents))
            return f"{where}: {key}: unknown key; allowed: {', '.join(allowed)}{hint}"
        case "missing":
            return f"configs/base.yaml: {key}: missing; give it a value"
        case "literal_error":
            allowed = [
                text.strip("' ")
                for text in error["ctx"]["expected"].replace(" or ", ",").split(",")
            ]
            hints = _got(key, error) + did_you_mean(str(error["input"]), allowed)
            return f"{where}: {key}: allowed: {', '.join(allowed)}{hints}"
        case "model_type" | "dict_type":
            inner = ", ".join(_fields(model, inside))
            return f"{where}: {key}: must be a mapping{f' with the keys {inner}' if inner else ''}"
        case "value_error":
            return f"{where}: {key}: {error['ctx']['error']}"
    message = str(error["msg"])
    return f"{where}: {key}: {message[0].lower()}{message[1:]}{_got(key, error)}"


def place(parts: Sequence[str], origins: Mapping[str, str]) -> str:
    """Return the strongest layer that says something of this key, or else of what holds it."""
    while parts:
        key = ".".join(parts)
        said = [
            layer for known, layer in origins.items() if known == key or known.startswith(f"{key}.")
        ]
        if said:
            return said[-1]
        *parts, _ = parts
    return "configs/base.yaml"


def _fields(model: Any, path: Sequence[str]) -> Iterator[str]:
    for part in path:
        if get_origin(model) is dict:  # of names that people choose
            model = get_args(model)[1]
            continue
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
        if type(None) in get_args(model):  # a section that may be left out
            model = get_args(model)[0]
    yield from getattr(model, "model_fields", {})


def _got(key: str, error: dict[str, Any]) -> str:
    value = privacy.REDACTED if privacy.is_sensitive(key) else privacy.redact(error["input"])
    return f" (got {value!r})"


def _one_line(error: Exception) -> str:
    return privacy.redact_text(" ".join(str(error).split()))

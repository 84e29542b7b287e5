"""The layers of the configuration, read one by one, and their mistakes in words."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from . import privacy

NO_ENVIRONMENTS = {"base", "approvers", "behaviour", "model_card"}  # other files of configs/
PREFIX = f"{__package__.upper()}__"
ENVIRONMENT, ROOT = f"{PREFIX}ENV", f"{PREFIX}ROOT"
_NEXT_KEY = re.compile(r"\s+(?=[\w.]+=)")  # a value may hold spaces

Layer = tuple[str, dict[str, Any]]


class SettingsError(Exception):
    """The configuration is wrong; one line a mistake, with its place and the remedy."""


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
    except yaml.YAMLError as error:
        raise SettingsError(f"{place}: not valid YAML: {_one_line(error)}") from None
    return place, _mapping(place, values)


def read_variables() -> Iterator[Layer]:
    """Yield a layer for each environment variable that begins with the package's name."""
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in (ENVIRONMENT, ROOT):
            key = name[len(PREFIX) :].lower().replace("__", ".")
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
    except yaml.YAMLError as error:
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
    error: ValidationError, model: type[BaseModel], origins: dict[str, str]
) -> SettingsError:
    """Return all mistakes in words, a line each."""
    return SettingsError(
        "\n".join(_explain(dict(mistake), model, origins) for mistake in error.errors())
    )


def _explain(error: dict[str, Any], model: type[BaseModel], origins: dict[str, str]) -> str:
    """Return one line: place, dotted key, what is wrong, what is allowed, what may be meant."""
    if not error["loc"]:  # a rule between sections; its message starts with the key
        message = str(error["ctx"]["error"])
        return f"{_place(message.partition(':')[0].split('.'), origins)}: {message}"
    *parents, last = parts = [str(part) for part in error["loc"]]
    key = ".".join(parts)
    place = _place(parts, origins)
    match error["type"]:
        case "extra_forbidden":
            allowed = list(_fields(model, parents))
            guess = _guess(last, allowed, parents)
            return f"{place}: {key}: unknown key; allowed: {', '.join(allowed)}{guess}"
        case "missing":
            return f"configs/base.yaml: {key}: missing; give it a value"
        case "literal_error":
            allowed = [
                text.strip("' ")
                for text in error["ctx"]["expected"].replace(" or ", ",").split(",")
            ]
            hints = _got(key, error) + _guess(str(error["input"]), allowed)
            return f"{place}: {key}: allowed: {', '.join(allowed)}{hints}"
        case "model_type" | "dict_type":
            inner = ", ".join(_fields(model, parts))
            return f"{place}: {key}: must be a mapping{f' with the keys {inner}' if inner else ''}"
        case "value_error":
            return f"{place}: {key}: {error['ctx']['error']}"
    message = str(error["msg"])
    return f"{place}: {key}: {message[0].lower()}{message[1:]}{_got(key, error)}"


def _place(parts: Sequence[str], origins: dict[str, str]) -> str:
    """Return the strongest layer that says something of this key, or else of what holds it."""
    while parts:
        key = ".".join(parts)
        said = [
            place for known, place in origins.items() if known == key or known.startswith(f"{key}.")
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
    yield from getattr(model, "model_fields", {})


def _guess(word: str, allowed: Sequence[str], parents: Sequence[str] = ()) -> str:
    near = difflib.get_close_matches(word, allowed, n=1)
    return f"; did you mean {'.'.join([*parents, near[0]])}?" if near else ""


def _got(key: str, error: dict[str, Any]) -> str:
    value = privacy.REDACTED if privacy.is_sensitive(key) else privacy.redact(error["input"])
    return f" (got {value!r})"


def _one_line(error: Exception) -> str:
    return privacy.redact_text(" ".join(str(error).split()))

"""The error of a wrong configuration, and pydantic's errors as lines that name place and remedy."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .. import components, privacy
from ..errors import PracticeError, did_you_mean


class SettingsError(PracticeError):
    """The configuration is wrong; one line for each mistake, with its place and the remedy."""


def explain(
    error: ValidationError,
    model: type[BaseModel],
    origins: Mapping[str, str],
    file: str = "configs/base.yaml",
) -> str:
    """Return a line for each mistake.

    ``origins`` names the source of each dotted key, ``file`` that of keys that have none.
    """
    return "\n".join(_explain(dict(mistake), model, origins, file) for mistake in error.errors())


def _explain(
    mistake: dict[str, Any], model: type[BaseModel], origins: Mapping[str, str], file: str
) -> str:
    path = [str(part) for part in mistake["loc"]]
    if not path:  # a rule between sections, whose message begins with the key
        message = str(mistake["ctx"]["error"])
        return f"{_place(message.partition(':')[0].split('.'), origins, file)}: {message}"
    place = file if mistake["type"] == "missing" else _place(path, origins, file)
    return f"{place}: {'.'.join(path)}: {_reason(mistake, path, model)}"


def _reason(mistake: dict[str, Any], path: list[str], model: type[BaseModel]) -> str:
    match mistake["type"]:
        case "missing":
            return "missing; give it a value"
        case "extra_forbidden":
            if len(path) == 1 and path[0] in components.SECTIONS:
                return f"the component {path[0]} is not part of this project; take the section out"
            known = _keys(model, path[:-1])
            prefix = "".join(f"{part}." for part in path[:-1])
            hint = did_you_mean(path[-1], known, prefix)
            return f"unknown key; allowed: {', '.join(known)}{hint}"
        case "literal_error":
            allowed = re.findall(r"'([^']*)'", mistake["ctx"]["expected"])
            hint = did_you_mean(str(mistake["input"]), allowed)
            return f"allowed: {', '.join(allowed)}{_given(mistake, path)}{hint}"
        case "model_type" | "dict_type":
            known = _keys(model, path)
            return "must be a mapping" + (f" with the keys {', '.join(known)}" if known else "")
        case "value_error":
            return str(mistake["ctx"]["error"])
        case _:
            message = str(mistake["msg"])
            return f"{message[0].lower()}{message[1:]}{_given(mistake, path)}"


def _place(path: Sequence[str], origins: Mapping[str, str], file: str) -> str:
    """Return the strongest source of this key, or else of the nearest key that contains it."""
    for length in range(len(path), 0, -1):
        key = ".".join(path[:length])
        places = [origins[known] for known in origins if f"{known}.".startswith(f"{key}.")]
        if places:
            return places[-1]
    return file


def _keys(model: Any, path: Sequence[str]) -> list[str]:
    """Return the keys that a model allows at a path below it."""
    for part in path:
        if get_origin(model) in (dict, list):  # people choose its keys
            model = get_args(model)[-1]
            continue
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
        if type(None) in get_args(model):  # an optional section
            model = get_args(model)[0]
    return list(getattr(model, "model_fields", {}))


def _given(mistake: dict[str, Any], path: Sequence[str]) -> str:
    secret = privacy.is_sensitive(".".join(path))
    value = privacy.REDACTED if secret else privacy.redact(mistake["input"])
    return f" (got {value!r})"

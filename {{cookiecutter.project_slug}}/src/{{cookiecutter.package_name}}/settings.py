"""Typed settings in layers: base.yaml, <env>.yaml, environment variables, ``--set``.

A later layer wins, key by key. Whatever is wrong is reported with the layer it came from.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from . import privacy

PREFIX = f"{__package__.upper()}__"
ENVIRONMENT, ROOT = f"{PREFIX}ENV", f"{PREFIX}ROOT"
DEFAULT_ENVIRONMENT = "local"

_NEXT_KEY = re.compile(r"\s+(?=[\w.]+=)")  # a value may hold spaces

Layer = tuple[str, dict[str, Any]]


class SettingsError(Exception):
    """The configuration is wrong; one line a mistake, with its place and the remedy."""


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Project(Section):
    """What the experiments and the registered model are called."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)
    template_version: str


class Tracking(Section):
    """Where MLflow is."""

    uri: str = ""

    @field_validator("uri")
    @classmethod
    def _no_password(cls, uri: str) -> str:
        if urlsplit(uri).password:
            raise ValueError(
                "holds a password; use MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (PGPASSWORD for PostgreSQL)"
            )
        return uri


class Split(Section):
    """How rows are shared out: shares of all rows, the rest is for training."""

    method: Literal["random", "stratified", "grouped", "time"] = "random"
    column: str | None = None
    validation: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)
    seed: int = Field(default=42, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave no rows to train on")
        if self.method in ("grouped", "time") and self.column is None:
            raise ValueError(f"a {self.method} split needs `column`")
        return self


class Data(Section):
    """The raw file and what is made of it."""

    raw: Path
    encoding: str = "utf-8"
    separator: str = ","
    target: str
    drop: list[str] = []
    processed: Path = Path("data/processed")
    split: Split = Split()

    @model_validator(mode="after")
    def _target_stays(self) -> Self:
        if self.target in self.drop:
            raise ValueError(f"the target {self.target!r} cannot be dropped")
        return self


class Training(Section):
    """The estimator, by its dotted path, and its parameters."""

    estimator: str = Field(pattern=r"^\w+(\.\w+)+$")
    params: dict[str, Any] = {}
    trusted_types: list[str] = []
    seed: int = Field(default=42, ge=0, lt=2**32)


class Evaluation(Section):
    """What evaluation may cost."""

    importance_columns: int = Field(default=200, ge=0)
    importance_rows: int = Field(default=1000, ge=1)
    importance_repeats: int = Field(default=5, ge=1)


class Settings(BaseSettings):
    """The effective configuration; make one with `load_settings`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    project: Project
    problem_type: Literal["classification", "regression"]
    tracking: Tracking = Tracking()
    data: Data
    training: Training
    evaluation: Evaluation = Evaluation()

    _environment: str = PrivateAttr(DEFAULT_ENVIRONMENT)
    _root: Path = PrivateAttr()
    _origins: dict[str, str] = PrivateAttr()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the layers of `load_settings`, strongest first; they are merged deeply.

        The library's own readers pass over a missing file and a mistyped variable in silence.
        """
        layers: list[Layer] = init_settings().pop("layers")
        return tuple(InitSettingsSource(settings_cls, values) for _, values in reversed(layers))

    @property
    def environment(self) -> str:
        """The name of the environment, such as ``local``."""
        return self._environment

    @property
    def root(self) -> Path:
        """The project's folder; relative paths start there."""
        return self._root

    def path(self, relative: Path) -> Path:
        """Return a path of the configuration as an absolute one."""
        return self._root / relative

    def flat(self) -> dict[str, Any]:
        """Return every value under its dotted key, secrets masked."""
        return dict(_flatten(privacy.redact(self.model_dump(mode="json"))))

    def origin(self, key: str) -> str:
        """Return the layer that the value of a dotted key came from."""
        return self._origins.get(key, "default")


def project_root() -> Path:
    """Return the folder that holds configs/: named by a variable, around the code, or this one."""
    if named := os.environ.get(ROOT):
        return Path(named).absolute()
    around = Path(__file__).resolve().parents[2]
    return around if (around / "configs").is_dir() else Path.cwd()


def load_settings(environment: str | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Read and check the configuration.

    Args:
        environment: names ``configs/<environment>.yaml``; by default the variable
            ``<PACKAGE>__ENV``, else ``local``.
        overrides: texts of one or more ``dotted.key=value``, the values in YAML.

    Raises:
        SettingsError: something is wrong with a file, a variable or an override.
    """
    root = project_root()
    environment = environment or os.environ.get(ENVIRONMENT) or DEFAULT_ENVIRONMENT
    layers = [
        _file_layer(root, "base"),
        _file_layer(root, environment),
        *_variable_layers(),
        *(_override_layer(part) for text in overrides for part in _NEXT_KEY.split(text) if part),
    ]
    _forget_parameters_of_other_estimators(layers)
    origins: dict[str, str] = {}
    for name, values in layers:
        for key, _ in _flatten(values):
            origins.pop(key, None)  # so that the order stays that of the layers
            origins[key] = name
    try:
        settings = Settings(layers=layers)  # type: ignore[call-arg]
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(dict(e), origins) for e in error.errors())) from None
    settings._environment, settings._root, settings._origins = environment, root, origins
    return settings


def _file_layer(root: Path, name: str) -> Layer:
    place = f"configs/{name}.yaml"
    try:
        values = yaml.safe_load((root / place).read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(
            sorted(p.stem for p in (root / "configs").glob("*.yaml") if p.stem != "base")
        )
        raise SettingsError(
            f"{place}: no such file in {root}; environments here: {known or 'none'}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{place}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{place}: not valid YAML: {_one_line(error)}") from None
    return place, _mapping(place, values)


def _variable_layers() -> Iterator[Layer]:
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in (ENVIRONMENT, ROOT):
            key = name[len(PREFIX) :].lower().replace("__", ".")
            yield name, _nested(name, key, os.environ[name])


def _override_layer(text: str) -> Layer:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise SettingsError(
            f"--set {privacy.redact_text(text)}: write it as dotted.key=value, such as training.seed=7"
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
        raise SettingsError(
            f"{place}: must be a mapping with the keys {', '.join(Settings.model_fields)}"
        )
    return {str(key): _mapping(place, v) if isinstance(v, dict) else v for key, v in values.items()}


def _forget_parameters_of_other_estimators(layers: list[Layer]) -> None:
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


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _explain(error: dict[str, Any], origins: dict[str, str]) -> str:
    """Return one line: place, dotted key, what is wrong, what is allowed, what may be meant."""
    *parents, last = parts = [str(part) for part in error["loc"]]
    key = ".".join(parts)
    place = _place(parts, origins)
    match error["type"]:
        case "extra_forbidden":
            allowed = list(_fields(parents))
            return f"{place}: {key}: unknown key; allowed: {', '.join(allowed)}{_guess(last, allowed, parents)}"
        case "missing":
            return f"configs/base.yaml: {key}: missing; give it a value"
        case "literal_error":
            allowed = [
                text.strip("' ")
                for text in error["ctx"]["expected"].replace(" or ", ",").split(",")
            ]
            return f"{place}: {key}: allowed: {', '.join(allowed)}{_got(key, error)}{_guess(str(error['input']), allowed)}"
        case "model_type" | "dict_type":
            inner = ", ".join(_fields(parts))
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


def _fields(path: Sequence[str]) -> Iterator[str]:
    model: Any = Settings
    for part in path:
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

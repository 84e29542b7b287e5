"""Typed settings in layers: base.yaml, <env>.yaml, environment variables, ``--set``.

A later layer wins, key by key. Whatever is wrong is reported with the layer it came from.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

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

from . import layers as layering
from . import privacy

DEFAULT_ENVIRONMENT = "local"
METRICS = {
    "classification": (
        "accuracy",
        "balanced_accuracy",
        "precision_macro",
        "recall_macro",
        "f1_macro",
        "log_loss",
        "roc_auc",
    ),
    "regression": ("rmse", "mae", "r2"),
}


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Project(Section):
    """What the experiments and the registered model are called."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)
    template_version: str

    @field_validator("name")
    @classmethod
    def _not_in_production(cls, name: str) -> str:
        if name.endswith("-production"):
            raise ValueError("must not end in -production: so the model in production is called")
        return name


class Tracking(Section):
    """Where MLflow is, and whether metrics and parameters are sent while a stage goes on."""

    uri: str = ""
    asynchronous: bool = False

    @field_validator("uri")
    @classmethod
    def _no_password(cls, uri: str) -> str:
        if urlsplit(uri).password:
            raise ValueError(
                "holds a password; use MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
                "(PGPASSWORD for PostgreSQL)"
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
    key: str | None = None
    processed: Path = Path("data/processed")
    split: Split = Split()

    @field_validator("raw", mode="before")
    @classmethod
    def _is_a_file(cls, raw: object) -> object:
        if "://" in str(raw):
            raise ValueError("is an address; fetch the file, and name it by its path")
        return raw

    @model_validator(mode="after")
    def _target_stays(self) -> Self:
        if self.target in self.drop:
            raise ValueError(f"the target {self.target!r} cannot be dropped")
        return self


class Privacy(Section):
    """What becomes of columns that hold personal data, and what else is never written."""

    drop: list[str] = []
    mask: list[str] = []
    pseudonymise: list[str] = []
    keep: list[str] = []
    fields: list[str] = []
    sample_rows: int = Field(default=5, ge=0, le=1000)

    @property
    def policies(self) -> dict[str, privacy.Policy]:
        """Return the policy of each column that has one."""
        policies: tuple[privacy.Policy, ...] = get_args(privacy.Policy)
        return {column: policy for policy in policies for column in getattr(self, policy)}

    @model_validator(mode="after")
    def _one_policy_a_column(self) -> Self:
        named = [*self.drop, *self.mask, *self.pseudonymise, *self.keep]
        if twice := sorted({column for column in named if named.count(column) > 1}):
            raise ValueError(f"two policies for {', '.join(twice)}; keep one")
        return self


class Training(Section):
    """The estimator, by its dotted path, and its parameters."""

    estimator: str = Field(pattern=r"^\w+(\.\w+)+$")
    params: dict[str, Any] = {}
    trusted_types: list[str] = []
    seed: int = Field(default=42, ge=0, lt=2**32)


class MetricGate(Section):
    """What a metric must reach; a limit that is left out is not judged."""

    at_least: float | None = None
    at_most: float | None = None
    beats_baseline_by: float | None = Field(default=None, ge=0)
    champion_margin: float | None = Field(default=None, ge=0)


class SliceGate(Section):
    """What a metric must reach in each slice: the rows that share a value of a column."""

    columns: list[str] = []
    metric: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    min_rows: int = Field(default=20, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.columns and self.metric is None:
            raise ValueError("`columns` need a `metric`")
        return self


class Gates(Section):
    """What a version must pass before anybody may approve it."""

    metrics: dict[str, MetricGate] = {}
    slices: SliceGate = SliceGate()
    latency_ms: float | None = Field(default=None, gt=0)
    size_mb: float | None = Field(default=None, gt=0)
    complete_card: bool = False
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=1000, ge=100, le=100_000)


class Evaluation(Section):
    """What evaluation may cost, and what it demands."""

    importance_columns: int = Field(default=200, ge=0)
    importance_rows: int = Field(default=500, ge=1)
    importance_repeats: int = Field(default=3, ge=1)
    gates: Gates = Gates()


class Approval(Section):
    """Who may approve, and for how long."""

    four_eyes: bool = False
    valid_days: int | None = Field(default=None, ge=1)


class Cache(Section):
    """Predictions kept for rows that come again: in Redis where REDIS_URL names one, else here."""

    mode: Literal["auto", "always", "never"] = "auto"
    ttl_seconds: int = Field(default=3600, ge=1)
    max_entries: int = Field(default=100_000, ge=1)
    max_rows: int = Field(default=1000, ge=1)
    timeout_ms: float = Field(default=50, gt=0)


class InferenceLog(Section):
    """What is kept of requests and answers for monitoring."""

    sample: float = Field(default=1.0, ge=0, le=1)
    folder: Path = Path("data/inference")
    max_mb: float = Field(default=1000, gt=0)
    max_waiting_rows: int = Field(default=20_000, ge=1)
    flush_rows: int = Field(default=5000, ge=1)
    flush_seconds: float = Field(default=60, gt=0)


class Serving(Section):
    """How a model is served."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=256)
    poll_seconds: float = Field(default=5, gt=0)
    max_body_mb: float = Field(default=10, gt=0)
    drain_seconds: int = Field(default=30, ge=1)
    optimize: bool = True
    local_copy: Path = Path("models/serving")
    cache: Cache = Cache()
    log: InferenceLog = InferenceLog()


class Canary(Section):
    """A share of production's requests that a version answers before it is promoted; 0: none."""

    share: float = Field(default=0, ge=0, le=0.5)
    seconds: float = Field(default=60, gt=0)
    min_requests: int = Field(default=50, ge=1)
    max_slowdown: float = Field(default=2, ge=1)


class Watch(Section):
    """How long production is watched after a change, and what makes it go back."""

    seconds: float = Field(default=30, ge=0)
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    max_latency_ms: float = Field(default=500, gt=0)


class Deployment(Section):
    """Who runs production, where it answers, and how long each step may take."""

    target: Literal["local", "docker", "kubernetes"] = "local"
    url: str = ""
    tests: Path = Path("tests/serving")
    ready_seconds: int = Field(default=120, ge=1)
    test_seconds: int = Field(default=900, ge=1)
    switch_seconds: int = Field(default=60, ge=1)
    watch: Watch = Watch()
    canary: Canary = Canary()
    image: str = Field(default="serving:latest", pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$")
    replicas: int = Field(default=2, ge=1)
    cpu: float = Field(default=1, ge=0.1)
    memory: str = Field(default="1Gi", pattern=r"^[1-9]\d*[MG]i$")

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.password:
            raise ValueError("holds a password; production is asked without one")
        if url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("is no address; write it as https://serving.example.com")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.target != "local" and not self.url:
            raise ValueError(f"`url`: say where production answers; {self.target} runs it")
        return self


class Settings(BaseSettings):
    """The effective configuration; make one with `load_settings`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    project: Project
    problem_type: Literal["classification", "regression"]
    tracking: Tracking = Tracking()
    data: Data
    privacy: Privacy = Privacy()
    training: Training
    evaluation: Evaluation = Evaluation()
    approval: Approval = Approval()
    serving: Serving = Serving()
    deployment: Deployment = Deployment()

    _environment: str = PrivateAttr(DEFAULT_ENVIRONMENT)
    _root: Path = PrivateAttr()
    _origins: dict[str, str] = PrivateAttr()

    @model_validator(mode="after")
    def _target_can_be_learned(self) -> Self:
        if self.privacy.policies.get(self.data.target) in ("drop", "mask"):
            raise ValueError(
                f"privacy: the target {self.data.target!r} cannot be dropped or masked"
            )
        return self

    @model_validator(mode="after")
    def _gates_name_metrics(self) -> Self:
        gates, known = self.evaluation.gates, METRICS[self.problem_type]
        wrong = [(f"metrics.{name}", name, "", known) for name in gates.metrics.keys() - set(known)]
        sums = tuple(name for name in known if name != "roc_auc")  # that one compares all rows
        if gates.slices.metric is not None and gates.slices.metric not in sums:
            wrong.append(("slices.metric", gates.slices.metric, "a slice of ", sums))
        if wrong:
            place, name, of, there = min(wrong)
            raise ValueError(
                f"evaluation.gates.{place}: {name} is no metric of {of}{self.problem_type}; "
                f"there are {', '.join(there)}"
            )
        return self

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
        layers: list[layering.Layer] = init_settings().pop("layers")
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
        return dict(layering.flatten(privacy.redact(self.model_dump(mode="json"))))

    def origin(self, key: str) -> str:
        """Return the layer that the value of a dotted key came from."""
        return self._origins.get(key, "default")


def project_root() -> Path:
    """Return the folder that holds configs/: named by a variable, around the code, or this one."""
    if named := os.environ.get(layering.ROOT):
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
    environment = environment or os.environ.get(layering.ENVIRONMENT) or DEFAULT_ENVIRONMENT
    layers = [
        layering.read_file(root, "base"),
        layering.read_file(root, environment),
        *layering.read_variables(),
        *layering.read_overrides(overrides),
    ]
    layering.forget_parameters_of_other_estimators(layers)
    origins = layering.origins(layers)
    try:
        settings = Settings(layers=layers)  # type: ignore[call-arg]
    except ValidationError as error:
        raise layering.explain(error, Settings, origins) from None
    settings._environment, settings._root, settings._origins = environment, root, origins
    privacy.configure(settings.privacy.fields, settings.privacy.keep)
    return settings

"""The sections of the configuration that every project has, with the limits of their values."""

from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .. import privacy


class Section(BaseModel):
    """A part of the configuration, immutable; unknown keys are refused.

    ``section_name`` is the key of a component's section or of the project's own at the top level.
    """

    section_name: ClassVar[str] = ""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectSettings(Section):
    """The name of the experiments and the registered model."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)

    @field_validator("name")
    @classmethod
    def _not_in_production(cls, name: str) -> str:
        if name.endswith("-production"):
            raise ValueError(
                "must not end in -production: that is the name of the model in production"
            )
        return name


class Tracking(Section):
    """Where MLflow is, and whether a stage waits until metrics and parameters have been sent."""

    uri: str = ""
    asynchronous: bool = False

    @field_validator("uri")
    @classmethod
    def _no_password(cls, uri: str) -> str:
        if urlsplit(uri).password:
            raise ValueError(
                "contains a password; use MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
                "(PGPASSWORD for PostgreSQL)"
            )
        return uri


class Split(Section):
    """How rows are split: the shares of validation and test; the rest is for training."""

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
    """The raw table, and where the prepared one is written."""

    raw: Path | None = None  # without a file, `read` of data_preparation.py returns the table
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
            raise ValueError("is an address; let data_preparation.read fetch it, or name a file")
        return raw

    @model_validator(mode="after")
    def _target_stays(self) -> Self:
        if self.target in self.drop:
            raise ValueError(f"the target {self.target!r} cannot be dropped")
        return self


class Privacy(Section):
    """What happens to columns with personal data, and which other fields are never written."""

    drop: list[str] = []
    mask: list[str] = []
    pseudonymise: list[str] = []
    keep: list[str] = []
    fields: list[str] = []
    sample_rows: int = Field(default=5, ge=0, le=1000)

    @property
    def policies(self) -> dict[str, privacy.Policy]:
        """The policy of each column that has one."""
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
    """What a metric must reach; a missing limit is not checked."""

    at_least: float | None = None
    at_most: float | None = None
    beats_baseline_by: float | None = Field(default=None, ge=0)
    champion_margin: float | None = Field(default=None, ge=0)


class SliceGate(Section):
    """What a metric must reach in each slice: the rows with the same value of a column."""

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
    """What a version must pass before it may be approved."""

    metrics: dict[str, MetricGate] = {}
    slices: SliceGate = SliceGate()
    latency_ms: float | None = Field(default=None, gt=0)
    size_mb: float | None = Field(default=None, gt=0)
    complete_card: bool = False
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=1000, ge=100, le=100_000)  # for own metrics at most 200


class Evaluation(Section):
    """How much work the evaluation does, and its gates."""

    importance_columns: int = Field(default=200, ge=0)
    importance_rows: int = Field(default=500, ge=1)
    importance_repeats: int = Field(default=3, ge=1)
    gates: Gates = Gates()


class Approval(Section):
    """Who may approve, and for how long."""

    four_eyes: bool = False
    valid_days: int | None = Field(default=None, ge=1)


class InferenceLog(Section):
    """Which requests and answers are kept for monitoring."""

    sample: float = Field(default=1.0, ge=0, le=1)
    folder: Path = Path("data/inference")
    max_mb: float = Field(default=1000, gt=0)
    max_waiting_rows: int = Field(default=20_000, ge=1)
    flush_rows: int = Field(default=5000, ge=1)
    flush_seconds: float = Field(default=60, gt=0)

"""The section ``serving`` of the configuration."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ..config.sections import InferenceLog, Section

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the variable under which workers share metrics


class Cache(Section):
    """Predictions kept for rows that come again: in Redis where REDIS_URL names one, else here."""

    mode: Literal["auto", "always", "never"] = "auto"
    ttl_seconds: int = Field(default=3600, ge=1)
    max_entries: int = Field(default=100_000, ge=1)
    max_rows: int = Field(default=1000, ge=1)
    timeout_ms: float = Field(default=50, gt=0)


class ServingSettings(Section):
    """How a model is served."""

    section_name: ClassVar[str] = "serving"

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


SECTIONS = (ServingSettings,)

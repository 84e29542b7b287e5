"""The section ``deployment`` of the configuration."""

from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ..config.sections import Section


class CanarySettings(Section):
    """A share of production's requests that a version answers before it is promoted; 0: none."""

    share: float = Field(default=0, ge=0, le=0.5)
    seconds: float = Field(default=60, gt=0)
    min_requests: int = Field(default=50, ge=1)
    max_slowdown: float = Field(default=2, ge=1)


class WatchSettings(Section):
    """How long production is watched after a promotion, and the limits beyond which it goes back."""

    seconds: float = Field(default=30, ge=0)
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    max_latency_ms: float = Field(default=500, gt=0)


class DeploymentSettings(Section):
    """Who runs production, where it answers, and how long each step may take."""

    section_name: ClassVar[str] = "deployment"

    target: Literal["local", "docker", "kubernetes"] = "local"
    url: str = ""
    tests: Path = Path("tests/serving")
    ready_seconds: int = Field(default=120, ge=1)
    test_seconds: int = Field(default=900, ge=1)
    switch_seconds: int = Field(default=60, ge=1)
    watch: WatchSettings = WatchSettings()
    canary: CanarySettings = CanarySettings()

    @field_validator("url")
    @classmethod
    def _valid_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.password:
            raise ValueError("holds a password; production answers without one")
        if url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("is not an address; write it as https://serving.example.com")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _require_url(self) -> Self:
        if self.target != "local" and not self.url:
            raise ValueError(f"`url`: give the address of production, which {self.target} runs")
        return self


SECTIONS = (DeploymentSettings,)

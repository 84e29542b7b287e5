"""What the practices need from this project. Each name is imported when it is first used."""

from pathlib import Path

from mlflow_practices.config.project import Project

PROJECT = Project(
    package=__package__,
    root=Path(__file__).resolve().parents[2],
    read="data_preparation.read",
    clean="data_preparation.clean",
    build="features.build",
    metrics="metrics.METRICS",
    settings=(),  # your own sections of configs/*.yaml, such as "latest.LatestSettings"
)

"""What this project brings to the practices; each hook stands in the module that it is named by."""

from pathlib import Path

from mlflow_practices.config.project import Project

from . import data_preparation, features, metrics

PROJECT = Project(
    package=__package__,
    root=Path(__file__).resolve().parents[2],
    read=data_preparation.read,
    clean=data_preparation.clean,
    build=features.build,
    metrics=metrics.METRICS,
    settings=(),  # sections of your own for configs/*.yaml
)

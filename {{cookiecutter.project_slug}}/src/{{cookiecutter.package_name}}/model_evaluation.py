"""A model version to metrics beside a baseline, plots, and its description."""

from dataclasses import dataclass

import mlflow.sklearn
import pandas as pd
from mlflow import MlflowClient
from sklearn.pipeline import Pipeline

from . import estimators, plots
from .data import lineage, versioning
from .data.lineage import Transformation
from .registry.versions import Version
from .settings import Settings
from .tracking import documentation, experiments, recording


@dataclass(frozen=True)
class Evaluated:
    """Metrics of a version and of the baseline on the test split, and where the run is shown."""

    version: Version
    metrics: dict[str, float]
    baseline: dict[str, float]
    address: str


def run(settings: Settings, version: Version) -> Evaluated:
    """Measure a version on the test split of the data that it was trained on."""
    folder = settings.path(settings.data.processed)
    with experiments.stage_run(
        settings,
        "model-evaluation",
        pipeline_id=version.pipeline_id,
        upstream_run_id=version.run_id,
    ) as stage:
        recording.set_tags(
            {
                "data_version": version.data_version,
                "model_version": f"{version.name}/{version.number}",
            }
        )
        manifest = versioning.load_manifest(folder, version.data_version)
        train, test = (versioning.read_split(manifest, name, folder) for name in ("train", "test"))
        measured_on = versioning.log_data_version(
            test,
            "test",
            source=str(folder / manifest.splits["test"].file),
            sample_rows=settings.privacy.sample_rows,
        )
        X, y = estimators.features(test, manifest.target), test[manifest.target]
        model = mlflow.sklearn.load_model(version.uri)
        dummy = estimators.baseline(settings.problem_type).fit(
            train.drop(columns=manifest.target), train[manifest.target]
        )
        predictions = estimators.predict(model, X)
        metrics = estimators.measure(y, predictions)
        baseline = estimators.measure(y, estimators.predict(dummy, X))
        figures = {f"test_{name}": value for name, value in metrics.items()}
        figures |= {f"baseline_{name}": value for name, value in baseline.items()}
        recording.log_metrics_efficiently(
            figures, dataset=measured_on.dataset, model_id=version.model_id
        )
        for name, figure in plots.performance(y, predictions).items():
            recording.log_figure(figure, f"plots/{name}.png")
        _explain(settings, model, X, y)
        documentation.document_model(
            MlflowClient(),
            version.name,
            version.number,
            _description(settings, manifest, metrics, baseline),
            metrics,
        )
        lineage.track_data_lineage(
            {"test": measured_on.facts(), f"{version.name}/{version.number}": {"uri": version.uri}},
            [Transformation("predict and measure", len(test), len(test))],
            {"metrics": metrics},
        )
        return Evaluated(version, metrics, baseline, stage.address)


def _explain(settings: Settings, model: Pipeline, X: pd.DataFrame, y: pd.Series) -> None:
    """Log permutation importance; it predicts once a column and repeat, so it has a limit."""
    limits = settings.evaluation
    if X.shape[1] > limits.importance_columns:
        reason = f"skipped: {X.shape[1]} columns, evaluation.importance_columns is lower"
        recording.set_tags({"permutation_importance": reason})
        return
    rows = X.sample(min(limits.importance_rows, len(X)), random_state=settings.data.split.seed)
    found = plots.importance(model, rows, y[rows.index], limits.importance_repeats)
    recording.log_dict(found.values, "permutation_importance.json")
    recording.log_figure(found.figure, "plots/permutation_importance.png")


def _description(
    settings: Settings,
    manifest: versioning.Manifest,
    metrics: dict[str, float],
    baseline: dict[str, float],
) -> str:
    what = f"{settings.training.estimator} predicting `{manifest.target}`"
    heading = f"| {manifest.splits['test'].rows} test rows | model | baseline |"
    rows = [
        f"| {name} | {value:.4g} | {baseline.get(name, float('nan')):.4g} |"
        for name, value in metrics.items()
    ]
    first = f"{what}, data version `{manifest.version}`."
    return "\n".join([first, "", heading, "|---|---|---|", *rows])

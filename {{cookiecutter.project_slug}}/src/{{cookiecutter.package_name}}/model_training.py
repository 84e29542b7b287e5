"""Prepared data to a logged model version, registered as the challenger."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.pipeline import Pipeline

from . import estimators
from .data import lineage, versioning
from .data.lineage import Transformation
from .data.versioning import Manifest
from .registry import versions
from .registry.versions import Version
from .serving import contract, optimization
from .settings import Settings
from .tracking import experiments, identity, recording, reproducibility

EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Trained:
    """The registered version, its validation metrics, and where its run is shown."""

    version: Version
    metrics: dict[str, float]
    address: str


def run(settings: Settings, manifest: Manifest) -> Trained:
    """Fit the configured estimator on the training split and register it."""
    training = settings.training
    folder = settings.path(settings.data.processed)
    with experiments.stage_run(
        settings,
        "model-training",
        pipeline_id=manifest.pipeline_id,
        upstream_run_id=manifest.run_id,
    ) as stage:
        reproducibility.set_seeds(training.seed)
        tags = {"data_version": manifest.version, "pipeline_id": manifest.pipeline_id}
        recording.set_tags(tags)
        recording.set_author(identity.current(settings.root))
        reproducibility.log_environment(settings.root)
        train, validation = (
            versioning.read_split(manifest, name, folder) for name in ("train", "validation")
        )
        read = {
            name: versioning.log_data_version(
                table,
                name,
                source=str(folder / manifest.splits[name].file),
                sample_rows=settings.privacy.sample_rows,
            )
            for name, table in (("train", train), ("validation", validation))
        }
        X, y = estimators.features(train, manifest.target), train[manifest.target]
        unseen = estimators.features(validation, manifest.target)
        pipeline = estimators.build(
            training.estimator, training.params, training.seed, X, settings.problem_type
        )
        with estimators.all_cores():
            pipeline.fit(X, y)
        model = recording.log_sklearn_model(
            pipeline,
            X.head(min(EXAMPLE_ROWS, settings.privacy.sample_rows)),
            signature=estimators.signature(X, pipeline),
            pip_requirements=reproducibility.model_requirements(pipeline[-1]),
            code_paths=_code_paths(pipeline),
            skops_trusted_types=estimators.trusted_types(pipeline, training.trusted_types),
            metadata=contract.learn(pd.concat([X, unseen]), pipeline, settings.privacy.policies),
        )
        metrics = estimators.measure(
            validation[manifest.target], estimators.predict(pipeline, unseen)
        )
        named = {f"validation_{name}": value for name, value in metrics.items()}
        recording.log_metrics_efficiently(
            named, dataset=read["validation"].dataset, model_id=model.model_id
        )
        version = versions.register_challenger(model, settings.project.name, tags)
        recording.set_tags({"model_version": str(version)})
        if settings.serving.optimize:
            report = optimization.optimize_model_for_serving(settings, version, unseen)
            recording.set_tags({"serving": report.reason})
        lineage.track_data_lineage(
            {name: table.facts() for name, table in read.items()},
            [
                Transformation("fit", len(train), len(train), [training.estimator]),
                Transformation("validate", len(validation), len(validation)),
            ],
            {str(version): {"model_id": model.model_id}},
        )
        return Trained(version, metrics, stage.address)


def optimize(settings: Settings, version: Version) -> str:
    """Add the copy for serving to a version that was trained without; return what was found."""
    folder = settings.path(settings.data.processed)
    manifest = versioning.load_manifest(folder, version.data_version)
    validation = versioning.read_split(manifest, "validation", folder)
    X = estimators.features(validation, manifest.target)
    return optimization.optimize_model_for_serving(settings, version, X).reason


def _code_paths(pipeline: Pipeline) -> list[str] | None:
    """Return this package's folder where the model needs its code; else it travels without."""
    used = {type(step).__module__ for _, step in pipeline.steps}
    dates = "dates" in pipeline["prepare"].named_transformers_
    own = any(module.startswith(f"{__package__}.") for module in used)
    return [str(Path(__file__).parent)] if dates or own else None

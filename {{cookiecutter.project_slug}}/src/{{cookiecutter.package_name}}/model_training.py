"""Train a model on the prepared data, and register it as the challenger."""

from dataclasses import dataclass

from mlflow_practices.data.lineage import Transformation, track_data_lineage
from mlflow_practices.data.splits import read_and_log_split
from mlflow_practices.data.versioning import Manifest
from mlflow_practices.evaluation.metrics import log_validation_metrics
from mlflow_practices.model.estimators import all_cores, make_pipeline
from mlflow_practices.model.logging import log_model
from mlflow_practices.registry.versions import Version, register_challenger
from mlflow_practices.tracking.reproducibility import log_training_context, set_seeds
from mlflow_practices.tracking.session import Session


@dataclass(frozen=True)
class Trained:
    """The registered version, its validation metrics, and the address of the run."""

    version: Version
    metrics: dict[str, float]
    address: str


def run(session: Session, manifest: Manifest) -> Trained:
    """Fit the configured estimator on the training split and register it."""
    settings = session.settings
    with session.stage(
        "model-training", pipeline_id=manifest.pipeline_id, upstream_run_id=manifest.run_id
    ) as stage:
        set_seeds(settings.training.seed)
        log_training_context(session, manifest.tags())
        train, validation = (
            read_and_log_split(manifest, name, settings) for name in ("train", "validation")
        )
        model = make_pipeline(session.project.build(train.X, settings), settings)
        with all_cores():
            model.fit(train.X, train.y)
        logged = log_model(model, train.X, validation.X, session)
        metrics = log_validation_metrics(model, validation, logged.model_id, session.project)
        version = register_challenger(
            session.client, logged, settings.project.name, manifest.tags()
        )
        if optimization := session.component("optimization"):
            optimization.optimize_model_for_serving(session, version, validation.X)
        track_data_lineage(
            {split.name: split.facts() for split in (train, validation)},
            [
                Transformation("fit", len(train.X), len(train.X), [settings.training.estimator]),
                Transformation("validate", len(validation.X), len(validation.X)),
            ],
            {str(version): {"model_id": logged.model_id}},
        )
        return Trained(version, metrics, stage.address)

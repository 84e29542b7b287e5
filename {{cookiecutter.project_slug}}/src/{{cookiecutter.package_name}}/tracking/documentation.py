"""Experiments and model versions that say what they are."""

from collections.abc import Mapping

from mlflow import MlflowClient, MlflowException

from .. import privacy


def document_experiment(
    client: MlflowClient, name: str, tags: Mapping[str, str], artifact_location: str | None = None
) -> str:
    """Create an experiment with its description and tags; return its state.

    ``created``; or ``exists``, and then only tags that it lacks are set, for somebody may have
    rewritten the others; or ``deleted``, and then it is left as it is.
    """
    try:
        client.create_experiment(name, artifact_location, dict(tags))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    else:
        return "created"
    known = client.get_experiment_by_name(name)
    if known is None or known.lifecycle_stage == "deleted":
        return "deleted"
    for key in tags.keys() - known.tags.keys():
        client.set_experiment_tag(known.experiment_id, key, tags[key])
    return "exists"


def document_model(
    client: MlflowClient, name: str, version: int, description: str, metrics: Mapping[str, float]
) -> None:
    """Set a version's description, which the MLflow UI shows, and its metrics as tags."""
    client.update_model_version(name, str(version), privacy.redact_text(description))
    for key, value in metrics.items():
        client.set_model_version_tag(name, str(version), f"metric_{key}", f"{value:.6g}")

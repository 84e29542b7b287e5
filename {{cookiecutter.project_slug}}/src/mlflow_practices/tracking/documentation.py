"""Experiments and model versions that say what they are; said again, nothing is written."""

from collections.abc import Mapping

from mlflow import MlflowClient, MlflowException

from .. import privacy
from . import DOCUMENTED_AT, utc_now

DESCRIPTION = "mlflow.note.content"  # of an experiment; the MLflow UI shows it as Markdown
METRIC, GATE = "metric_", "gate."


def document_experiment(
    client: MlflowClient,
    name: str,
    description: str,
    tags: Mapping[str, str],
    *,
    artifact_location: str | None = None,
    overwrite: bool = True,
) -> str:
    """Set an experiment's description and tags, creating it if need be; return its state.

    ``created``, ``exists``, or ``deleted``, and then it is left as it is. Without ``overwrite``
    only what an existing one lacks is set: somebody may have rewritten the rest. The tag
    ``documented_at`` is the time of the last change (UTC, ISO 8601).
    """
    wanted = {**tags, DESCRIPTION: privacy.redact_text(description)}
    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            client.create_experiment(name, artifact_location, {DOCUMENTED_AT: utc_now(), **wanted})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            known = client.get_experiment_by_name(name)  # another process was quicker
        else:
            return "created"
    if known is None or known.lifecycle_stage == "deleted":
        return "deleted"
    changed = {
        key: value
        for key, value in wanted.items()
        if key not in known.tags
        or (overwrite and known.tags[key] != value and key != DOCUMENTED_AT)
    }
    for key, value in _dated(changed).items():
        client.set_experiment_tag(known.experiment_id, key, value)
    return "exists"


def document_model(
    client: MlflowClient,
    name: str,
    version: int,
    description: str,
    metrics: Mapping[str, float],
    author: str,
    outcomes: Mapping[str, str] | None = None,
) -> None:
    """Set a version's description, which the MLflow UI shows as Markdown, and its figures as tags.

    The tags are ``metric_<name>`` for each metric, ``outcomes`` (those of other metrics and gates
    are removed), ``author``, and ``documented_at``, the time of the last change (UTC, ISO 8601).
    """
    number, text = str(version), privacy.redact_text(description)
    known = client.get_model_version(name, number)
    tags = {
        "author": author,
        **{f"{METRIC}{key}": f"{value:.6g}" for key, value in metrics.items()},
        **{key: privacy.redact_text(text) for key, text in (outcomes or {}).items()},
    }
    changed = {key: value for key, value in tags.items() if known.tags.get(key) != value}
    stale = {key for key in known.tags if key.startswith((METRIC, GATE))} - tags.keys()
    rewritten = (known.description or "") != text
    for key, value in _dated(changed, also=bool(stale or rewritten)).items():
        client.set_model_version_tag(name, number, key, value)
    for key in stale:
        client.delete_model_version_tag(name, number, key)
    if rewritten:
        client.update_model_version(name, number, text)


def _dated(changed: Mapping[str, str], also: bool = False) -> dict[str, str]:
    """Return the tags to set, the time first: if interrupted, the rest still differs next time."""
    return {DOCUMENTED_AT: utc_now(), **changed} if changed or also else {}

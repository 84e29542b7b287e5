"""Descriptions and tags of experiments and model versions. Repeating a call writes nothing."""

from collections.abc import Mapping

from mlflow import MlflowClient, MlflowException

from .. import privacy
from . import DOCUMENTED_AT, utc_now

DESCRIPTION = "mlflow.note.content"  # of an experiment; the MLflow UI shows it as Markdown
METRIC, GATE = "metric_", "gate."  # the beginnings of tags


def document_experiment(
    client: MlflowClient,
    name: str,
    description: str,
    tags: Mapping[str, str],
    *,
    artifact_location: str | None = None,
    overwrite: bool = True,
) -> str:
    """Set an experiment's description and tags; create it if it does not exist.

    The tag ``documented_at`` is the time of the last change (UTC, ISO 8601).

    With ``overwrite=False`` only missing tags are set. Return ``created``, ``exists``, or
    ``deleted``: a deleted experiment does not change.
    """
    wanted = {**tags, DESCRIPTION: privacy.redact_text(description)}
    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            client.create_experiment(name, artifact_location, {DOCUMENTED_AT: utc_now(), **wanted})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            known = client.get_experiment_by_name(name)  # another process was faster
        else:
            return "created"
    if known is None or known.lifecycle_stage == "deleted":
        return "deleted"
    to_set = {}
    for key, value in wanted.items():
        is_changed = overwrite and key != DOCUMENTED_AT and known.tags.get(key) != value
        if key not in known.tags or is_changed:
            to_set[key] = value
    if to_set:
        # The time goes first: if the process ends here, the rest still differs next time.
        for key, value in {DOCUMENTED_AT: utc_now(), **to_set}.items():
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
    """Set a version's description, which the MLflow UI shows as Markdown, and its tags.

    The tags are ``metric_<name>`` for each metric, the ``outcomes`` of the gates, ``author``, and
    ``documented_at``, the time of the last change (UTC, ISO 8601). Tags of metrics and gates that
    are not given are removed.
    """
    number, text = str(version), privacy.redact_text(description)
    known = client.get_model_version(name, number)
    tags = {"author": author}
    tags |= {f"{METRIC}{key}": f"{value:.6g}" for key, value in metrics.items()}
    tags |= {key: privacy.redact_text(outcome) for key, outcome in (outcomes or {}).items()}
    changed = {key: value for key, value in tags.items() if known.tags.get(key) != value}
    removed = {key for key in known.tags if key.startswith((METRIC, GATE))} - tags.keys()
    same_text = (known.description or "") == text
    if same_text and not changed and not removed:
        return
    client.set_model_version_tag(name, number, DOCUMENTED_AT, utc_now())  # first, as above
    for key, value in changed.items():
        client.set_model_version_tag(name, number, key, value)
    for key in removed:
        client.delete_model_version_tag(name, number, key)
    if not same_text:
        client.update_model_version(name, number, text)

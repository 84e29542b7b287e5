"""What is written to MLflow: one experiment for each phase of the project.

This file uses the standard library only, because the template reads it before MLflow is installed.
"""

from datetime import UTC, datetime

DOCUMENTED_AT = "documented_at"  # the tag with the time of the last change of description and tags
PHASES = {
    "data-preparation": "Raw file to typed, split and hashed tables with their manifest.",
    "hyperparameter-tuning": "The search for the estimator's parameters; one run a study.",
    "model-training": "One run a fitted model, registered as the challenger.",
    "model-evaluation": "Metrics beside baseline and champion, the verdict, and the model card.",
    "model-deployment": "Approvals, promotions and rollbacks: who sent which version where, and why.",
    "model-monitoring": "Performance, drift and endpoint health of the model in production.",
}


def experiment_name(project: str, phase: str) -> str:
    """Return ``<project>/<phase>``; MLflow lists experiments flat, the name is the hierarchy."""
    return f"{project}/{phase}"


def experiment_tags(project: str, phase: str, template_version: str) -> dict[str, str]:
    """Return the tags of an experiment, its description (``mlflow.note.content``) included."""
    return {
        "mlflow.note.content": PHASES[phase],
        "project": project,
        "phase": phase,
        "template_version": template_version,
        DOCUMENTED_AT: utc_now(),
    }


def utc(moment: datetime) -> str:
    """Return a time in UTC as ISO 8601, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_now() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return utc(datetime.now(UTC))

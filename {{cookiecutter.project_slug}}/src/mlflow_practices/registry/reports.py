"""The registry at a glance: what the command line prints as tables."""

from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from ..config.settings import Settings
from ..tracking import experiments
from ..tracking.session import Session
from . import approval, promotion, versions
from .versions import Version

SHOWN = ("author", "evaluation_run_id", "gate.", "metric_", "verdict")  # tags, by how they start


def version_rows(client: MlflowClient, project: str) -> list[list[str]]:
    """Return a row for each version, production first and newest first.

    Its columns are the version, its aliases, when it was made (UTC), verdict, approval, and data.
    """
    found = []
    for name in (versions.production_name(project), project):
        aliases = versions.aliases_by_number(client, name)
        for made in versions.list_versions(client, name):
            tags = made.tags
            copied = f"copy of {tags[promotion.SOURCE]}" if promotion.SOURCE in tags else ""
            found.append(
                [
                    f"{name}/{made.version}",
                    ", ".join(aliases.get(int(made.version), [])),
                    _made(made),
                    tags.get("verdict", "not evaluated"),
                    copied or tags.get("approval", "none yet"),
                    tags.get("data_version", ""),
                ]
            )
    return found


def version_details(session: Session, version: Version) -> list[list[str]]:
    """Return pairs of a heading and what is known of a version."""
    client, settings = session.client, session.settings
    made = client.get_model_version(version.name, str(version.number))
    aliases = versions.aliases_by_number(client, version.name).get(version.number, [])
    pairs = {
        "version": str(version),
        "aliases": ", ".join(aliases),
        "made (UTC)": _made(made),
        "training run": version.run_id,
        "data version": version.data_version,
        **{key: made.tags[key] for key in sorted(made.tags) if key.startswith(SHOWN)},
    }
    if version.name == settings.project.name:
        decision = approval.latest_decision(client, settings, version)
        pairs["decision"] = decision.describe() if decision else "none yet"
        try:
            pairs["promotion"] = promotion.describe_promotion(session, version)
        except promotion.PromotionError as error:
            pairs["promotion"] = str(error)
    return [[key, value] for key, value in pairs.items()]


def deployment_rows(client: MlflowClient, settings: Settings) -> list[list[str]]:
    """Return a row for each deployment and rollback, newest first.

    Its columns are when (UTC), what, which version, who, seconds, and what came of it.
    """
    found = []
    for run in experiments.find_runs(client, settings, "model-deployment"):
        tags, info = run.data.tags, run.info
        if tags.get("action") not in {"deployment", "rollback"}:
            continue
        end = info.end_time or info.start_time
        running = info.status == "RUNNING"
        found.append(
            [
                experiments.start_time(run),
                tags["action"],
                tags.get("model_version", ""),
                tags.get("author", "").partition(" (")[0],
                "" if running else f"{(end - info.start_time) / 1000:.0f}",
                "under way" if running else promotion.run_outcome(run),
            ]
        )
    return found


def _made(made: ModelVersion) -> str:
    return datetime.fromtimestamp(made.creation_timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M")

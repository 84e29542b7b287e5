"""What the command line prints of the registry: versions, one version, and its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from ..config.settings import Settings
from ..tracking import experiments
from ..tracking.identity import Identity
from ..tracking.session import Session
from . import decisions, promotion, versions
from .versions import Version

# The tags that `version_details` shows start with one of these.
SHOWN_TAGS = ("author", "evaluation_run_id", "gate.", "metric_", "verdict")


@dataclass(frozen=True)
class Event:
    """A decision, promotion, rollback or deployment; ``started`` is UTC, ``seconds`` None if open."""

    started: str
    action: str
    version: str
    who: str
    seconds: float | None
    result: str


def version_rows(client: MlflowClient, project: str) -> list[list[str]]:
    """Return a row for each version, production first and newest first.

    Its columns are the version, its aliases, when it was made (UTC), verdict, approval, and data.
    """
    rows = []
    for name in (versions.production_name(project), project):
        aliases = versions.aliases_by_number(client, name)
        for found in versions.list_versions(client, name):
            tags = found.tags
            source = tags.get(promotion.SOURCE)
            rows.append(
                [
                    f"{name}/{found.version}",
                    ", ".join(aliases.get(int(found.version), [])),
                    _created(found),
                    tags.get("verdict", "not evaluated"),
                    f"copy of {source}" if source else tags.get("approval", "none yet"),
                    tags.get("data_version", ""),
                ]
            )
    return rows


def version_details(session: Session, version: Version) -> dict[str, str]:
    """Return what is known about a version, by headings."""
    client, settings = session.client, session.settings
    found = client.get_model_version(version.name, str(version.number))
    aliases = versions.aliases_by_number(client, version.name).get(version.number, [])
    details = {
        "version": str(version),
        "aliases": ", ".join(aliases),
        "made (UTC)": _created(found),
        "training run": version.run_id,
        "data version": version.data_version,
        **{key: found.tags[key] for key in sorted(found.tags) if key.startswith(SHOWN_TAGS)},
    }
    if version.name == settings.project.name:
        decision = decisions.latest_decision(client, settings, version)
        details["decision"] = decision.describe() if decision else "none yet"
        try:
            details["promotion"] = promotion.describe_promotion(session, version)
        except promotion.PromotionError as error:
            details["promotion"] = str(error)
    return details


def list_events(client: MlflowClient, settings: Settings) -> list[Event]:
    """Return decisions, promotions, rollbacks and deployments, newest first.

    The registry says whether an interrupted promotion took effect: its copy is the champion, or
    was replaced as one.
    """
    production = versions.production_name(settings.project.name)
    champions = {str(versions.find_by_alias(client, production, versions.CHAMPION))}
    for copy in versions.list_versions(client, production):
        champions.add(copy.tags.get(promotion.REPLACES, ""))
        if promotion.ROLLED_BACK in copy.tags:
            champions.add(f"{production}/{copy.version}")
    return [
        _event(run, champions)
        for run in experiments.find_runs(client, settings, "model-deployment")
        if "action" in run.data.tags
    ]


def _event(run: Run, champions: set[str]) -> Event:
    tags, info = run.data.tags, run.info
    running = info.status == "RUNNING"
    if tags["action"] == promotion.ACTION:
        result = _promotion_result(run, champions)
    elif running:
        result = "under way"
    else:
        result = tags.get("outcome") or tags.get("failure_reason") or tags.get("reason", "")
    return Event(
        experiments.start_time(run),
        tags["action"],
        tags.get("model_version", ""),
        str(Identity.from_tags(tags)),
        None if running else ((info.end_time or info.start_time) - info.start_time) / 1000,
        result,
    )


def _promotion_result(run: Run, champions: set[str]) -> str:
    tags, status = run.data.tags, run.info.status
    copy = tags.get("production_version")
    if status == "FINISHED":
        return f"champion as {copy}"
    if copy and copy in champions:
        return f"champion as {copy}, interrupted after that"
    if status == "RUNNING":
        return "under way"
    return f"not promoted ({status.lower()}) {tags.get('failure_reason', '')}".strip()


def _created(version: ModelVersion) -> str:
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return created.strftime("%Y-%m-%d %H:%M")

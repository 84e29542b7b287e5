"""A canary: a version that answers a share of production's requests before it is promoted.

It is a copy in production's registered model under an alias of its own, so that an account which
may not promote cannot start one. The serving application follows the alias and splits requests.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient, MlflowException

from ..config.settings import Settings
from ..errors import PracticeError
from ..registry import model_files, promotion, versions
from ..registry.versions import CHAMPION, PREVIOUS, Version
from ..tracking import utc

CANARY = "canary"
SHARE, UNTIL = "canary_share", "canary_until"  # tags of the copy
MAX_SHARE = 0.5  # of the requests: with more, the champion would be the exception


class CanaryError(PracticeError):
    """A canary's share or its tags are not valid."""


@dataclass(frozen=True)
class Canary:
    """A version in production's model, the share of requests that it answers, and until when."""

    version: Version
    share: float
    until: datetime

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return time.time() >= self.until.timestamp()


def start(
    client: MlflowClient,
    settings: Settings,
    version: Version,
    model_digest: str,
    share: float,
    until: datetime,
) -> Version:
    """Let ``version``, which the caller has checked, answer a share of production's requests.

    Returns its copy in production's model. A canary of the same version gets the new share and
    time; a canary of another version ends.

    Raises:
        CanaryError: the share is not above 0 and at most `MAX_SHARE`.
    """
    _require_valid(share)
    production = versions.production_name(settings.project.name)
    tags = {SHARE: str(share), UNTIL: utc(until.astimezone(UTC))}
    origin = {promotion.SOURCE: str(version), model_files.MODEL_DIGEST: model_digest}
    running = versions.find_by_alias(client, production, CANARY)
    if running is not None:
        found = versions.get_tags(client, running)
        if SHARE in found and origin.items() <= found.items():
            for key, value in tags.items():
                client.set_model_version_tag(production, str(running.number), key, value)
            return running
    end(client, settings)
    copy = promotion.copy_version(client, version, production, model_digest, tags)
    client.set_registered_model_alias(production, CANARY, str(copy.number))
    return copy


def end(client: MlflowClient, settings: Settings) -> None:
    """Let the champion answer every request, and delete the copies that were canaries."""
    production = versions.production_name(settings.project.name)
    aliases = versions.aliases_by_number(client, production)
    if any(CANARY in names for names in aliases.values()):
        client.delete_registered_model_alias(production, CANARY)
    for made in versions.list_versions(client, production):
        in_use = {CHAMPION, PREVIOUS} & set(aliases.get(int(made.version), []))
        if SHARE in made.tags and not in_use:
            client.delete_model_version(production, made.version)


def current(client: MlflowClient, production: str) -> Canary | None:
    """Return the canary that the alias names, or None if there is none or its time is over.

    Raises:
        CanaryError: the version's tags do not say how much and until when.
    """
    try:
        made = client.get_model_version_by_alias(production, CANARY)
    except MlflowException as error:
        if error.error_code in versions.NOT_FOUND_CODES:
            return None
        raise
    version = versions.as_version(made)
    try:
        share, until = float(made.tags[SHARE]), datetime.fromisoformat(made.tags[UNTIL])
    except (KeyError, ValueError) as error:
        raise CanaryError(
            f"{version}: the alias {CANARY} points to it, but its tags {SHARE} and {UNTIL} cannot "
            f"be read ({type(error).__name__}); remove the alias, and deploy the version again"
        ) from None
    _require_valid(share)
    canary = Canary(version, share, until.astimezone(UTC))
    return None if canary.expired else canary


def _require_valid(share: float) -> None:
    if not 0 < share <= MAX_SHARE:
        raise CanaryError(f"a canary's share is above 0 and at most {MAX_SHARE:g}, not {share:g}")

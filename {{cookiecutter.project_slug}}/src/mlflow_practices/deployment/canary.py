"""A share of production's requests for a version before it is promoted: what the registry says of it.

The canary is a copy in production's registered model under an alias of its own, so that an account
which may not promote cannot start one. The serving application follows the alias and splits.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient, MlflowException

from ..config.settings import Settings
from ..errors import PracticeError
from ..registry import promotion, versions
from ..registry.versions import CHAMPION, PREVIOUS, Version
from ..tracking import utc

CANARY = "canary"
SHARE, UNTIL = "canary_share", "canary_until"  # tags of the copy
MOST = 0.5  # of the requests: more than that is no try


class CanaryError(PracticeError):
    """A canary cannot be as it was asked for or as its tags say."""


@dataclass(frozen=True)
class Canary:
    """A version in production's model, the share of requests that it answers, and until when."""

    version: Version
    share: float
    until: datetime

    @property
    def over(self) -> bool:
        """Whether its time is up."""
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

    Returns its copy in production's model. One that is there already gets the share and the time;
    a canary of another version ends.

    Raises:
        CanaryError: the share is not above 0 and at most `MOST`.
    """
    _require(share)
    production = versions.production_name(settings.project.name)
    tags = {SHARE: str(share), UNTIL: utc(until.astimezone(UTC))}
    same = {promotion.SOURCE: str(version), promotion.MODEL_DIGEST: model_digest}
    if copy := versions.find_by_alias(client, production, CANARY):
        found = client.get_model_version(production, str(copy.number)).tags
        if SHARE in found and same.items() <= found.items():
            for key, value in tags.items():
                client.set_model_version_tag(production, str(copy.number), key, value)
            return copy
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
        kept = {CHAMPION, PREVIOUS} & set(aliases.get(int(made.version), []))
        if SHARE in made.tags and not kept:
            client.delete_model_version(production, made.version)


def current(client: MlflowClient, production: str) -> Canary | None:
    """Return the canary that the alias names, or None where there is none or its time is up.

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
        until = datetime.fromisoformat(made.tags[UNTIL])
        found = Canary(version, float(made.tags[SHARE]), until.astimezone(UTC))
    except (KeyError, ValueError) as error:
        raise CanaryError(
            f"{version}: the alias {CANARY} names it, but its tags {SHARE} and {UNTIL} cannot be "
            f"read ({type(error).__name__}); end the canary, and start it by a deployment"
        ) from None
    _require(found.share)
    return None if found.over else found


def _require(share: float) -> None:
    if not 0 < share <= MOST:
        raise CanaryError(f"a canary's share is above 0 and at most {MOST:g}, not {share:g}")

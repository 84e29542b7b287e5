"""The version that is served: found by its alias, loaded beside the old one, then switched to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from .. import privacy
from ..deployment import canary
from ..deployment.canary import Canary
from ..registry import local_models, versions
from ..registry.versions import ModelReference, Version
from ..scoring.served_model import ServedModel
from ..tracking.session import Session
from .settings import ServingSettings

RETRY_SECONDS = 60  # until a refused version is tried again: the reason may have been passing
log = logging.getLogger(__name__)


class VersionLoader:
    """Loads the versions of one alias; ``refusal`` names one that cannot be loaded, and why."""

    def __init__(self, session: Session, folder: Path) -> None:
        """Prepare it; ``folder`` holds the local copies."""
        self.refusal: dict[str, str] | None = None
        self._retry_at = 0.0
        self._session, self._folder = session, folder

    def load(self, version: Version) -> ServedModel | None:
        """Return the loaded and warmed version, or None where it is refused."""
        is_refused = self.refusal is not None and self.refusal["version"] == str(version)
        if is_refused and time.monotonic() < self._retry_at:
            return None
        try:
            files = local_models.download(self._session, version, self._folder)
            model = ServedModel(self._session, version, files)
            local_models.mark_served(version, self._folder)
        except Exception as error:  # noqa: BLE001  a model can be wrong in any way
            self.refuse(str(version), error)
            return None
        self.refusal = None
        return model

    def load_last(self) -> ServedModel | None:
        """Return what was served last, from its local copy, or None."""
        try:
            return ServedModel(self._session, *local_models.last_served(self._folder))
        except Exception as error:  # noqa: BLE001  as above; there may be none
            _log_once(f"no local copy can be served: {_one_line(error)}")
            return None

    def refuse(self, version: str, error: Exception) -> None:
        """Remember and log why a version is refused."""
        self.refusal = {"version": version, "reason": _one_line(error)}
        self._retry_at = time.monotonic() + RETRY_SECONDS
        _log_once(f"refused {version}: {self.refusal['reason']}")


class AliasFollower(threading.Thread):
    """Follows an alias. ``model`` is what answers now; it is replaced in one step.

    When a version cannot be loaded, the old one stays. Without a registry the last model is served
    from its local copy. Production's champion may have a canary beside it, for a share of the
    requests.
    """

    def __init__(
        self, session: Session, reference: ModelReference, on_switch: Callable[[ServedModel], None]
    ) -> None:
        """Prepare it; ``on_switch`` is called in its thread after each switch."""
        super().__init__(name="alias-follower", daemon=True)
        self.model: ServedModel | None = None
        self.registry_problem = ""
        settings = session.settings.section(ServingSettings)
        copies = session.settings.path(settings.local_copy)
        canary_reference = ModelReference(reference.name, canary.CANARY)
        self.loader = VersionLoader(session, reference.folder(copies))
        self.canary_loader = VersionLoader(session, canary_reference.folder(copies))
        production = versions.production_name(session.settings.project.name)
        self._may_have_canary = reference == ModelReference(production, versions.CHAMPION)
        self._canary: tuple[Canary, ServedModel] | None = None
        self._session, self._reference, self._on_switch = session, reference, on_switch
        self._poll_seconds = settings.poll_seconds
        self._ended = threading.Event()

    @property
    def canary(self) -> tuple[Canary, ServedModel] | None:
        """What answers a share of the requests, until its time is up."""
        found = self._canary  # once: the follower's thread may replace it
        return found if found and not found[0].expired else None

    def run(self) -> None:
        """Check the alias again and again until `end` is called."""
        while not self._ended.wait(self._poll_seconds):
            if self.registry_problem or not (self._reference.pinned and self.model):
                self.check_alias()
            if self._may_have_canary and not self.registry_problem:
                self._check_canary()

    def end(self) -> None:
        """Stop following."""
        self._ended.set()

    def check_alias(self) -> None:
        """Switch to the version that the alias names now, if it is another and can be loaded."""
        reference = self._reference
        try:
            client = self._session.client
            version = versions.find(client, reference.name, reference.alias_or_number)
        except versions.RegistryError as error:  # it answers: there is no such version
            self.registry_problem = str(error)
            _log_once(self.registry_problem)
            return
        except Exception as error:  # noqa: BLE001  whatever is wrong there must not end the serving
            self.registry_problem = _one_line(error)
            _log_once(f"the registry does not answer: {self.registry_problem}")
        else:
            self.registry_problem = ""
            if self.model and self.model.version == version:
                self.loader.refusal = None
            else:
                self._switch(self.loader.load(version))
        if self.model is None:
            self._switch(self.loader.load_last())

    def _switch(self, model: ServedModel | None) -> None:
        if model is None:
            return
        replaced = f", replacing {self.model.version}" if self.model else ""
        self.model = model
        _log_once.cache_clear()
        log.warning("serving %s (%s)%s", model.version, model.format, replaced)
        self._on_switch(model)

    def _check_canary(self) -> None:
        """Load the canary, update its share and time, or drop it."""
        loader = self.canary_loader
        try:
            found = canary.current(self._session.client, self._reference.name)
        except canary.CanaryError as error:
            self._canary = None
            loader.refuse(canary.CANARY, error)
            return
        except Exception as error:  # noqa: BLE001  without a registry it goes on to its end
            _log_once(f"the canary is not known: {_one_line(error)}")
            return
        if found is None:
            self._canary = loader.refusal = None
        elif self._canary and self._canary[0].version == found.version:
            self._canary = found, self._canary[1]
        else:
            self._canary = None
            if model := loader.load(found.version):
                self._canary = found, model
                log.warning("canary %s: %g of the requests", found.version, found.share)


@lru_cache
def _log_once(problem: str) -> None:
    log.error(problem)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return privacy.redact_text(text)[:500]

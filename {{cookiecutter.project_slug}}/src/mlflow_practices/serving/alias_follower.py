"""Which version is served: found by its alias, loaded beside the old one, then switched to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import privacy
from ..deployment import canary
from ..deployment.canary import Canary
from ..registry import local_models, versions
from ..registry.versions import ModelReference, Version
from ..scoring.served_model import ServedModel
from ..tracking.session import Session
from .settings import ServingSettings

RETRY_SECONDS = 60  # until what was refused is tried again: the reason may have been passing
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refused:
    """A version that cannot be loaded, why, and when to try again (monotonic seconds)."""

    version: str
    reason: str
    again: float

    def told(self) -> dict[str, str]:
        """Return it as /health says it."""
        return {"version": self.version, "reason": self.reason}


class AliasFollower(threading.Thread):
    """Looks after an alias. ``model`` is what answers now; it is replaced in one step.

    A version that cannot be loaded or warmed is refused, and the old one goes on. Without a
    registry the last model is served from its local copy. Beside the champion in production there
    may be a ``canary``, a version for a share of the requests, loaded in the same way.
    """

    def __init__(
        self, session: Session, followed: ModelReference, switched: Callable[[ServedModel], None]
    ) -> None:
        """Prepare it; ``switched`` is called in its thread after each switch."""
        super().__init__(name="alias-follower", daemon=True)
        self.model: ServedModel | None = None
        self.refused: Refused | None = None
        self.canary_refused: Refused | None = None
        self.registry_problem = ""
        self._session, self._reference, self._switched = session, followed, switched
        self._settings = session.settings.section(ServingSettings)
        self._copies = session.settings.path(self._settings.local_copy)
        self._folder = followed.folder(self._copies)
        production = versions.production_name(session.settings.project.name)
        self._may_split = followed == ModelReference(production, versions.CHAMPION)
        self._canary: tuple[Canary, ServedModel] | None = None
        self._said: set[str] = set()
        self._ended = threading.Event()

    def run(self) -> None:
        """Look again and again until `end` is called."""
        while not self._ended.wait(self._settings.poll_seconds):
            if not (self._reference.pinned and self.model):
                self.look()
            if self._may_split and not self.registry_problem:
                self._look_for_canary()

    @property
    def canary(self) -> tuple[Canary, ServedModel] | None:
        """What answers a share of the requests, until its time is up."""
        found = self._canary  # once: the follower's thread may replace it
        return found if found and not found[0].expired else None

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()

    def look(self) -> None:
        """Switch to the version that the alias names now, if it is another and can be loaded."""
        try:
            client = self._session.client
            version = versions.find(client, self._reference.name, self._reference.alias_or_number)
            self.registry_problem = ""
        except versions.RegistryError as error:  # it answers: there is no such version
            self.registry_problem = str(error)
            self._say(self.registry_problem)
            return
        except Exception as error:  # noqa: BLE001  whatever is wrong there must not end the serving
            self.registry_problem = _one_line(error)
            self._say(f"the registry does not answer: {self.registry_problem}")
        else:
            self._follow(version)
        if self.model is None:
            self._serve_copy()

    def _follow(self, version: Version) -> None:
        if self.model is not None and version == self.model.version:
            self.refused = None
            return
        found = self._load(version, self._folder, self.refused)
        if isinstance(found, Refused):
            self.refused = found
        else:
            self.refused = None
            self._switch(found)

    def _load(
        self, version: Version, folder: Path, before: Refused | None
    ) -> ServedModel | Refused:
        if before and before.version == str(version) and time.monotonic() < before.again:
            return before
        try:
            files = local_models.download(self._session, version, folder)
            model = ServedModel(self._session, version, files)
            local_models.mark_served(version, folder)
        except Exception as error:  # noqa: BLE001  a model can be wrong in any way
            return self._refuse(str(version), error)
        return model

    def _refuse(self, version: str, error: Exception) -> Refused:
        refused = Refused(version, _one_line(error), time.monotonic() + RETRY_SECONDS)
        self._say(f"refused {version}: {refused.reason}")
        return refused

    def _look_for_canary(self) -> None:
        """Take up the canary, follow its share and time, or drop it."""
        try:
            said = canary.current(self._session.client, self._reference.name)
        except canary.CanaryError as error:
            self._canary, self.canary_refused = None, self._refuse(canary.CANARY, error)
            return
        except Exception as error:  # noqa: BLE001  without a registry it goes on to its end
            self._say(f"the canary is not known: {_one_line(error)}")
            return
        if said and self._canary and self._canary[0].version == said.version:
            self._canary = said, self._canary[1]
            return
        self._canary, refused = None, None
        if said:
            folder = ModelReference(self._reference.name, canary.CANARY).folder(self._copies)
            found = self._load(said.version, folder, self.canary_refused)
            if isinstance(found, Refused):
                refused = found
            else:
                self._canary = said, found
                log.warning("canary %s: %g of the requests", said.version, said.share)
        self.canary_refused = refused

    def _serve_copy(self) -> None:
        """Serve what was served last, from its copy here."""
        try:
            version, files = local_models.last_served(self._folder)
            self._switch(ServedModel(self._session, version, files))
        except Exception as error:  # noqa: BLE001  as above; there may be none
            self._say(f"no copy can be served: {_one_line(error)}")

    def _switch(self, model: ServedModel) -> None:
        former, self.model = self.model, model
        self._said.clear()
        before = f", before it {former.version}" if former else ""
        log.warning("serving %s (%s)%s", model.version, model.format, before)
        self._switched(model)

    def _say(self, problem: str) -> None:
        """Log a problem once, not at every look."""
        if problem not in self._said:
            self._said.add(problem)
            log.error(problem)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return privacy.redact_text(text)[:500]

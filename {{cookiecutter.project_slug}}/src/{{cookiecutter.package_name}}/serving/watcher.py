"""Which version is served: found by its alias, loaded beside the old one, then switched to."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from .. import privacy
from ..registry import versions
from ..registry.versions import Version
from ..settings import Settings
from ..tracking import store
from . import copies
from .model import ServedModel

RETRY_SECONDS = (
    60  # until a version that was refused is tried again: the reason may have been passing
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """What shall be served: a registered model, and its alias or number."""

    name: str
    which: str

    def __str__(self) -> str:
        """Return ``NAME@ALIAS`` or ``NAME/NUMBER``."""
        return f"{self.name}{'/' if self.pinned else '@'}{self.which}"

    @property
    def pinned(self) -> bool:
        """Whether it names one version for good."""
        return self.which.isdigit()

    def folder(self, settings: Settings) -> Path:
        """Return where the local copies of it are."""
        return settings.path(settings.serving.local_copy) / str(self).replace("/", "-")


def reference(text: str, project: str) -> Reference:
    """Return what ``models:/NAME@ALIAS`` or ``models:/NAME/NUMBER`` means.

    By default the champion in production.

    Raises:
        RegistryError: it is written differently.
    """
    name = text.removeprefix("models:/") or versions.production_name(project)
    name, _, which = name.replace("@", "/").partition("/")
    if not re.fullmatch(r"[^/@:]+", name) or not re.fullmatch(r"[\w-]*", which):
        raise versions.RegistryError(
            f"{privacy.redact_text(text)}: a model is named as models:/NAME@ALIAS or "
            "models:/NAME/VERSION"
        )
    return Reference(name, which or versions.CHAMPION)


class Watcher(threading.Thread):
    """Looks after an alias. ``model`` is what answers now; it is replaced in one step.

    A version that cannot be loaded or warmed is refused, and the old one goes on. Without a
    registry the last model is served from its local copy.
    """

    def __init__(
        self, settings: Settings, watched: Reference, switched: Callable[[ServedModel], None]
    ) -> None:
        """Prepare it; ``switched`` is called in its thread after each switch."""
        super().__init__(name="watcher", daemon=True)
        self.model: ServedModel | None = None
        self.refused: tuple[str, str] | None = None  # a version, and why
        self.registry_problem = ""
        self._settings, self._reference, self._switched = settings, watched, switched
        self._folder = watched.folder(settings)
        self._client: MlflowClient | None = None
        self._try_again_at = 0.0
        self._said: set[str] = set()
        self._ended = threading.Event()

    def run(self) -> None:
        """Look again and again until `end` is called."""
        while not self._ended.wait(self._settings.serving.poll_seconds):
            if not (self._reference.pinned and self.model):
                self.look()

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()

    def look(self) -> None:
        """Switch to the version that the alias names now, if it is another and can be loaded."""
        try:
            self._client = self._client or store.connect(self._settings)
            version = versions.find(self._reference.name, self._reference.which)
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
        known = self.refused is not None and self.refused[0] == str(version)
        if known and time.monotonic() < self._try_again_at:
            return
        try:
            assert self._client is not None
            files = copies.obtain(self._client, version, self._folder)
            model = ServedModel(self._settings, version, files)
            copies.remember(version, self._folder)
        except Exception as error:  # noqa: BLE001  a model can be wrong in any way
            self.refused = str(version), _one_line(error)
            self._try_again_at = time.monotonic() + RETRY_SECONDS
            self._say("refused {}: {}".format(*self.refused))
            return
        self.refused = None
        self._switch(model)

    def _serve_copy(self) -> None:
        """Serve what was served last, from its copy here."""
        try:
            version, files = copies.last(self._folder)
            self._switch(ServedModel(self._settings, version, files))
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

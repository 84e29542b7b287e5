"""What shall be served or scored with: a registered model, and its alias or number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .. import privacy
from .versions import CHAMPION, RegistryError, production_name


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

    def folder(self, copies: Path) -> Path:
        """Return where the local copies of it are, in the folder of all copies."""
        return copies / str(self).replace("/", "-")


def parse_reference(text: str, project: str) -> Reference:
    """Return what ``models:/NAME@ALIAS`` or ``models:/NAME/NUMBER`` means.

    By default the champion in production.

    Raises:
        RegistryError: it is written differently.
    """
    name = text.removeprefix("models:/") or production_name(project)
    name, _, which = name.replace("@", "/").partition("/")
    if not re.fullmatch(r"[^/@:]+", name) or not re.fullmatch(r"[\w-]*", which):
        raise RegistryError(
            f"{privacy.redact_text(text)}: a model is named as models:/NAME@ALIAS or "
            "models:/NAME/VERSION"
        )
    return Reference(name, which or CHAMPION)

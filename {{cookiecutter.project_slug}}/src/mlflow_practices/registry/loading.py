"""A version's model, with the code that was logged with it if an approval covers that code."""

from __future__ import annotations

from pathlib import Path

from sklearn.pipeline import Pipeline

from ..model import safe_loading
from ..tracking.session import Session
from . import decisions, model_files, promotion, versions
from .versions import Version


def load(session: Session, version: Version, files: Path) -> Pipeline:
    """Return the pipeline in a version's files, as `safe_loading.load` does.

    Raises:
        CodeError: the code that was logged with it fails.
        UnsafeModelError: loading it could run code that nobody approved.
    """
    return safe_loading.load(
        files, session, lambda: is_approved(session, version, model_files.digest(files))
    )


def is_approved(session: Session, version: Version, digest: str) -> bool:
    """Return whether files with this digest were approved as this version.

    A copy in production has the approval of its source, which must still exist.
    """
    client, settings = session.client, session.settings
    try:
        source = promotion.find_source(client, version)
    except versions.RegistryError:  # it was deleted
        return False
    return decisions.approves_files(
        client, settings, source, digest, in_production=source != version
    )

"""The command ``optimize``."""

from __future__ import annotations

from ..console import print_text
from ..registry.commands import Model, find_version
from ..tracking.session import Session


def optimize(session: Session, model: Model = "") -> None:
    """Add a faster copy to a version, if its predictions agree; an approval no longer counts."""
    from ..data import versioning
    from ..model.signature import features
    from .optimization import add_optimized_copy

    version = find_version(session, model)
    folder = session.settings.path(session.settings.data.processed)
    manifest = versioning.load_manifest(folder, version.data_version)
    validation = versioning.read_split(manifest, "validation", folder)
    report = add_optimized_copy(session, version, features(validation, manifest.target))
    print_text(session, report.reason)


COMMANDS = {"optimize": optimize}

"""Raw file to typed, split and versioned tables, and the manifest that describes them."""

from dataclasses import dataclass

from .data import tables, versioning
from .data.versioning import Manifest
from .settings import Settings
from .tracking import experiments, recording


@dataclass(frozen=True)
class Prepared:
    """The manifest of the prepared data, and where the run is shown."""

    manifest: Manifest
    address: str


def run(settings: Settings) -> Prepared:
    """Turn the raw file into versioned splits."""
    with experiments.stage_run(settings, "data-preparation") as stage:
        raw = settings.path(settings.data.raw)
        table = tables.read(raw, settings.data)
        rows = len(table)
        table, notes = tables.prepare(table, settings.data, settings.problem_type)
        splits = tables.split(table, settings.data)
        source = versioning.describe_source(raw, settings.data.raw, rows)
        folder = settings.path(settings.data.processed)
        manifest = versioning.write(
            splits,
            folder,
            source,
            notes,
            settings.data.target,
            run_id=stage.run_id,
            pipeline_id=stage.pipeline_id,
        )
        for name, split in splits.items():
            versioning.log_data_version(manifest, name, split, folder)
        recording.log_dict(manifest.model_dump(), versioning.MANIFEST)
        recording.set_tags({"data_version": manifest.version})
        return Prepared(manifest, stage.address)

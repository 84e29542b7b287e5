"""Raw file to validated, protected and versioned splits, and the manifest that describes them."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from . import privacy
from .data import lineage, quality, suggestion, tables, versioning
from .data.lineage import Transformation
from .data.versioning import Manifest
from .settings import Settings
from .tracking import experiments, recording

SUITES = Path("configs/expectations")


@dataclass(frozen=True)
class Prepared:
    """The manifest of the prepared data, and where the run is shown."""

    manifest: Manifest
    address: str


@dataclass(frozen=True)
class Loaded:
    """The raw table, and the rows to learn from before and after personal data was taken out."""

    raw: pd.DataFrame = field(repr=False)
    rows: pd.DataFrame = field(repr=False)
    protected: pd.DataFrame = field(repr=False)
    policies: dict[str, privacy.Policy]
    notes: list[str]


def load(settings: Settings) -> Loaded:
    """Read the raw file, and take out what cannot be learned from and what is personal."""
    raw = tables.read(settings.path(settings.data.raw), settings.data)
    rows, left_out = tables.prepare(raw, settings.data, settings.problem_type)
    policies = privacy.policies(raw, settings.privacy.policies)
    if policies.get(settings.data.target) == "drop":
        raise privacy.PrivacyError(
            f"data.target: {settings.data.target!r} looks like personal data; name it in "
            "privacy.keep if it is not, or in privacy.pseudonymise"
        )
    protected, masked = privacy.protect(rows, policies)
    return Loaded(raw, rows, protected, policies, [*left_out, *masked])


def run(settings: Settings) -> Prepared:
    """Turn the raw file into versioned splits."""
    data, sample_rows = settings.data, settings.privacy.sample_rows
    with experiments.stage_run(settings, "data-preparation") as stage:
        path, folder = settings.path(data.raw), settings.path(data.processed)
        loaded = load(settings)
        read = versioning.log_data_version(
            loaded.raw,
            "raw",
            source=str(path),
            sample_rows=sample_rows,
            policies=loaded.policies,
        )
        checked = quality.validate_data_quality(
            loaded.raw, suite(settings, "raw"), "raw", loaded.policies, data.raw.as_posix()
        )
        prepared = loaded.protected.drop(columns=data.drop, errors="ignore")
        again = quality.validate_data_quality(
            prepared, suite(settings, "prepared"), "prepared", (), "the prepared table"
        )
        splits = tables.split(loaded.rows, data, loaded.protected)
        manifest = versioning.write(
            splits,
            folder,
            versioning.describe_source(path, data.raw, len(loaded.raw)),
            [*loaded.notes, *checked.warnings, *again.warnings],
            data.target,
            run_id=stage.run_id,
            pipeline_id=stage.pipeline_id,
        )
        made = {
            name: versioning.log_data_version(
                table,
                name,
                source=str(folder / manifest.splits[name].file),
                sample_rows=sample_rows,
            )
            for name, table in splits.items()
        }
        rows, kept = len(loaded.raw), len(prepared)
        columns = f"{loaded.raw.shape[1]} columns -> {splits['train'].shape[1]}"
        lineage.track_data_lineage(
            {data.raw.as_posix(): {**read.facts(), "sha256": manifest.source.sha256}},
            [
                Transformation("validate raw", rows, rows, [f"score {checked.score:.3g}"]),
                Transformation("clean and protect", rows, kept, [columns, *loaded.notes]),
                Transformation("validate prepared", kept, kept, [f"score {again.score:.3g}"]),
                Transformation("split", kept, kept, [data.split.method, f"seed {data.split.seed}"]),
            ],
            {name: version.facts() for name, version in made.items()},
        )
        recording.log_dict(manifest.model_dump(), versioning.MANIFEST)
        recording.set_tags({"data_version": manifest.version})
        return Prepared(manifest, stage.address)


def suite(settings: Settings, name: str) -> Path:
    """Return the file of the expectations of the ``raw`` or the ``prepared`` table."""
    return settings.path(SUITES) / f"{name}.yaml"


def suggest(settings: Settings, force: bool = False) -> list[Path]:
    """Draft the suites that are missing (with ``force``, both) and return their files.

    Raises:
        QualityError: both are there, and may have been edited.
    """
    paths = {name: suite(settings, name) for name in ("raw", "prepared")}
    wanted = [name for name, path in paths.items() if force or not path.exists()]
    if not wanted:
        raise quality.QualityError(
            f"{SUITES}: raw.yaml and prepared.yaml are there, and somebody may have edited them; "
            "--force overwrites them"
        )
    loaded = load(settings)
    prepared = loaded.protected.drop(columns=settings.data.drop, errors="ignore")
    drafts = {
        "raw": suggestion.suggest(loaded.raw, loaded.policies),
        "prepared": suggestion.suggest(prepared),
    }
    for name in wanted:
        suggestion.write(drafts[name], paths[name])
    return [paths[name] for name in wanted]

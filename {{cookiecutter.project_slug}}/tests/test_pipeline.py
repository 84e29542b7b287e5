"""The pipeline on a sample: every stage, and what it writes."""

from mlflow_practices.data import versioning
from mlflow_practices.registry import versions
from mlflow_practices.tracking.session import Session

from {{ cookiecutter.package_name }}.model_evaluation import Evaluated


def test_every_row_is_in_one_split(session: Session, evaluated: Evaluated) -> None:
    folder = session.settings.path(session.settings.data.processed)
    manifest = versioning.load_manifest(folder, evaluated.version.data_version)
    rows = {name: split.rows for name, split in manifest.splits.items()}
    assert set(rows) == {"train", "validation", "test"}
    assert 0 < rows["test"] < rows["train"]
    assert sum(rows.values()) == len(versioning.read_all(manifest, folder))


def test_a_version_is_registered_as_the_challenger(session: Session, evaluated: Evaluated) -> None:
    found = versions.find(session.client, session.settings.project.name, "challenger")
    assert found == evaluated.version


def test_every_gate_is_applied(session: Session, evaluated: Evaluated) -> None:
    limits = session.settings.evaluation.gates.metrics
    without_champion = {  # there is none yet
        name
        for name, gate in limits.items()
        if gate.model_dump(exclude_none=True, exclude={"champion_margin"})
    }
    assert without_champion <= {gate.name.split()[0] for gate in evaluated.verdict.gates}
    assert all(gate.reason for gate in evaluated.verdict.gates)


def test_the_model_beats_the_baseline(session: Session, evaluated: Evaluated) -> None:
    metrics = {"classification": "balanced_accuracy", "regression": "r2"}
    found = evaluated.verdict.metrics[metrics[session.settings.problem_type]]
    assert found.baseline is not None
    assert found.value > found.baseline

"""Sessions: the store that each names, and nothing of the one before."""

from pathlib import Path

import projects


def test_a_second_session_uses_the_store_that_it_names(project: Path, empty_store: Path) -> None:
    for name in ("one", "other"):
        (project / f"{name}.db").write_bytes(empty_store.read_bytes())
        session = projects.open_project(overrides=[f"tracking.uri=sqlite:///{name}.db"])
        assert session.client.tracking_uri == f"sqlite:///{(project / name).as_posix()}.db"


def test_a_store_is_opened_once_and_not_before_it_is_used(project: Path) -> None:
    (project / "mlflow.db").unlink()
    session = projects.open_project()
    assert session.settings.root == project
    assert not (project / "mlflow.db").exists()
    assert session.client is session.client
    assert (project / "mlflow.db").exists()

"""The hooks of a project are named in project.py, and imported when they are first used."""

from dataclasses import replace
from typing import Any

import pytest
from mlflow_practices.config.project import Project, ProjectError
from mlflow_practices.tracking.session import open_session
from my_ml_project import features
from my_ml_project.project import PROJECT

import projects


def test_a_hook_is_the_function_that_its_name_says() -> None:
    assert PROJECT.build is features.build
    replaced = replace(PROJECT, build=len)
    assert replaced.build is len
    assert replaced.clean is PROJECT.clean


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "featurs.build",
            "build: featurs.build: the package has no module featurs; write it",
        ),
        ("featurs.build", "; did you mean features?"),
        ("build", "build: build: the package has no module build; write it"),
        ("", "build: : the package has no module"),
        (
            "features.bild",
            "features.bild: features.py defines no bild; did you mean features.build",
        ),
        ("features.MAX_CATEGORIES", "build: is no function"),
    ],
)
def test_a_wrong_name_is_explained_before_a_stage_starts(
    project: object, name: str, message: str
) -> None:
    session = open_session(replace(PROJECT, build=name))
    with pytest.raises(ProjectError) as caught:
        session.stage("data-preparation")
    assert str(caught.value).startswith("project.py: build")
    assert message in str(caught.value)


def test_a_section_may_be_given_by_its_name(project: object, monkeypatch: Any) -> None:
    with pytest.raises(
        ProjectError, match=r"^project.py: settings: latest.LatestSettings: the pack"
    ):
        open_session(replace(PROJECT, settings=("latest.LatestSettings",)))


def test_a_missing_hook_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="build"):
        Project(projects.PACKAGE, PROJECT.root, read="", clean="", metrics={})

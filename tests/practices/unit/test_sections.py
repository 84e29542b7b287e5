"""Sections of a project's own stand in the same files, and are checked in the same way."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import yaml
from mlflow_practices.config.sections import Section
from mlflow_practices.config.settings import Settings, load_settings
from mlflow_practices.config.validation_errors import SettingsError
from my_ml_project.project import PROJECT
from pydantic import Field, model_validator

import projects


class Mail(Section):
    """Who is written to."""

    to: str
    copies: int = Field(default=1, ge=0)


class ReportSettings(Section):
    """A section as a project may have it."""

    section_name: ClassVar[str] = "report"

    title: str
    rows: int = Field(default=10, ge=1)
    mail: Mail | None = None
    api_key: str = ""

    @model_validator(mode="after")
    def _short(self) -> Self:
        if len(self.title) > self.rows:
            raise ValueError("the title is longer than `rows`")
        return self


@pytest.fixture
def written(project: Path) -> Path:
    """Return a project whose base.yaml has that section."""
    path = project / "configs/base.yaml"
    configuration = yaml.safe_load(path.read_text())
    configuration["report"] = {"title": "Daily", "mail": {"to": "us"}}
    path.write_text(yaml.safe_dump(configuration))
    return project


def load(*overrides: str, settings: tuple[Any, ...] = (ReportSettings,)) -> Settings:
    return load_settings(replace(PROJECT, settings=settings), overrides=overrides)


def test_a_section_is_read_in_all_layers(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load().section(ReportSettings)
    assert found == ReportSettings(title="Daily", mail=Mail(to="us"))
    (written / "configs/local.yaml").write_text("report: {rows: 7}")
    monkeypatch.setenv(f"{projects.PREFIX}REPORT__MAIL__COPIES", "3")
    settings = load("report.api_key=hunter2")
    assert settings.section(ReportSettings).rows == 7
    assert settings.section(ReportSettings).mail == Mail(to="us", copies=3)
    assert settings.origin("report.title") == "configs/base.yaml"
    assert settings.origin("report.rows") == "configs/local.yaml"
    assert settings.origin("report.mail.copies") == f"{projects.PREFIX}REPORT__MAIL__COPIES"
    shown = settings.flat()
    assert (shown["report.title"], shown["report.mail.to"]) == ("Daily", "us")
    assert shown["report.api_key"] == "[REDACTED]"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "report.titel=x",
            (
                "--set: report.titel: unknown key; allowed: title, rows, mail, api_key; "
                "did you mean report.title?"
            ),
        ),
        (
            "report.mail.copy=1",
            (
                "--set: report.mail.copy: unknown key; allowed: to, copies; "
                "did you mean report.mail.copies?"
            ),
        ),
        (
            "report.rows=0",
            "--set: report.rows: input should be greater than or equal to 1 (got 0)",
        ),
        ("report.rows=1", "--set: report: the title is longer than `rows`"),
        (
            "report=3",
            "--set: report: must be a mapping with the keys title, rows, mail, api_key",
        ),
        (
            "reprot.rows=1",
            (
                "--set: reprot: unknown key; allowed: project, problem_type, tracking, data, privacy, "
                "training, evaluation, approval, serving, deployment, report; did you mean report?"
            ),
        ),
    ],
)
def test_mistakes_are_explained(written: Path, override: str, line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(override)
    assert str(caught.value) == line


def test_a_mistake_in_a_file_is_named_with_the_file(written: Path) -> None:
    (written / "configs/local.yaml").write_text("report: {rows: many}")
    with pytest.raises(SettingsError, match=r"^configs/local.yaml: report.rows: .*got 'many'"):
        load()


def test_what_a_section_needs_is_missing(project: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load()
    assert str(caught.value) == "configs/base.yaml: report.title: missing; give it a value"


def test_mistakes_of_every_section_are_named_at_once(written: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load("report.rows=0", "serving.prot=1", "training.sed=1", "monitoring.x=1", "nothing=1")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "training.sed",
        "serving.prot",
        "report.rows",
        "monitoring",
        "nothing",
    ]
    assert lines[3] == (
        "--set: monitoring: the component monitoring is not part of this project; "
        "take the section out"
    )


def test_a_section_that_nobody_declares_is_named_with_the_remedy(project: Path) -> None:
    settings = load(settings=())
    with pytest.raises(SettingsError, match="ReportSettings: no section of this project; name it"):
        settings.section(ReportSettings)
    with pytest.raises(SettingsError, match="--set: report: unknown key"):
        load("report.title=x", settings=())


def named(name: str) -> type[Section]:
    return type("Odd", (Section,), {"section_name": name, "__annotations__": {}})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (named("training"), "Odd: the section name training is taken"),
        (named("serving"), "Odd: the section name serving is taken"),
        (named("monitoring"), "Odd: the section name monitoring is taken"),
        (named("path"), "Odd: the section name path is taken"),  # of an attribute of `Settings`
        (named(""), "Odd: give it a name"),
        (named("My Section"), "Odd: give it a name"),
        (named("my__section"), "Odd: give it a name"),
        (dict, "dict: is no class that is derived from Section"),
        (Mail(to="us"), "is no class that is derived from Section"),
    ],
)
def test_what_is_no_section_is_refused(project: Path, kind: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=f"^project.py: settings: .*{words}"):
        load(settings=(kind,))
    with pytest.raises(SettingsError, match="the section name report is taken"):
        load(settings=(ReportSettings, ReportSettings))

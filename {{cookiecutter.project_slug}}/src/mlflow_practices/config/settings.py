"""Typed settings in layers: base.yaml, <env>.yaml, environment variables, ``--set``.

A later layer wins, key by key. Whatever is wrong is reported with the layer it came from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, model_validator
from pydantic_core.core_schema import ValidationInfo

from .. import components, privacy
from ..errors import did_you_mean
from . import metrics, sources
from .project import Project
from .sections import (
    Approval,
    Data,
    Evaluation,
    Privacy,
    ProjectSettings,
    Section,
    Tracking,
    Training,
)
from .sources import SettingsError

DEFAULT_ENVIRONMENT = "local"
OwnSection = TypeVar("OwnSection", bound=Section)


class Settings(BaseModel):
    """The effective configuration; make one with `load_settings`.

    The sections of components, and those of the project's own, are had by `section`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: ProjectSettings
    problem_type: Literal["classification", "regression"]
    tracking: Tracking = Tracking()
    data: Data
    privacy: Privacy = Privacy()
    training: Training
    evaluation: Evaluation = Evaluation()
    approval: Approval = Approval()

    _environment: str = PrivateAttr(DEFAULT_ENVIRONMENT)
    _root: Path = PrivateAttr()
    _origins: dict[str, str] = PrivateAttr()
    _sections: dict[str, Section] = PrivateAttr(default_factory=dict)
    _overrides: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _target_can_be_learned(self) -> Self:
        if self.privacy.policies.get(self.data.target) in ("drop", "mask"):
            raise ValueError(
                f"privacy: the target {self.data.target!r} cannot be dropped or masked"
            )
        return self

    @model_validator(mode="after")
    def _gates_name_metrics(self, info: ValidationInfo) -> Self:
        own = (info.context or {}).get("metrics", {})
        known = (
            *metrics.METRICS[self.problem_type],
            *(name for name, metric in own.items() if metric.problem_type == self.problem_type),
        )
        gates = self.evaluation.gates
        wrong = [(f"metrics.{name}", name, "", known) for name in gates.metrics.keys() - set(known)]
        sums = tuple(name for name in known if name != "roc_auc")  # that one compares all rows
        if gates.slices.metric is not None and gates.slices.metric not in sums:
            wrong.append(("slices.metric", gates.slices.metric, "a slice of ", sums))
        if wrong:
            place, name, of, there = min(wrong)
            raise ValueError(
                f"evaluation.gates.{place}: {name} is no metric of {of}{self.problem_type}; "
                f"there are {', '.join(there)}"
            )
        return self

    @property
    def environment(self) -> str:
        """The name of the environment, such as ``local``."""
        return self._environment

    @property
    def root(self) -> Path:
        """The project's folder; relative paths start there."""
        return self._root

    @property
    def overrides(self) -> tuple[str, ...]:
        """The texts of ``--set`` that it was made with."""
        return self._overrides

    def section(self, kind: type[OwnSection]) -> OwnSection:
        """Return a section of a component or of the project's own, such as ``ServingSettings``.

        Raises:
            SettingsError: no component here, nor the project, declares it.
        """
        found = self._sections.get(kind.section_name)
        if not isinstance(found, kind):
            raise SettingsError(
                f"{kind.__name__}: no section of this project; name it in `settings` of project.py"
            )
        return found

    def with_section(self, section: Section) -> Settings:
        """Return a copy in which a section is replaced."""
        copy = self.model_copy()
        copy._sections = {**self._sections, section.section_name: section}
        return copy

    def path(self, relative: Path) -> Path:
        """Return a path of the configuration as an absolute one."""
        return self._root / relative

    def flat(self) -> dict[str, Any]:
        """Return every value under its dotted key, secrets masked."""
        own = {key: section.model_dump(mode="json") for key, section in self._sections.items()}
        return dict(sources.flatten(privacy.redact({**self.model_dump(mode="json"), **own})))

    def origin(self, key: str) -> str:
        """Return the layer that the value of a dotted key came from."""
        return self._origins.get(key, "default")


def load_settings(
    project: Project, environment: str | None = None, overrides: Sequence[str] = ()
) -> Settings:
    """Read and check the configuration.

    Args:
        project: whose; its folder is the variable ``<PACKAGE>__ROOT``, where that is set, and
            of a project that is installed without its ``configs/`` the current folder.
        environment: names ``configs/<environment>.yaml``; by default the variable
            ``<PACKAGE>__ENV``, else ``local``.
        overrides: texts of one or more ``dotted.key=value``, the values in YAML.

    Raises:
        SettingsError: something is wrong with a file, a variable, an override or an own metric.
    """
    if wrong := metrics.mistakes(project.metrics):
        raise SettingsError("\n".join(f"metrics.py: {line}" for line in wrong))
    prefix = sources.variable_prefix(project.package)
    around = project.root if (project.root / "configs").is_dir() else Path.cwd()
    root = Path(os.environ.get(f"{prefix}ROOT") or around).absolute()
    environment = environment or os.environ.get(f"{prefix}ENV") or DEFAULT_ENVIRONMENT
    layers = [
        sources.read_file(root, "base"),
        sources.read_file(root, environment),
        *sources.read_variables(prefix),
        *sources.read_overrides(overrides),
    ]
    sources.forget_parameters_of_other_estimators(layers)
    origins = sources.origins(layers)
    values = sources.merge(layers)
    kinds = _sections(project)
    mistakes = _take_out_unknown(values, [*Settings.model_fields, *kinds], origins)
    made = {}
    for key, kind in kinds.items():
        try:
            made[key] = kind.model_validate(values.pop(key, {}))
        except ValidationError as error:
            mistakes.append(sources.explain(error, kind, origins, key))
    try:
        settings = Settings.model_validate(values, context={"metrics": project.metrics})
    except ValidationError as error:
        mistakes.append(sources.explain(error, Settings, origins))
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    settings._environment, settings._root, settings._origins = environment, root, origins
    settings._sections, settings._overrides = made, tuple(overrides)
    privacy.configure(settings.privacy.fields, settings.privacy.keep)
    for name in filter(privacy.is_sensitive, project.metrics):
        raise SettingsError(
            f"metrics.py: {name}: by its name it holds personal data or a secret, which is never "
            "written; rename it"
        )
    return settings


def _sections(project: Project) -> dict[str, type[Section]]:
    """Return the sections beside the core's own, those of components and of the project, by name."""
    kinds = {
        kind.section_name: kind
        for module in components.modules("settings")
        for kind in module.SECTIONS
    }
    for kind in project.settings:
        place = f"project.py: settings: {getattr(kind, '__name__', kind)}"
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            raise SettingsError(f"{place}: is no class that is derived from Section")
        name = kind.section_name
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
            raise SettingsError(
                f'{place}: say what it is called, in small letters: section_name: ClassVar[str] = "..."'
            )
        if name in {*kinds, *Settings.model_fields, *components.SECTIONS}:
            raise SettingsError(f"{place}: there is a section {name} already; call it otherwise")
        kinds[name] = kind
    return kinds


def _take_out_unknown(
    values: dict[str, Any], known: Sequence[str], origins: Mapping[str, str]
) -> list[str]:
    """Take the sections that nobody declares out of ``values``, and return a mistake for each."""
    mistakes = []
    for key in sorted(values.keys() - set(known)):
        place = sources.place([key], origins)
        if component := components.SECTIONS.get(key):
            reason = f"the component {component} is not part of this project; take the section out"
        else:
            guess = did_you_mean(key, known)
            reason = f"unknown key; allowed: {', '.join(known)}{guess}"
        mistakes.append(f"{place}: {key}: {reason}")
        del values[key]
    return mistakes

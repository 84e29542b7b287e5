"""The typed settings of a project, merged from several sources and checked.

The sources, the weakest first: base.yaml, <env>.yaml, environment variables, ``--set``.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import pydantic
from pydantic import PrivateAttr, ValidationInfo, model_validator

from .. import components, privacy
from . import sections
from .metrics import METRICS
from .project import Project
from .sections import Section
from .sources import flatten, merge, read_sources, variable_prefix
from .validation_errors import SettingsError, explain

OwnSection = TypeVar("OwnSection", bound=Section)


class Settings(pydantic.BaseModel):
    """The effective configuration; make one with `load_settings`.

    The sections of components and those of the project's own are returned by `section`.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    project: sections.ProjectSettings
    problem_type: Literal["classification", "regression"]
    tracking: sections.Tracking = sections.Tracking()
    data: sections.Data
    privacy: sections.Privacy = sections.Privacy()
    training: sections.Training
    evaluation: sections.Evaluation = sections.Evaluation()
    approval: sections.Approval = sections.Approval()

    _environment: str = PrivateAttr()
    _root: Path = PrivateAttr()
    _origins: dict[str, str] = PrivateAttr()
    _overrides: tuple[str, ...] = PrivateAttr()

    @model_validator(mode="after")
    def _target_can_be_learned(self) -> Self:
        if self.privacy.policies.get(self.data.target) in ("drop", "mask"):
            raise ValueError(
                f"privacy: the target {self.data.target!r} cannot be dropped or masked"
            )
        return self

    @model_validator(mode="after")
    def _gates_name_metrics(self, info: ValidationInfo) -> Self:
        kind, known = self.problem_type, list(METRICS[self.problem_type])
        gates, slices = self.evaluation.gates.metrics, self.evaluation.gates.slices
        if {*gates, slices.metric} - {*known, None}:  # else the project's module is not imported
            assert isinstance(info.context, Project)
            for name, metric in info.context.metrics.items():
                if getattr(metric, "problem_type", None) == kind:
                    known.append(name)
        if unknown := sorted(gates.keys() - set(known)):
            raise ValueError(
                f"evaluation.gates.metrics.{unknown[0]}: {unknown[0]} is no metric of {kind}; "
                f"there are {', '.join(known)}"
            )
        known = [name for name in known if name != "roc_auc"]  # it compares rows of all slices
        if slices.metric is not None and slices.metric not in known:
            raise ValueError(
                f"evaluation.gates.slices.metric: {slices.metric} is no metric of a slice of "
                f"{kind}; there are {', '.join(known)}"
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
        """The texts of ``--set`` that the settings were made with."""
        return self._overrides

    def section(self, kind: type[OwnSection]) -> OwnSection:
        """Return a section of a component or of the project's own, such as ``ServingSettings``."""
        found = getattr(self, kind.section_name, None)
        if not isinstance(found, kind):
            raise SettingsError(
                f"{kind.__name__}: no section of this project; name it in `settings` of project.py"
            )
        return found

    def path(self, relative: Path) -> Path:
        """Return a path of the configuration as an absolute one."""
        return self._root / relative

    def flat(self) -> dict[str, Any]:
        """Return every value under its dotted key, secrets masked."""
        return dict(flatten(privacy.redact(self.model_dump(mode="json"))))

    def origin(self, key: str) -> str:
        """Return the source of the value of a dotted key."""
        return self._origins.get(key, "default")


def load_settings(
    project: Project, environment: str | None = None, overrides: Sequence[str] = ()
) -> Settings:
    """Read and check the configuration.

    Args:
        project: its folder is taken from the variable ``<PACKAGE>__ROOT``, if that is set. For
            a project that is installed without its ``configs/`` it is the current folder.
        environment: names ``configs/<environment>.yaml``; by default the variable
            ``<PACKAGE>__ENV``, else ``local``.
        overrides: texts of one or more ``dotted.key=value``, the values in YAML.

    Raises:
        SettingsError: something is wrong with a file, a variable or an override.
    """
    prefix = variable_prefix(project.package)
    default_root = project.root if (project.root / "configs").is_dir() else Path.cwd()
    root = Path(os.environ.get(f"{prefix}ROOT") or default_root).absolute()
    environment = environment or os.environ.get(f"{prefix}ENV") or "local"
    values, origins = merge(read_sources(root, environment, prefix, overrides))
    kinds = _more_sections(project)
    for kind in kinds:
        values.setdefault(kind.section_name, {})
    model = _model(kinds)
    try:
        settings = model.model_validate(values, context=project)
    except pydantic.ValidationError as error:
        raise SettingsError(explain(error, model, origins)) from None
    settings._environment, settings._root = environment, root
    settings._origins, settings._overrides = origins, tuple(overrides)
    privacy.configure(settings.privacy.fields, settings.privacy.keep)
    return settings


def _more_sections(project: Project) -> tuple[type[Section], ...]:
    """Return the sections of the components and of the project's own."""
    kinds = [kind for module in components.modules("settings") for kind in module.SECTIONS]
    for given in project.settings:
        kind = project.find("settings", given) if isinstance(given, str) else given
        place = f"project.py: settings: {getattr(kind, '__name__', kind)}"
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            raise SettingsError(f"{place}: is no class that is derived from Section")
        name = kind.section_name
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
            raise SettingsError(
                f'{place}: give it a name in small letters: section_name: ClassVar[str] = "..."'
            )
        taken = {each.section_name for each in kinds}
        if name in {*taken, *components.SECTIONS, *Settings.model_fields, *dir(Settings)}:
            raise SettingsError(f"{place}: the section name {name} is taken; choose another")
        kinds.append(kind)
    return tuple(kinds)


@functools.cache
def _model(kinds: tuple[type[Section], ...]) -> type[Settings]:
    fields: dict[str, Any] = {kind.section_name: kind for kind in kinds}
    return pydantic.create_model("Settings", __base__=Settings, **fields)

"""From a model version back to the raw file: what is known, what is missing, what has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Run
from pydantic import ValidationError

from .. import environment
from ..config.settings import Settings
from ..data import versioning
from ..data.versioning import Manifest
from ..tracking import experiments, git, reproducibility
from ..tracking.session import Session
from . import decisions, evidence, promotion, versions
from .versions import Version

PARAMETERS = ("training.", "data.split.", "random_seed")  # params that start with one of these


@dataclass(frozen=True)
class Link:
    """One link of the chain: whether it holds, what is known about it, and what is wrong if not.

    ``missing`` was never recorded or no longer exists; ``changed`` differs from what was recorded.
    """

    name: str
    status: Literal["ok", "missing", "changed"]
    facts: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def trace(session: Session, version: Version) -> list[Link]:
    """Return the links from a model version back to the raw file, each compared with what is here."""
    client, settings = session.client, session.settings
    training = experiments.find_run(client, version.run_id)
    upstream = training.data.tags.get("upstream_run_id", "") if training else ""
    preparation = experiments.find_run(client, upstream)
    source = promotion.find_source(client, version)
    return [
        _model(client, version),
        _stage("training", version.run_id, training),
        *_training(settings.root, training),
        _stage("preparation", upstream, preparation),
        *_data(settings, training, preparation),
        _evaluation(client, settings, source),
        _approval(client, settings, source),
    ]


def as_dict(links: Sequence[Link]) -> dict[str, Any]:
    """Return the links for machines; ``complete`` says whether all of them hold."""
    return {
        "complete": all(link.status == "ok" for link in links),
        "links": [asdict(link) for link in links],
    }


def _model(client: MlflowClient, version: Version) -> Link:
    aliases = versions.aliases_by_number(client, version.name).get(version.number, [])
    facts = {"name": str(version), "aliases": aliases, "model_id": version.model_id}
    with suppress(MlflowException):
        client.get_logged_model(version.model_id)
        files = client.list_logged_model_artifacts(version.model_id)
        if any(item.path == "MLmodel" for item in files):
            return Link("model", "ok", facts)
    return Link("model", "missing", facts, "its files are not in the artifact store")


def _stage(name: str, run_id: str, run: Run | None) -> Link:
    if run is None:
        problem = f"the run {run_id} was deleted" if run_id else "no run is recorded"
        return Link(name, "missing", {}, problem)
    tags = run.data.tags
    facts = {
        "run_id": run.info.run_id,
        "status": run.info.status,
        "by": tags.get("mlflow.user", ""),
        "pipeline_id": tags.get("pipeline_id", ""),
    }
    if run.info.status != "FINISHED":
        reason = tags.get("failure_reason", "")
        return Link(name, "changed", facts, f"the run ended {run.info.status}: {reason}")
    return Link(name, "ok", facts)


def _training(root: Path, run: Run | None) -> list[Link]:
    if run is None:
        problem = "only the training run recorded it"
        return [Link(name, "missing", {}, problem) for name in ("code", "pins", "parameters")]
    params = {key: value for key, value in run.data.params.items() if key.startswith(PARAMETERS)}
    parameters = Link("parameters", "ok", params)
    if not params:
        parameters = Link("parameters", "missing", {}, "the run has none")
    return [_code(root, run.data.tags), _pins(root, run), parameters]


def _code(root: Path, tags: Mapping[str, str]) -> Link:
    commit = tags.get("git_commit")
    if commit is None:
        return Link("code", "missing", {}, "the code was not under git; commit it and train again")
    facts = {"git_commit": commit}
    if tags.get("git_dirty") == "true":
        problem = "files differed from the commit; commit them and train again"
        return Link("code", "changed", facts, problem)
    if not git.has_commit(root, commit):
        return Link("code", "missing", facts, "this repository has no such commit; fetch it")
    return Link("code", "ok", facts)


def _pins(root: Path, run: Run) -> Link:
    path = f"environment/{environment.RUN_LOCK}"
    try:
        locked = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{path}")
    except (MlflowException, OSError) as error:
        return Link("pins", "missing", {}, f"the run holds no {path} ({type(error).__name__})")
    facts = {
        "python": run.data.tags.get("python_version", ""),
        "packages": run.data.tags.get("packages", ""),
        "lock": f"runs:/{run.info.run_id}/{path}",
    }
    if facts["packages"] != reproducibility.AS_LOCKED:
        return Link("pins", "changed", facts, "what was installed differed from the lock")
    here = root / environment.RUN_LOCK
    if not here.is_file() or here.read_text(encoding="utf-8") != locked:
        problem = f"{environment.RUN_LOCK} here is another; the run keeps the one used then"
        return Link("pins", "changed", facts, problem)
    return Link("pins", "ok", facts)


def _data(settings: Settings, training: Run | None, preparation: Run | None) -> Iterator[Link]:
    manifest = _manifest(preparation)
    if manifest is None:
        for name in ("prepared data", "raw file"):
            yield Link(name, "missing", {}, "only the manifest of the preparation recorded it")
        return
    folder, raw = settings.path(settings.data.processed), settings.path(Path(manifest.source.path))
    checks = {check.file: check for check in versioning.verify(manifest, folder, raw)}
    source = checks.pop(raw)
    yield _prepared_data(settings.root, training, manifest, list(checks.values()))
    problems = {
        "ok": "",
        "missing": "the file is not here; bring it back",
        "changed": f"the file here has the SHA-256 {source.found}",
    }
    facts = manifest.source.model_dump()
    yield Link("raw file", source.status, facts, problems[source.status])


def _prepared_data(
    root: Path, training: Run | None, manifest: Manifest, checks: list[versioning.Check]
) -> Link:
    hashes = {f"{name}_hash": split.hash for name, split in manifest.splits.items()}
    facts = {"version": manifest.version, **hashes}
    used = training.data.params if training else {}
    differing = [
        key.removesuffix("_hash") for key, value in hashes.items() if used.get(key, value) != value
    ]
    if differing:
        problem = f"the training run read another {' and '.join(differing)}"
        return Link("prepared data", "changed", facts, problem)
    wrong = [check for check in checks if check.status != "ok"]
    if not wrong:
        return Link("prepared data", "ok", facts)
    status: Literal["missing", "changed"] = "missing"
    if any(check.status == "changed" for check in wrong):
        status = "changed"
    files = ", ".join(f"{_shown(check.file, root)} {check.status}" for check in wrong)
    return Link("prepared data", status, facts, f"{files}; run `prepare` on the raw file")


def _evaluation(client: MlflowClient, settings: Settings, version: Version) -> Link:
    found = evidence.latest_evaluation(client, settings, version)
    if found is None:
        remedy = f"run `evaluate --version {version.number}`"
        return Link("evaluation", "missing", {}, f"no finished evaluation; {remedy}")
    tags = found.data.tags
    facts = {"run_id": found.info.run_id, "verdict": tags.get("verdict", ""), **found.data.metrics}
    if tags.get("data_version") != version.data_version:
        return Link("evaluation", "changed", facts, "it was measured on another data version")
    return Link("evaluation", "ok", facts)


def _approval(client: MlflowClient, settings: Settings, version: Version) -> Link:
    found, _ = evidence.check_evaluation(client, settings, version)
    problems = decisions.check_approval(client, settings, version, found)
    tags = versions.get_tags(client, version)
    facts = {key: value for key, value in tags.items() if key in ("approval", "approved_by")}
    if not problems:
        return Link("approval", "ok", facts)
    return Link("approval", "changed" if facts else "missing", facts, "; ".join(problems))


def _manifest(preparation: Run | None) -> Manifest | None:
    if preparation is None:
        return None
    with suppress(MlflowException, OSError, ValidationError):
        uri = f"runs:/{preparation.info.run_id}/{versioning.MANIFEST}"
        return Manifest.model_validate(mlflow.artifacts.load_dict(uri))
    return None


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

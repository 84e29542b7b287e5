"""From a model version back to the raw bytes: what is known, what is missing, what has changed."""

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
from ..tracking import experiments, git
from ..tracking.session import Session
from . import approval, evidence, promotion
from .versions import Version

Status = Literal["ok", "missing", "changed"]


@dataclass(frozen=True)
class Link:
    """One link of the chain: whether it holds, what is wrong if not, and what is known of it."""

    name: str
    status: Status
    facts: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def trace(session: Session, version: Version) -> list[Link]:
    """Return the links from a model version back to the raw file, each compared with what is here.

    ``missing`` is what no record was kept of or cannot be found any more, ``changed`` what was
    found and is not what was recorded.
    """
    client, settings = session.client, session.settings
    training = experiments.find_run(client, version.run_id)
    upstream = training.data.tags.get("upstream_run_id", "") if training else ""
    preparation = experiments.find_run(client, upstream)
    manifest = _manifest(preparation)
    judged = promotion.find_source(client, version)  # of a copy in production, what it is a copy of
    return [
        _model(client, version),
        _stage("training", version.run_id, training),
        *_of_training(settings, training),
        _stage("preparation", upstream, preparation),
        *_data(settings, training, manifest),
        _evaluation(client, settings, judged),
        _approval(client, settings, judged),
    ]


def as_dict(links: Sequence[Link]) -> dict[str, Any]:
    """Return the links for machines; ``complete`` says whether all of them hold."""
    return {
        "complete": all(link.status == "ok" for link in links),
        "links": [asdict(link) for link in links],
    }


def _model(client: MlflowClient, version: Version) -> Link:
    made = client.get_model_version(version.name, str(version.number))
    facts = {
        "name": f"{version.name}/{version.number}",
        "aliases": list(made.aliases),
        "model_id": version.model_id,
    }
    with suppress(MlflowException):
        client.get_logged_model(version.model_id)
        if any(item.path == "MLmodel" for item in _files(client, version.model_id)):
            return Link("model", "ok", facts)
    return Link("model", "missing", facts, "its files are not in the artifact store")


def _files(client: MlflowClient, model_id: str) -> list[Any]:
    return list(client.list_logged_model_artifacts(model_id))


def _stage(name: str, run_id: str, run: Run | None) -> Link:
    if run is None:
        what = f"the run {run_id} was deleted" if run_id else "no run is recorded"
        return Link(name, "missing", {}, what)
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


def _of_training(settings: Settings, run: Run | None) -> Iterator[Link]:
    if run is None:
        for name in ("code", "pins", "parameters"):
            yield Link(name, "missing", {}, "the training run would say it")
        return
    yield _code(settings.root, run.data.tags)
    yield _pins(settings.root, run)
    wanted = ("training.", "data.split.", "random_seed")
    known = {key: value for key, value in run.data.params.items() if key.startswith(wanted)}
    problem = "" if known else "the run has none"
    yield Link("parameters", "ok" if known else "missing", known, problem)


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
    if not facts["packages"].startswith("as locked"):
        return Link("pins", "changed", facts, "what was installed differed from the lock")
    here = root / environment.RUN_LOCK
    if not here.is_file() or here.read_text(encoding="utf-8") != locked:
        problem = f"{environment.RUN_LOCK} here is another; the one of then is kept with the run"
        return Link("pins", "changed", facts, problem)
    return Link("pins", "ok", facts)


def _data(settings: Settings, training: Run | None, manifest: Manifest | None) -> Iterator[Link]:
    if manifest is None:
        for name in ("prepared data", "raw file"):
            yield Link(name, "missing", {}, "no manifest is kept; the preparation run would say it")
        return
    folder, raw = settings.path(settings.data.processed), settings.path(Path(manifest.source.path))
    checks = {check.file: check for check in versioning.verify(manifest, folder, raw)}
    source = checks.pop(raw)
    facts: dict[str, Any] = {
        "version": manifest.version,
        **{f"{name}_hash": split.hash for name, split in manifest.splits.items()},
    }
    used = training.data.params if training else {}
    differing = [
        name
        for name, split in manifest.splits.items()
        if used.get(f"{name}_hash", split.hash) != split.hash
    ]
    wrong = [check for check in checks.values() if check.status != "ok"]
    if differing:
        problem = f"the training run read another {' and '.join(differing)}"
        yield Link("prepared data", "changed", facts, problem)
    elif wrong:
        status: Status = "changed" if any(c.status == "changed" for c in wrong) else "missing"
        files = ", ".join(f"{_shown(check.file, settings.root)} {check.status}" for check in wrong)
        yield Link("prepared data", status, facts, f"{files}; run `prepare` on the raw file")
    else:
        yield Link("prepared data", "ok", facts)
    facts = manifest.source.model_dump()
    problem = {
        "ok": "",
        "missing": "the file is not here; bring it back",
        "changed": f"the file here has the SHA-256 {source.found}",
    }[source.status]
    yield Link("raw file", source.status, facts, problem)


def _evaluation(client: MlflowClient, settings: Settings, version: Version) -> Link:
    found = evidence.latest_evaluation(client, settings, version)
    if found is None:
        remedy = f"run `evaluate --version {version.number}`"
        return Link("evaluation", "missing", {}, f"no finished evaluation; {remedy}")
    verdict = {"verdict": found.data.tags.get("verdict", "")}
    facts = {"run_id": found.info.run_id, **verdict, **found.data.metrics}
    if found.data.tags.get("data_version") != version.data_version:
        return Link("evaluation", "changed", facts, "it was measured on another data version")
    return Link("evaluation", "ok", facts)


def _approval(client: MlflowClient, settings: Settings, version: Version) -> Link:
    rests_on, _ = evidence.check_evaluation(client, settings, version)
    objections = approval.check_approval(client, settings, version, rests_on)
    tags = client.get_model_version(version.name, str(version.number)).tags
    facts = {key: value for key, value in tags.items() if key in ("approval", "approved_by")}
    if not objections:
        return Link("approval", "ok", facts)
    return Link("approval", "changed" if facts else "missing", facts, "; ".join(objections))


def _manifest(preparation: Run | None) -> Manifest | None:
    if preparation is None:
        return None
    with suppress(MlflowException, OSError, ValidationError):
        uri = f"runs:/{preparation.info.run_id}/{versioning.MANIFEST}"
        return Manifest.model_validate(mlflow.artifacts.load_dict(uri))
    return None


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
